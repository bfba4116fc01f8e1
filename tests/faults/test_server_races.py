"""Requests on one object at the same time, where only luck keeps them apart: each moment is held open here."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from pathlib import Path

from tests.conftest import Roots, wait_for
from tests.serving import Served, served

SLOW_START = """
import time
from minidock.containers.lifecycle import Lifecycle
start = Lifecycle.start
def slow(self, *args, **given):
    time.sleep(1.5)
    return start(self, *args, **given)
Lifecycle.start = slow
"""
SLOW_CLAIM = """
import time
from minidock.containers import exec_records
claim, moments = exec_records.claim, [0.5, 1.5]
def slow(*args):
    time.sleep(moments.pop(0))
    return claim(*args)
exec_records.claim = slow
"""
HEAD = " HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Type: application/json\r\n"


def created(server: Served, *command: str) -> str:
    body = {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": "none"}}
    return str(server("POST", "/containers/create", body).json["Id"])


def test_a_client_goes_while_its_container_is_started(roots: Roots, busybox: str) -> None:
    """The numbers of its descriptors are not somebody else's before the container has them."""
    with served(roots, prelude=SLOW_START) as server, contextlib.ExitStack() as stack:
        container = created(server, "sh", "-c", "echo secret; echo secret >&2")
        attached = server.socket()
        attached.sendall(f"POST /containers/{container}/attach?stream=1&stdout=1{HEAD}\r\n".encode())
        assert b"101 UPGRADED" in attached.recv(4096)
        statuses: list[int] = []
        target = f"/containers/{container}/start"
        start = threading.Thread(target=lambda: statuses.append(server("POST", target).status))
        start.start()
        time.sleep(0.5)
        attached.close()
        time.sleep(0.5)  # it looks every 0.2 seconds
        others = [stack.enter_context(server.socket()) for _ in range(8)]
        for other in others:
            other.sendall(b"GET /events?filters=%7B%22type%22%3A%5B%22plugin%22%5D%7D HTTP/1.1\r\nHost: x\r\n\r\n")
        start.join()
        assert statuses == [204]
        assert server("POST", f"/containers/{container}/wait").json["StatusCode"] == 0
        for other in others:
            found = other.recv(4096)
            other.settimeout(0.5)  # nothing else is to come
            with contextlib.suppress(socket.timeout):
                while data := other.recv(4096):
                    found += data
            assert found.startswith(b"HTTP/1.1 200")
            assert b"secret" not in found


def test_two_start_an_exec(roots: Roots, busybox: str) -> None:
    """One is told that it runs already, and what is said of the other's stays true."""
    with served(roots, prelude=SLOW_CLAIM) as server, contextlib.ExitStack() as stack:
        container = created(server, "sleep", "60")
        assert server("POST", f"/containers/{container}/start").status == 204
        command = "until [ -e /go ]; do sleep 0.05; done; echo out; exit 3"
        body = {"Cmd": ["sh", "-c", command], "AttachStdout": True}
        made = server("POST", f"/containers/{container}/exec", body).json["Id"]
        clients = [stack.enter_context(server.socket()) for _ in range(2)]
        answers = dict.fromkeys(clients, b"")
        for client in clients:
            client.sendall(f"POST /exec/{made}/start{HEAD}Content-Length: 2\r\n\r\n{{}}".encode())

        def too_late() -> bool:
            for client in select.select(clients, [], [], 0.1)[0]:
                answers[client] += client.recv(4096)
            return any(b"has already run" in answer for answer in answers.values())

        wait_for(too_late)
        wait_for(lambda: server("GET", f"/exec/{made}/json").json["Running"])
        seen = server("GET", f"/exec/{made}/json").json
        assert (seen["Running"], seen["ExitCode"]) == (True, None)
        init = server("GET", f"/containers/{container}/json").json["State"]["Pid"]
        Path(f"/proc/{init}/root/go").touch()
        for client in clients:
            while data := client.recv(4096):
                answers[client] += data
        bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers.values()]
        assert sorted(b"out\n" in body for body in bodies) == [False, True]
        assert any(b"has already run" in body for body in bodies)
        assert server("GET", f"/exec/{made}/json").json["ExitCode"] == 3
        assert server("DELETE", f"/containers/{container}?force=1").status == 204
