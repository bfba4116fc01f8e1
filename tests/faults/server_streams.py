"""Clients of every streaming route of `minidock serve`, in the middle of what they do."""

from __future__ import annotations

import io
import re
import socket
import tarfile
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.conftest import wait_for
from tests.hostile import HostileRegistry
from tests.pulls import layer, noise
from tests.registry import build_image, digest_of
from tests.serving import Served

TALKING = "while :; do echo talking; echo err >&2; sleep 0.02; done"
BIG = 8 << 20
"""More than the buffers between the two ends hold."""


def tar(**files: bytes) -> bytes:
    """A tar of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


class Clients:
    """Clients of one server with a container ``talking`` that runs, and an image ``big`` of 8 MiB.

    ``registry`` has ``app:slow``, whose layer stops in the middle, and takes nothing that is pushed.
    """

    def __init__(self, server: Served, registry: HostileRegistry) -> None:
        self.server = server
        self.registry = registry
        image = build_image([layer(1, 400_000)])
        registry.add("app", "slow", image)
        registry.rule(f"/v2/app/blobs/{digest_of(image.layers[0])}", method="GET", stall_after=100)
        registry.rule("/v2/pushed/blobs/uploads/.*", gate=threading.Event())
        self.blob = noise(7, BIG)
        assert server("POST", "/images/create?fromSrc=-&repo=big", tar(file=self.blob)).status == 200
        target = f"{registry.host}/pushed"
        assert server("POST", f"/images/big/tag?repo={quote(target, safe='')}&tag=latest").status == 201
        self.start("talking", "sh", "-c", f"head -c {BIG} /dev/zero >/zeros; {TALKING}")
        wait_for(lambda: b"talking" in server("GET", "/containers/talking/logs?stdout=1").data, 20, "output")

    def start(self, name: str, *command: str, **more: Any) -> str:
        """Start a container and return its id."""
        body = {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": "none"}, **more}
        made = self.server("POST", f"/containers/create?name={name}", body)
        assert made.status == 201, made
        assert self.server("POST", f"/containers/{name}/start").status == 204
        return str(made.json["Id"])

    def send(self, method: str, target: str, headers: str = "", body: bytes = b"") -> socket.socket:
        """A connection on which a request was sent."""
        sock = self.server.socket(30)
        sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + body)
        return sock

    def streaming(self, method: str, target: str, sign: str, headers: str = "", body: bytes = b"") -> socket.socket:
        """The same, once what has come matches ``sign``."""
        sock = self.send(method, target, headers, body)
        found = b""
        while not re.search(sign.encode(), found):
            data = sock.recv(4096)
            assert data, found
            found += data
        return sock

    def half(self, method: str, target: str, data: bytes) -> socket.socket:
        """An upload of which only a half has come."""
        headers = f"Content-Type: application/x-tar\r\nContent-Length: {len(data)}\r\n"
        return self.send(method, target, headers, data[: len(data) // 2])

    def executing(self, **config: Any) -> socket.socket:
        """An exec with its streams on the connection; it goes on without its client, but not for long."""
        talk = "for i in 1 2 3 4 5 6 7 8 9 10; do echo talking; sleep 0.05; done"
        body = {"Cmd": ["sh", "-c", talk], "AttachStdout": True, "AttachStderr": True, **config}
        made = self.server("POST", "/containers/talking/exec", body)
        headers = "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        return self.streaming("POST", f"/exec/{made.json['Id']}/start", "talking", headers, b"{}")

    def routes(self) -> dict[str, Callable[[], socket.socket]]:
        """By name, how a client gets into the middle of each."""
        stream, upgrade = self.streaming, "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        attach = "/containers/talking/attach?stream=1&stdin=1&stdout=1&stderr=1"
        key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key += "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        context = tar(Dockerfile=b"FROM busybox\nRUN echo begun; sleep 100\n")
        built = f"Content-Type: application/x-tar\r\nContent-Length: {len(context)}\r\n"
        pushed = quote(f"{self.registry.host}/pushed", safe="/")
        pulled = f"{self.registry.host}/app"
        archive = tar(big=self.blob)
        return {
            "events": lambda: stream("GET", "/events", "200 OK"),
            "logs": lambda: stream("GET", "/containers/talking/logs?follow=1&stdout=1&stderr=1", "talking"),
            "stats": lambda: stream("GET", "/containers/talking/stats", "cpu_stats"),
            "wait": lambda: stream("POST", "/containers/talking/wait", "200 OK"),
            "wait for removal": lambda: stream("POST", "/containers/talking/wait?condition=removed", "200 OK"),
            "attach": lambda: stream("POST", attach, "talking", upgrade),
            "attach without upgrade": lambda: stream("POST", attach, "talking"),
            "attach with logs": lambda: stream("POST", f"{attach}&logs=1", "talking", upgrade),
            "attach by websocket": lambda: stream("GET", attach.replace("attach", "attach/ws"), "talking", key),
            "exec": self.executing,
            "exec with a terminal": lambda: self.executing(Tty=True, AttachStdin=True),
            "pull": lambda: stream("POST", f"/images/create?fromImage={pulled}&tag=slow", "Pulling fs layer"),
            "push": lambda: stream("POST", f"/images/{pushed}/push?tag=latest", "push refers"),
            "build": lambda: stream("POST", "/build?networkmode=none", "begun", built, context),
            "save": lambda: stream("GET", "/images/big/get", "200 OK"),
            "export": lambda: stream("GET", "/containers/talking/export", "200 OK"),
            "files of a container": lambda: stream("GET", "/containers/talking/archive?path=/zeros", "200 OK"),
            "half a load": lambda: self.half("POST", "/images/load", archive),
            "half an import": lambda: self.half("POST", "/images/create?fromSrc=-&repo=half", archive),
            "half a context": lambda: self.half("POST", "/build", archive),
            "half a copy": lambda: self.half("PUT", "/containers/talking/archive?path=/tmp", archive),
            "half a body": lambda: self.send(
                "POST", "/volumes/create", "Content-Type: application/json\r\nContent-Length: 20\r\n", b'{"Name": '
            ),
        }  # fmt: skip

    def remove(self) -> None:
        """Remove all containers."""
        for one in self.server("GET", "/containers/json?all=1").json:
            assert self.server("DELETE", f"/containers/{one['Id']}?force=1&v=1").status in (204, 404)
