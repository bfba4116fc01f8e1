"""`minidock serve` for tests: a server on a test's roots, and raw HTTP to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import Roots


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float = 60) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    """Requests to a socket, one connection each."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, method: str, target: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request; a body that is no bytes is sent as JSON."""
        connection = UnixConnection(self.path)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, target, body=body, headers=sent)  # type: ignore[arg-type]
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def raw(self, data: bytes, *, timeout: float = 60, end: bool = True) -> bytes:
        """Send bytes, and return all that comes back until the server closes."""
        with self.socket(timeout) as sock:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
            found = b""
            while chunk := sock.recv(65536):
                found += chunk
            return found

    def socket(self, timeout: float = 60) -> socket.socket:
        """A connection."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(str(self.path))
        return sock


class Served(Api):
    """A server in a process of its own; ``prelude`` is code that it runs first."""

    def __init__(self, roots: Roots, path: Path | None = None, *args: str, prelude: str = "") -> None:
        super().__init__(path or roots.config.parent / "api.sock")
        self.roots = roots
        self.log = roots.config.parent / f"serve-{time.monotonic_ns()}.log"
        code = f"{prelude}\nfrom minidock.__main__ import main\nmain()"
        start = ["-c", code] if prelude else ["-m", "minidock"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *start, "serve", "--socket", str(self.path), *args],
                env=roots.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self("GET", "/_ping").data == b"OK"
        except OSError:
            return False

    @property
    def url(self) -> str:
        """What DOCKER_HOST is."""
        return f"unix://{self.path}"

    def kill(self) -> None:
        """Kill it as nobody should."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        """How many threads it has."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def resident(self) -> int:
        """Its memory in bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def served(roots: Roots, *args: str, prelude: str = "") -> Iterator[Served]:
    """A server for the time of a ``with`` block."""
    server = Served(roots, None, *args, prelude=prelude)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        print(server.log.read_text(), file=sys.stderr)
