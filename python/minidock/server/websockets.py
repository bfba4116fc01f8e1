"""A container's streams over a websocket: binary messages both ways, without Docker's headers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
from typing import TYPE_CHECKING

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import ProtocolError

from minidock.server.failures import HttpError

if TYPE_CHECKING:
    from minidock.server.http import Request

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK = 1 << 16


def accept_key(request: Request) -> str:
    """Return the answer to a handshake. Raises HttpError (400) for a request that is none."""
    headers = request.headers
    key = headers.get("sec-websocket-key", "")
    try:
        good = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        good = False
    if headers.get("upgrade", "").lower() != "websocket" or headers.get("sec-websocket-version") != "13" or not good:
        raise HttpError(400, "bad handshake: a websocket of version 13 is needed")
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


class Tunnel:
    """Translates between a websocket and a plain socket, ``inner``, with a thread for each direction."""

    def __init__(self, client: socket.socket, early: bytes) -> None:
        self._client = client
        self._protocol = Connection(ConnectionType.SERVER, trailing_data=early)
        self._lock = threading.Lock()
        self.inner, self._ours = socket.socketpair()
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Start to translate: the client has been told that the websocket is open."""
        for work in (self._outwards, self._inwards):
            thread = threading.Thread(target=work, name="minidock-websocket", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _outwards(self) -> None:
        """Send what the container writes; at its end, close."""
        while True:
            try:
                data = self._ours.recv(_CHUNK)
            except ConnectionResetError:
                data = b""  # the other end was closed with input that nobody had read
            if not data:
                self._send(CloseConnection(code=1000))
                with contextlib.suppress(OSError):
                    self._client.shutdown(socket.SHUT_RD)
                return
            if not self._send(BytesMessage(data=data)):
                with contextlib.suppress(OSError):
                    self._ours.shutdown(socket.SHUT_RDWR)
                return

    def _send(self, event: BytesMessage | CloseConnection | Ping) -> bool:
        try:
            with self._lock:
                self._client.sendall(self._protocol.send(event.response() if isinstance(event, Ping) else event))
        except (OSError, ProtocolError):
            return False
        return True

    def _inwards(self) -> None:
        """Give the container what the client sends, until it closes or goes."""
        with contextlib.suppress(OSError, ProtocolError):
            while self._take():
                data = self._client.recv(_CHUNK)
                with self._lock:
                    self._protocol.receive_data(data or None)
                if not data:
                    break
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)

    def _take(self) -> bool:
        with self._lock:
            events = list(self._protocol.events())
        for event in events:
            if isinstance(event, (BytesMessage, TextMessage)):
                self._ours.sendall(event.data.encode() if isinstance(event, TextMessage) else bytes(event.data))
            elif isinstance(event, Ping):
                self._send(event)
            elif isinstance(event, CloseConnection):
                self._send(CloseConnection(code=event.code))
                return False
        return True

    def finish(self) -> None:
        """Wait until the container's output has been sent, and close."""
        self.inner.close()
        if self._threads:
            self._threads[0].join()
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._ours.close()
