"""`minidock ui` for tests: the command on a test's roots, plain HTTP to it, and websockets."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.conftest import Roots
from tests.serving import Answer


class Refused(AssertionError):  # noqa: N818 - says what happened
    """A websocket that was not accepted."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused: {status}")
        self.status = status


class Websocket:
    """A client."""

    def __init__(
        self, port: int, target: str, headers: list[tuple[bytes, bytes]], host: str, timeout: float = 30
    ) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._sock.sendall(self._protocol.send(Request(host=host, target=target, extra_headers=headers)))
        self._events: list[Any] = []
        self.code: int | None = None
        """What the server closed it with."""
        try:
            event = self._next()
            if isinstance(event, RejectConnection):
                raise Refused(event.status_code)
            assert isinstance(event, AcceptConnection), event
        except BaseException:
            self._sock.close()
            raise

    def _next(self) -> Any:
        while not self._events:
            data = self._sock.recv(65536)
            self._protocol.receive_data(data or None)
            for event in self._protocol.events():
                if isinstance(event, Ping):
                    self._sock.sendall(self._protocol.send(event.response()))
                else:
                    self._events.append(event)
            if not data and not self._events:
                raise ConnectionError("closed")
        return self._events.pop(0)

    def receive(self) -> str | bytes | None:
        """Return the next message; None when the server has closed."""
        parts: list[Any] = []
        while True:
            event = self._next()
            if isinstance(event, CloseConnection):
                self.code = event.code
                return None
            if isinstance(event, (TextMessage, BytesMessage)):
                parts.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
                if event.message_finished:
                    return parts[0][:0].join(parts)  # type: ignore[no-any-return]

    def json(self) -> Any:
        """Return the next message as JSON; None at the end."""
        message = self.receive()
        return None if message is None else json.loads(message)

    def until(self, passes: Any) -> Any:
        """Return the first message of JSON that passes."""
        while True:
            message = self.json()
            assert message is not None, "the server has closed"
            if passes(message):
                return message

    def send(self, data: str | bytes) -> None:
        """Send a message."""
        event = TextMessage(data=data) if isinstance(data, str) else BytesMessage(data=data)
        self._sock.sendall(self._protocol.send(event))

    def ping(self) -> None:
        """Ask whether it is there, and wait for the answer."""
        self._sock.sendall(self._protocol.send(Ping(payload=b"x")))
        while not isinstance(self._next(), Pong):
            pass

    def raw(self, data: bytes) -> None:
        """Send bytes that need not be the protocol's."""
        self._sock.sendall(data)

    def close(self) -> None:
        """Go."""
        self._sock.close()

    def __enter__(self) -> Websocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Ui:
    """The page's server in a process of its own."""

    def __init__(self, roots: Roots, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minidock", "ui", *args],
            env=roots.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        self.link = self.process.stdout.readline().strip()
        if not self.link:
            raise AssertionError(self.process.communicate(timeout=60)[1])
        parts = urlsplit(self.link)
        assert parts.port is not None
        self.port: int = parts.port
        self.place = parts.path.removesuffix("/enter")
        self.token = parts.query.removeprefix("token=")
        self.host = f"127.0.0.1:{self.port}"
        self.origin = f"http://{self.host}"
        self.cookie = ""

    def enter(self) -> str:
        """Swap the token for the cookie; returns the header that sets it."""
        answer = self.get(f"/enter?token={self.token}", cookie=False)
        assert answer.status == 303, answer
        header = answer.headers["set-cookie"]
        self.cookie = header.partition(";")[0]
        return header

    def __call__(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        cookie: bool = True,
        place: bool = True,
        data: bytes | None = None,
    ) -> Answer:
        """Send a request. A header whose value is empty is not sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Host": self.host, **({"Cookie": self.cookie} if cookie and self.cookie else {})}
        if method != "GET":
            sent["Origin"] = self.origin
        sent |= headers or {}
        try:
            target = f"{self.place if place else ''}{path}"
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            if method != "GET":
                connection.putheader("Content-Length", str(len(data or b"")))
            connection.endheaders(data)
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        """Send a GET."""
        return self("GET", path, headers, **more)

    def post(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        """Send a POST without a body."""
        return self("POST", path, headers, **more)

    def websocket(self, path: str, headers: dict[str, str] | None = None) -> Websocket:
        """Open a websocket. Raises Refused."""
        sent = {"Cookie": self.cookie, "Origin": self.origin, **(headers or {})}
        host = sent.pop("Host", self.host)
        pairs = [(name.encode(), value.encode()) for name, value in sent.items() if value]
        return Websocket(self.port, f"{self.place}{path}", pairs, host)

    def stop(self) -> str:
        """End it, and return what it wrote to its log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        _, log = self.process.communicate(timeout=30)
        self.code = self.process.returncode
        return log


@contextmanager
def ui(roots: Roots, *args: str) -> Iterator[Ui]:
    """The page's server for the time of a ``with`` block; its log must be empty."""
    server = Ui(roots, *args)
    try:
        yield server
    finally:
        log = server.stop()
        print(log, file=sys.stderr)
    assert log == ""
