"""Clients that are slow, on their way in and out: they get their time, and no more, and are in nobody's way."""

from __future__ import annotations

import socket
import time

from tests.conftest import Roots, wait_for
from tests.faults.server_streams import tar
from tests.serving import Served, served

SHORT = """
from minidock.server import http
http._HEAD_SECONDS, http._BODY_SECONDS, http._STALL_SECONDS, http._DRAIN_SECONDS = 1.0, 1.0, 2.0, 1.0
"""
"""A minute and ten are too long for tests."""


def answer(sock: socket.socket) -> bytes:
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


def trickle(sock: socket.socket, data: bytes) -> bool:
    """Send byte by byte until the server has had enough; whether it had."""
    for byte in data:
        try:
            sock.send(bytes([byte]))
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_what_does_not_come(roots: Roots) -> None:
    json = b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 300\r\n\r\n{"
    chunks = json.replace(b"Content-Length: 300", b"Transfer-Encoding: chunked").replace(b"\r\n{", b"\r\n1\r\n{\r\n")
    load = b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    start = b"POST /exec/x/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
    unwanted = b"POST /containers/x/start HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n{"
    with served(roots, prelude=SHORT) as server:
        assert server("POST", "/images/create?fromSrc=-&repo=first", tar(file=b"x")).status == 200
        wait_for(lambda: server.threads() <= 4, 10, "threads")
        before = server.descriptors()
        archives = ("/images/create?fromSrc=-", "/build?networkmode=none", "/images/load")
        uploads = [load.replace(b"/images/load", target.encode()) + tar(Dockerfile=b"x")[:700] for target in archives]
        for data, status in (
            (b"GET /_ping HTT", b""),
            (b"GET /_ping HTTP/1.1\r\nHost: x\r\nA:", b""),
            (json, b"408"),
            (chunks, b"408"),
            (start, b"408"),
            (unwanted, b"404"),
            *((upload, b"408") for upload in uploads),
        ):
            with server.socket(20) as sock:
                sock.sendall(data)
                found = answer(sock)
                if b"errorDetail" in found:  # what was told of the beginning has a status already
                    assert b"the request's body does not come" in found
                    continue
                assert found.split(b" ", 2)[1:2] == ([status] if status else []), (data[:60], found)
                assert not status or b'{"message":"' in found
        # Byte by byte is too slow for a head or JSON, and slow for an archive, for which somebody may be working.
        for data in (b"GET /_ping HTTP/1.1\r\nHost: x\r\nA:" + b"a" * 100, json + b" " * 100):
            with server.socket(20) as sock:
                trickle(sock, data)
                assert b" 200 OK" not in answer(sock)
        small = tar(file=b"slow")
        with server.socket(20) as sock:
            sock.sendall(
                load.replace(b"load", b"create?fromSrc=-").replace(b"1000000", b"%d" % len(small)) + small[:-60]
            )
            assert not trickle(sock, small[-60:])
            sock.shutdown(socket.SHUT_WR)
            assert b" 200 OK" in answer(sock)
        wait_for(lambda: server.threads() <= 4, 10, "threads")
        wait_for(lambda: server.descriptors() <= before, 10, "descriptors")
        assert "Traceback" not in server.log.read_text()


def test_who_does_not_read(roots: Roots, busybox: str) -> None:
    """The server waits for it with a thread of its own, and can be stopped all the same."""
    with served(roots) as server:
        assert server("POST", "/images/create?fromSrc=-&repo=big", tar(big=bytes(8 << 20))).status == 200
        body = {"Image": busybox, "Cmd": ["yes"], "HostConfig": {"NetworkMode": "none",
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}}}  # fmt: skip
        assert server("POST", "/containers/create?name=yes", body).status == 201
        assert server("POST", "/containers/yes/start").status == 204
        socks = []
        for target in (
            "GET /images/big/get",
            "GET /containers/yes/logs?follow=1&stdout=1",
            "POST /containers/yes/attach?stream=1&stdout=1",
            "GET /containers/yes/export",
        ):
            socks.append(server.socket())
            socks[-1].sendall(f"{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert socks[-1].recv(15) == b"HTTP/1.1 200 OK"
        assert server("GET", "/_ping").status == 200
        first = cpu_of(server, "yes")
        wait_for(lambda: cpu_of(server, "yes") > first, 20, "work of a container whose client does not read")
        assert server.stop() == 0
        with Again(roots, server) as again:
            assert again("GET", "/containers/yes/json").json["State"]["Running"] is True
            assert again("DELETE", "/containers/yes?force=1").status == 204
        for sock in socks:
            sock.close()


def cpu_of(server: Served, name: str) -> int:
    found = server("GET", f"/containers/{name}/stats?stream=0&one-shot=1").json
    return int(found["cpu_stats"]["cpu_usage"]["total_usage"])


class Again(Served):
    """A server after another one."""

    def __init__(self, roots: Roots, before: Served) -> None:
        super().__init__(roots, before.path)

    def __enter__(self) -> Again:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
