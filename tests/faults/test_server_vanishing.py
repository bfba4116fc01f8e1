"""Clients that go in the middle of what they do leave nothing: no thread, no descriptor, no file, no half image."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Roots, wait_for
from tests.faults.lives import SOAK
from tests.faults.server_streams import Clients
from tests.hostile import HostileRegistry
from tests.oracle import assert_sound
from tests.serving import Served, served

ROUNDS = 50 if SOAK else 3


def images(server: Served) -> list[Any]:
    return sorted((one["Id"], one["RepoTags"]) for one in server("GET", "/images/json?all=1").json)


def in_work(roots: Roots) -> list[str]:
    return [path.name for path in (roots.data / "tmp").iterdir() if not path.name.endswith(".lock")]


def reset(sock: socket.socket) -> None:
    """End a connection with what was not read; on a Unix socket that is all that a reset is."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.timeout(900 if SOAK else 300)
def test_clients_that_go(roots: Roots, busybox: str, hostile: HostileRegistry) -> None:
    del busybox
    with served(roots) as server:
        clients = Clients(server, hostile)
        routes = clients.routes()
        for begin in routes.values():  # what is imported and opened once stays
            begin().close()
        wait_for(lambda: server.threads() <= 4, 30, "the end of what was begun")
        pid = server("GET", "/containers/talking/json").json["State"]["Pid"]
        before, descriptors, there = images(server), server.descriptors(), images(server)
        for number in range(ROUNDS):
            for what, begin in routes.items():
                sock = begin()
                if number % 3 == 1:
                    sock.shutdown(socket.SHUT_RDWR)
                reset(sock)
                assert server("GET", "/_ping").status == 200, what
            socks = [begin() for begin in routes.values()]  # all of them at once
            assert server("GET", "/containers/talking/json").json["State"]["Pid"] == pid
            for sock in socks:
                sock.close()
        wait_for(lambda: server.threads() <= 4, 30, f"threads: {server.threads()}")
        wait_for(lambda: server.descriptors() <= descriptors, 10, f"descriptors: {server.descriptors()}")
        wait_for(lambda: not in_work(roots), 10, f"files in tmp: {in_work(roots)}")
        assert images(server) == before == there
        assert server("GET", "/volumes").json["Volumes"] == []
        assert [one["Names"] for one in server("GET", "/containers/json?all=1").json] == [["/talking"]]
        assert server("GET", "/containers/talking/json").json["State"]["Pid"] == pid
        assert "Traceback" not in server.log.read_text()
        clients.remove()
    assert_sound(roots.data, downloads=None)


@pytest.mark.timeout(900 if SOAK else 300)
def test_thousands_of_aborted_attaches_and_resizes(roots: Roots, busybox: str) -> None:
    """Memory and descriptors stay as they are, of the server and of the container's supervisor."""
    with served(roots) as server:
        body = {"Image": busybox, "Cmd": ["sleep", "1000"], "Tty": True, "OpenStdin": True,
                "HostConfig": {"NetworkMode": "none"}}  # fmt: skip
        made = [server("POST", f"/containers/create?name={name}", body).json["Id"] for name in ("runs", "waits")]
        assert server("POST", "/containers/runs/start").status == 204
        state = server("GET", "/containers/runs/json").json["State"]
        supervisor = int(Path(f"/proc/{state['Pid']}/stat").read_text().rpartition(")")[2].split()[1])
        attach = "/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\n"
        upgrade = f"{attach}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

        def abort(number: int) -> None:
            with server.socket() as sock:
                target = f"POST /containers/{made[number % 2]}"
                if number % 4 < 2:
                    sock.sendall(f"{target}{upgrade}".encode())
                    if number % 3:
                        assert sock.recv(100).startswith(b"HTTP/1.1 101 ")
                    if number % 5 == 0:
                        sock.sendall(b"input that nobody reads\n")
                elif number % 4 == 2:
                    sock.sendall(f"{target}{attach}"[: 20 + number % 60].encode())
                else:
                    sock.sendall(
                        f"POST /containers/runs/resize?h={number % 90}&w=80 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                    )

        def descriptors(pid: int) -> int:
            return len(os.listdir(f"/proc/{pid}/fd"))

        for number in range(100):
            abort(number)
        wait_for(lambda: server.threads() <= 4, 20, "threads")
        before = server.descriptors(), descriptors(supervisor)
        size, supervisor_size = server.resident(), resident(supervisor)
        for number in range(10_000 if SOAK else 300):
            abort(number)
        wait_for(lambda: server.threads() <= 4, 20, "threads")
        wait_for(lambda: (server.descriptors(), descriptors(supervisor)) <= before, 20, f"descriptors as {before}")
        assert server.resident() < size + (4 << 20)
        assert resident(supervisor) < supervisor_size + (1 << 20)
        assert server("GET", "/containers/runs/json").json["State"]["Pid"] == state["Pid"]
        assert server("POST", "/containers/runs/resize?h=31&w=32").status == 200
        exec_id = server("POST", "/containers/runs/exec", {"Cmd": ["true"], "AttachStdout": True}).json["Id"]
        assert server("POST", f"/exec/{exec_id}/start", {}).status == 200
        for name in made:
            assert server("DELETE", f"/containers/{name}?force=1").status == 204
        assert "Traceback" not in server.log.read_text()


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_descriptors_of_followers(roots: Roots, busybox: str) -> None:
    """Each follower takes few of them, as the documentation says, and no thread is in another one's way."""
    count = 200 if SOAK else 40
    with served(roots) as server:
        body = {"Image": busybox, "Cmd": ["sh", "-c", "while :; do date; sleep 0.1; done"],
                "HostConfig": {"NetworkMode": "none"}}  # fmt: skip
        server("POST", "/containers/create?name=long", body)
        assert server("POST", "/containers/long/start").status == 204
        targets = ("GET /events", "GET /containers/long/logs?follow=1&stdout=1")
        before, size = server.descriptors(), server.resident()
        socks = [server.socket() for _ in range(count)]
        for number, sock in enumerate(socks):
            sock.sendall(f"{targets[number % 2]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for sock in socks:
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
        assert server.descriptors() - before <= count * 6
        assert server.resident() - size < count * (400 << 10)
        for sock in socks[1::2]:
            sock.recv(1000)
            assert sock.recv(1000)
        assert server("GET", "/_ping").status == 200
        for sock in socks:
            sock.close()
        wait_for(lambda: server.descriptors() <= before, 20, "descriptors")
        wait_for(lambda: server.threads() <= 4, 20, "threads")
        assert server("DELETE", "/containers/long?force=1").status == 204
        time.sleep(0)
