"""gRPC's client side on one connection of HTTP/2, for sessions.

A context is some messages for each of its files, and grpcio takes ten times as long for each of them.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OK, CANCELLED, UNKNOWN, DEADLINE, NOT_FOUND, RESOURCES, UNAVAILABLE = 0, 1, 2, 4, 5, 8, 14
"""Codes of gRPC."""
_CHUNK = 256 << 10
_WINDOW, _WHOLE_WINDOW = 4 << 20, 32 << 20
"""Bytes that the client may send ahead, on one call and on all."""
_BURST = 1 << 20
_MESSAGE = 64 << 20
_PREFIX = struct.Struct(">BL")
_SEND_SECONDS = 60
"""A client that takes nothing for so long has gone."""


class CallFailed(Exception):  # noqa: N818 - says what happened
    """A call has not ended well: gRPC's code, and words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Call:
    """One call: messages in both directions. Its other end may end it at any time, which :meth:`send` and
    :meth:`take` raise as CallFailed."""

    def __init__(self, transport: Transport, number: int) -> None:
        self._transport = transport
        self._number = number
        self._ready = threading.Condition(transport.lock)
        self._rest = bytearray()
        self._messages: list[bytes] = []
        self._owed = 0
        """Bytes that have come and are not acknowledged yet."""
        self._queued = 0
        """Bytes that nobody has taken yet."""
        self._status: tuple[int, str] | None = None
        self.ended: CallFailed | None = None
        """How it has ended; with OK for a good end."""

    # For the transport, which has its lock

    def headers(self, headers: Sequence[tuple[str, str]]) -> None:
        """Take headers or trailers."""
        found = dict(headers)
        if found.get(":status", "200") != "200":
            self._status = (UNKNOWN, f"HTTP status {found[':status']}")
        if "grpc-status" in found:
            text = unquote(found.get("grpc-message", ""))
            self._status = (int(found["grpc-status"]) if found["grpc-status"].isdigit() else UNKNOWN, text)

    def feed(self, data: bytes, size: int) -> None:
        """Take data, of which there were ``size`` bytes on the connection."""
        self._owed += size
        self._rest += data
        position = 0
        while len(self._rest) - position >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(self._rest, position)
            if compressed or length > _MESSAGE:
                self.finish(CallFailed(RESOURCES, f"a message that is not understood: {length} bytes"))
                return
            end = position + _PREFIX.size + length
            if len(self._rest) < end:
                break
            self._messages.append(bytes(self._rest[position + _PREFIX.size : end]))
            position = end
        if position:
            del self._rest[:position]
            self._queued += position
            self._ready.notify_all()
        # Not later: of a message that is larger than the window no more would come.
        if self._queued <= _WINDOW:
            self._acknowledge()

    def _acknowledge(self) -> None:
        owed, self._owed = self._owed, 0
        self._transport.acknowledge(self._number, owed)

    def finish(self, failure: CallFailed | None = None) -> None:
        """It has ended."""
        if self.ended is None:
            self.ended = failure or CallFailed(*(self._status or (UNKNOWN, "the call ended without a status")))
        self._ready.notify_all()

    # For whoever calls

    def send(self, *messages: bytes) -> None:
        """Send messages; waits while the other end takes nothing."""
        data = memoryview(b"".join(part for one in messages for part in (_PREFIX.pack(0, len(one)), one)))
        while data:
            with self._transport.lock:
                if self.ended is not None:
                    raise self.ended
                size = self._transport.write(self._number, data)
            data = data[size:]

    def end(self) -> None:
        """Send nothing more."""
        with self._transport.lock:
            if self.ended is None:
                self._transport.end_stream(self._number)

    def take(self, timeout: float | None = None) -> list[bytes]:
        """Return the messages that have come, at least one; none when the call has ended well."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._transport.lock:
            while not self._messages and self.ended is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise CallFailed(DEADLINE, "the client does not answer")
                self._ready.wait(left)
            found, self._messages = self._messages, []
            if found:
                self._queued = 0
                self._acknowledge()
                return found
            assert self.ended is not None  # noqa: S101 - it was waited for
            if self.ended.code == OK:
                return []
            raise self.ended

    def __iter__(self) -> Iterator[bytes]:
        while messages := self.take():
            yield from messages

    def cancel(self) -> None:
        """End it, unless it has ended."""
        with self._transport.lock:
            if self.ended is None:
                self._transport.reset(self._number)
                self.finish(CallFailed(CANCELLED, "cancelled"))


class Transport:
    """One connection, whose other end is a gRPC server. :meth:`serve` reads it, calls are made by other threads."""

    def __init__(self, connection: socket.socket) -> None:
        self.lock = threading.Lock()
        self._room = threading.Condition(self.lock)
        """There is perhaps more room to send."""
        self._connection = connection
        self._calls: dict[int, Call] = {}
        self._ended = False
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._http = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        self._http.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.INITIAL_WINDOW_SIZE: _WINDOW,
                codes.MAX_HEADER_LIST_SIZE: 1 << 20,
            },
        )
        # Else one that takes nothing would hold the lock for ever.
        seconds = struct.pack("ll", _SEND_SECONDS, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        self._http.initiate_connection()
        self._http.increment_flow_control_window(_WHOLE_WINDOW)
        self._flush()

    def serve(self, early: bytes = b"") -> None:
        """Read until the connection ends; ``early`` has come from it already. Closes it."""
        try:
            data = early or self._connection.recv(_CHUNK)
            while data:
                with self.lock:
                    for event in self._http.receive_data(data):
                        self._handle(event)
                    self._flush()
                data = self._connection.recv(_CHUNK)
        except (OSError, h2.exceptions.ProtocolError, UnicodeDecodeError):
            pass
        finally:
            self.close()
            self._connection.close()

    def close(self) -> None:
        """End the connection, and all calls."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        with self.lock:
            self._ended = True
            for call in self._calls.values():
                call.finish(CallFailed(UNAVAILABLE, "the connection has ended"))
            self._calls.clear()
            self._room.notify_all()

    def call(self, path: str, metadata: Iterable[tuple[str, str]] = ()) -> Call:
        """Begin a call. Raises CallFailed."""
        headers = [
            *((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")),
            *(("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "minidock")),
            *metadata,
        ]
        with self.lock:
            if self._ended:
                raise CallFailed(UNAVAILABLE, "the connection has ended")
            try:
                number = self._http.get_next_available_stream_id()
                self._http.send_headers(number, headers)
            except h2.exceptions.ProtocolError as error:
                raise CallFailed(UNAVAILABLE, str(error)) from error
            call = self._calls[number] = Call(self, number)
            self._flush()
        return call

    # Under the lock

    def write(self, number: int, data: memoryview) -> int:
        """Send as much as there is room for, at least one byte, or wait for room; returns how much that was."""
        sent = 0
        with self._failing():
            while sent < min(len(data), _BURST):
                room = self._http.local_flow_control_window(number)
                size = min(len(data) - sent, room, self._http.max_outbound_frame_size)
                if size <= 0:
                    break
                self._http.send_data(number, bytes(data[sent : sent + size]))
                sent += size
        self._flush()
        if not sent:
            self._room.wait(1.0)
        return sent

    def end_stream(self, number: int) -> None:
        """Send nothing more on a stream."""
        with self._failing():
            self._http.end_stream(number)
        self._flush()

    def acknowledge(self, number: int, size: int) -> None:
        """Let so many bytes more come."""
        if size and not self._ended:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self._http.acknowledge_received_data(size, number)
            self._flush()

    def reset(self, number: int) -> None:
        """End a stream."""
        self._calls.pop(number, None)
        if not self._ended:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self._http.reset_stream(number, ErrorCodes.CANCEL)
            self._flush()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except h2.exceptions.ProtocolError as error:
            raise CallFailed(UNAVAILABLE, f"the connection has ended: {error}") from error

    def _flush(self) -> None:
        """Send what is to be sent. A connection that does not take it has ended, as whoever reads it will see."""
        data = self._http.data_to_send()
        if data and not self._ended:
            try:
                self._connection.sendall(data)
            except OSError:
                self._ended = True
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._room.notify_all()
            return
        if isinstance(event, h2.events.ConnectionTerminated):
            raise h2.exceptions.ProtocolError("the client ends the connection")
        call = self._calls.get(getattr(event, "stream_id", None) or 0)
        if call is None:
            if isinstance(event, h2.events.DataReceived):  # of a call that was cancelled
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return
        if isinstance(event, h2.events.DataReceived):
            call.feed(event.data, event.flow_controlled_length)
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            call.headers(event.headers)  # type: ignore[arg-type]  # texts, as the configuration says
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            lost = isinstance(event, h2.events.StreamReset)
            call.finish(CallFailed(CANCELLED, "the client has ended the call") if lost else None)
            self._calls.pop(event.stream_id, None)
            self._room.notify_all()
