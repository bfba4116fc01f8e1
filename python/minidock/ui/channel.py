"""One websocket: whole messages both ways, text or bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import msgspec
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import ProtocolError

from minidock.errors import MinidockError
from minidock.server.failures import Vanished, message_of
from minidock.server.websockets import accept_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from minidock.server.http import Request

_CHUNK = 1 << 16
_LONGEST = 1 << 20
"""A message may have so many bytes."""
_encode = msgspec.json.Encoder().encode


class Channel:
    """A websocket with a client. In a ``with`` block, what the engine refuses is told to the client."""

    def __init__(self, request: Request) -> None:
        """Accept the handshake. Raises HttpError (400) for a request that is none."""
        key = accept_key(request)
        self._client, early = request.hijack()
        self._protocol = Connection(ConnectionType.SERVER, trailing_data=early)
        self._state, self._order = threading.Lock(), threading.Lock()
        self._listener: threading.Thread | None = None
        request.confirm_websocket(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        with contextlib.suppress(Vanished):
            if isinstance(error, MinidockError):
                self.json({"error": message_of(error)})
            self._send(CloseConnection(code=1000 if error is None or isinstance(error, MinidockError) else 1011))
        self.close()
        if self._listener is not None:
            self._listener.join()
        self._client.close()
        return isinstance(error, MinidockError)

    def close(self) -> None:
        """End it, from any thread."""
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def json(self, value: object) -> None:
        """Send a value as JSON. Raises Vanished."""
        self._send(TextMessage(data=_encode(value).decode()))

    def data(self, data: bytes) -> None:
        """Send bytes. Raises Vanished."""
        self._send(BytesMessage(data=data))

    def _send(self, event: Event) -> None:
        # A client that reads slowly must not keep what it sends from being read.
        try:
            with self._order:
                with self._state:
                    data = self._protocol.send(event)
                self._client.sendall(data)
        except (OSError, ProtocolError) as error:
            raise Vanished from error

    def messages(self) -> Iterator[str | bytes]:
        """Yield what the client sends, until it closes or goes, or breaks the protocol."""
        parts: list[str | bytes] = []
        size = 0
        with contextlib.suppress(OSError, ProtocolError, Vanished):
            while True:
                with self._state:
                    events = list(self._protocol.events())
                for event in events:
                    if isinstance(event, (TextMessage, BytesMessage)):
                        part = event.data if isinstance(event, TextMessage) else bytes(event.data)
                        parts.append(part)
                        size += len(part)
                        if size > _LONGEST:
                            self._send(CloseConnection(code=1009))
                            return
                        if event.message_finished:
                            whole = _joined(parts)
                            parts, size = [], 0
                            yield whole
                    elif isinstance(event, Ping):
                        self._send(event.response())
                    elif isinstance(event, CloseConnection):
                        self._send(event.response())
                        return
                data = self._client.recv(_CHUNK)
                with self._state:
                    self._protocol.receive_data(data or None)
                if not data:
                    return

    def listen(self, hear: Callable[[str | bytes], None], at_end: Callable[[], None]) -> None:
        """Call these from another thread: ``hear`` with each message, ``at_end`` when the client has gone."""

        def run() -> None:
            for message in self.messages():
                hear(message)
            at_end()

        self._listener = threading.Thread(target=run, name="minidock-channel", daemon=True)
        self._listener.start()


def _joined(parts: list[str | bytes]) -> str | bytes:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], str):
        return "".join(part for part in parts if isinstance(part, str))
    return b"".join(part for part in parts if isinstance(part, bytes))
