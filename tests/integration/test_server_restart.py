"""One server after another, at one socket: no client is refused, and no container notices."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.conftest import Cli, Roots, wait_for
from tests.integration.test_server_http import _HANDING_OVER
from tests.serving import Api, Served

BODY = {"Image": "busybox", "Cmd": ["sh", "-c", "while :; do echo talking; sleep 0.05; done"],
        "HostConfig": {"NetworkMode": "none"}}  # fmt: skip


class Asking:
    """Clients that ask all the time, each time on a new connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answered = 0
        self.failed: list[str] = []
        self._ended = False
        self._threads = [
            threading.Thread(target=self._ask, args=(target,)) for target in ("/_ping", "/containers/json")
        ]

    def _ask(self, target: str) -> None:
        api = Api(self.path)
        while not self._ended:
            try:
                assert api("GET", target).status == 200
                self.answered += 1
            except Exception as error:
                self.failed.append(repr(error))

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()

    def more(self) -> None:
        """Wait until others have been answered."""
        before = self.answered
        wait_for(lambda: self.answered > before + 5 or self.failed, 20, "answers")


@contextlib.contextmanager
def activated(roots: Roots) -> Iterator[tuple[Path, Callable[[], subprocess.Popen[bytes]]]]:
    """A socket as systemd's, and what starts a server on it."""
    path = roots.config.parent / "given.sock"
    made = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(100)

        def start() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", _HANDING_OVER, str(listening.fileno())]
            made.append(subprocess.Popen(command, env=roots.env, pass_fds=[listening.fileno()]))
            return made[-1]

        try:
            yield path, start
        finally:
            for process in made:
                process.kill()
                process.wait()


def test_restarts_by_systemd(roots: Roots, busybox: str) -> None:
    """The old one ends before the new one starts, and clients wait meanwhile."""
    del busybox
    with activated(roots) as (path, start):
        process, api = start(), Api(path)
        assert api("POST", "/containers/create?name=talking", BODY).status == 201
        assert api("POST", "/containers/talking/start").status == 204
        pid = api("GET", "/containers/talking/json").json["State"]["Pid"]
        follower = api.socket(30)
        follower.sendall(b"GET /containers/talking/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert follower.recv(100)
        with Asking(path) as asking:
            for _ in range(3):
                asking.more()
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
                process = start()
                asking.more()
        assert not asking.failed
        while follower.recv(65536):
            pass  # it was ended in good order
        follower.close()
        assert api("GET", "/containers/talking/json").json["State"]["Pid"] == pid
        assert api("DELETE", "/containers/talking?force=1").status == 204


def test_replacing(roots: Roots, busybox: str) -> None:
    """``--replace``: a new server takes over the socket's place, and the old one ends when it has answered."""
    del busybox
    first = Served(roots)
    assert first("POST", "/containers/create?name=talking", BODY).status == 201
    attached = first.socket(30)
    attached.sendall(b"POST /containers/talking/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\n\r\n")
    assert b"101 UPGRADED" in attached.recv(1000)
    assert first("POST", "/containers/talking/start").status == 204
    pid = first("GET", "/containers/talking/json").json["State"]["Pid"]
    slow = first.socket(30)
    slow.sendall(
        b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
    )
    silent = first.socket(30)
    with Asking(first.path) as asking:
        asking.more()
        server = first
        for _ in range(3):
            before, server = server, Served(roots, first.path, "--replace")
            if before is first:
                slow.sendall(b"}")  # what was asked of the old one is answered by it
                assert slow.recv(100).startswith(b"HTTP/1.1 201 ")
                assert silent.recv(100) == b""
            assert before.process.wait(60) == 0
            asking.more()
    assert not asking.failed
    slow.close()
    silent.close()
    assert server("GET", "/containers/talking/json").json["State"]["Pid"] == pid
    while attached.recv(65536):
        pass  # its streams have ended with the server that it was attached through
    attached.close()
    assert server("DELETE", "/containers/talking?force=1").status == 204
    assert server.stop() == 0
    assert not server.path.exists()


def test_who_cannot_be_replaced(roots: Roots, cli: Cli) -> None:
    path = roots.config.parent / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):
                client, _ = other.accept()
                with client:
                    client.recv(1000)
                    client.sendall(b"HTTP/1.1 200 OK\r\nServer: Docker/28.5.2 (linux)\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        done = cli("serve", "--socket", str(path), "--replace")
        thread.join()
        assert done.returncode == 1
        assert b"its server cannot be replaced, as minidock has not made it" in done.stderr
        assert os.path.exists(path)
    done = cli("serve", "--socket", "/proc/x/y.sock", "--replace")
    assert done.returncode == 1
    # A dead one's is nobody's.
    server = Served(roots, path, "--replace")
    assert server("GET", "/_ping").status == 200
    assert server.stop() == 0
