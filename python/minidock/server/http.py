"""One connection: requests are read by h11, whose parser is strict, and answered one after the other.

Answers are written here: what h11 checks of what others write would be half of the time that a small one takes.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import h11
import msgspec

from minidock.server.decoding import decode
from minidock.server.failures import HttpError, Vanished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from minidock.engine import Engine
    from minidock.server.query import Query
    from minidock.server.serving import Server

T = TypeVar("T")
JSON = "application/json"
RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
HEAD_LIMIT = 64 << 10
BODY_LIMIT = 16 << 20
_CHUNK = 1 << 16
_HEAD_SECONDS = 30.0
"""A request that has begun must be whole, but for its body, within this time."""
_BODY_SECONDS = 60.0
"""JSON must be whole within this time."""
_STALL_SECONDS = 600.0
"""Archives take as long as they take, but for so long nothing may come: who packs them may have to work for it."""
_DRAIN = 1 << 20
_DRAIN_SECONDS = 5.0
_LINGER = 64 << 20
_LINGER_SECONDS = 5.0
_PHRASES = {
    **{200: "OK", 201: "Created", 204: "No Content", 303: "See Other", 304: "Not Modified", 400: "Bad Request"},
    **{401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 413: "Request Entity Too Large"},
    **{408: "Request Timeout"},
    **{500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"},
}
_encode = msgspec.json.Encoder().encode
_timeval = struct.Struct("ll").pack


class Request:
    """One request, and how it is answered: by one of the methods below, once."""

    def __init__(self, connection: Connection, event: h11.Request) -> None:
        self.connection = connection
        self.server: Server = connection.server
        self.method = event.method.decode()
        self.target = event.target
        self._headers = event.headers
        self.headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
        self.http_version = event.http_version
        self.old = event.http_version == b"1.0"
        """It knows no chunks."""
        self.has_body = "content-length" in self.headers or "transfer-encoding" in self.headers
        self.keep = not self.old and "close" not in self.headers.get("connection", "").lower()
        """The connection may be used again."""
        self.path = ""
        self.query: Query
        self.version = (0, 0)
        self.names: Mapping[str, str] = {}
        """What the route's pattern found in the path."""
        self.answered = False

    def all_headers(self, name: str) -> list[str]:
        """The values of a header that there may be several of."""
        return [value.decode("latin-1") for key, value in self._headers if key == name.encode()]

    @property
    def engine(self) -> Engine:
        """The engine of the server."""
        return self.server.engine

    @property
    def client(self) -> socket.socket:
        """The client's connection."""
        return self.connection.socket

    def before(self, major: int, minor: int) -> bool:
        """Whether the client speaks an older version of the API than this."""
        return self.version < (major, minor)

    # --- the body ---

    def body(self, limit: int = BODY_LIMIT) -> bytes:
        """Return the whole body. Raises HttpError: 413 for one that is longer than ``limit``, 408 for a slow one."""
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            raise HttpError(413, f"request body too large: {length} bytes; at most {limit} are taken")
        self.connection.hurry(_BODY_SECONDS)
        parts, size = [], 0
        while chunk := self.connection.read_body():
            size += len(chunk)
            if size > limit:
                raise HttpError(413, f"request body too large: more than {limit} bytes")
            parts.append(chunk)
        return b"".join(parts)

    def json(self, kind: type[T]) -> T:
        """Return the body, which is JSON, as a struct; no body is an empty one. Raises HttpError (400, 413)."""
        data = self.body()
        given = self.headers.get("content-type", "")
        if data and given.partition(";")[0].strip().lower() != JSON:
            raise HttpError(400, f"unsupported media type: Content-Type specified ({given}) must be 'application/json'")
        return decode(data, kind)

    def reader(self) -> Reader:
        """Return the body as a binary file, read as it comes."""
        return Reader(self.connection)

    # --- answers ---

    def answer(self, value: object, status: int = 200) -> None:
        """Answer with JSON."""
        self._whole(status, _encode(value) + b"\n", JSON)

    def empty(self, status: int = 204) -> None:
        """Answer without a body."""
        self._whole(status, b"", "")

    def text(self, text: str, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with plain text."""
        self._whole(status, text.encode(), "text/plain; charset=utf-8", headers)

    def data(self, data: bytes, kind: str, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with bytes of the content type ``kind``."""
        self._whole(status, data, kind, headers)

    def headers_only(self, headers: Iterable[tuple[str, str]], status: int = 200) -> None:
        """Answer with headers that say all."""
        self._whole(status, b"", "", headers)

    def _whole(self, status: int, data: bytes, kind: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        found = [*headers, ("Content-Type", kind)] if kind else [*headers]
        if status not in (204, 304):
            found.append(("Content-Length", str(len(data))))
        self.answered = True
        head = self._head(status, found)
        self.connection.raw(head if self.method == "HEAD" else head + data)

    def stream(self, kind: str, headers: Iterable[tuple[str, str]] = (), status: int = 200) -> Stream:
        """Begin an answer that comes piece by piece; its headers are sent at once."""
        self.answered = True
        found = [*headers, ("Content-Type", kind)]
        if not self.old:
            found.append(("Transfer-Encoding", "chunked"))
        self.connection.raw(self._head(status, found))
        return Stream(self.connection, silent=self.method == "HEAD", chunked=not self.old)

    def _head(self, status: int, headers: list[tuple[str, str]]) -> bytes:
        """Return an answer's head; headers are of one line."""
        lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}"]
        for name, value in headers:
            if not value.isprintable():
                raise ValueError(f"header {name}: {value!r}")
            lines.append(f"{name}: {value}")
        if not self.keep:
            lines.append("Connection: close")
        return "\r\n".join(lines).encode("latin-1") + self.server.head

    def hijack(self) -> tuple[socket.socket, bytes]:
        """Take the connection over for raw bytes in both directions; :meth:`confirm` tells the client.

        Returns its socket, which is the caller's to close, and what the client has sent already.
        """
        self.body()
        self.connection.take_time()
        self.answered = True
        early, _ = self.connection.http.trailing_data
        return self.connection.give_away(), early

    def confirm_upgrade(self, protocol: str) -> None:
        """Tell the client that what follows is another protocol. Raises Vanished."""
        lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", f"Upgrade: {protocol}", "", ""]
        self.connection.raw("\r\n".join(lines).encode())

    def confirm_websocket(self, key: str) -> None:
        """Tell the client that what follows is a websocket. Raises Vanished."""
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        self.connection.raw("\r\n".join([*lines, f"Sec-WebSocket-Accept: {key}", "", ""]).encode())

    def confirm(self, kind: str) -> None:
        """Tell the client that what follows is no HTTP any more. Raises Vanished."""
        upgrade = self.headers.get("upgrade", "")
        if upgrade:
            lines = ["HTTP/1.1 101 UPGRADED", f"Content-Type: {kind}", "Connection: Upgrade", "Upgrade: tcp"]
        else:
            lines = ["HTTP/1.1 200 OK", f"Content-Type: {RAW_STREAM}"]  # whatever it is, as in Docker
        self.connection.raw("\r\n".join(lines).encode() + self.server.head)


class Stream:
    """An answer that comes piece by piece."""

    def __init__(self, connection: Connection, *, silent: bool, chunked: bool) -> None:
        self._connection = connection
        self._silent = silent
        self._chunked = chunked

    def write(self, data: bytes) -> None:
        """Send a piece. Raises Vanished when the client has gone."""
        if not data or self._silent:
            return
        if self._chunked:
            self._connection.raw(b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._connection.raw(data)

    def write_json(self, value: object) -> None:
        """Send a value as a line of JSON."""
        self.write(_encode(value) + b"\r\n")

    def close(self) -> None:
        """End the answer."""
        if self._chunked and not self._silent:
            self._connection.raw(b"0\r\n\r\n")


class Reader:
    """A request's body as a binary file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, all with -1; nothing at the end. Raises Vanished."""
        if size < 0:
            parts = [self._rest]
            self._rest = b""
            while chunk := self._connection.read_body():
                parts.append(chunk)
            return b"".join(parts)
        if not self._rest:
            self._rest = self._connection.read_body()
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


class Connection:
    """One client's connection."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.socket = sock
        self.http = _reader()
        # A body may be read by one thread while another one writes the answer.
        self._lock = threading.Lock()
        self.busy = False
        """Whether a request is being answered."""
        self.is_new = True
        """It has not asked anything yet."""
        self._given_away = False
        self._continued = False
        self._deadline = 0.0
        """When the body has to be whole; 0: whenever it is, if something of it comes now and then."""
        self._patience = 0
        """Seconds that the kernel waits for a byte, 0 for ever. Not Python's timeout: that is for sending, too."""
        self._reading = threading.Lock()
        self.failure: HttpError | Vanished | None = None
        """Why the body could not be read; who reads it in another thread cannot tell."""

    def serve(self) -> None:
        """Answer requests until the client goes, or wants something else than HTTP."""
        try:
            while True:
                try:
                    event = self._next_head()
                    request = None if event is None else _checked(Request(self, event))
                except h11.RemoteProtocolError as error:
                    self._refuse(error)
                    self._linger()
                    return
                if request is None:
                    return
                self.busy, self.is_new = True, False
                self.server.answer(request)
                self.busy = False
                if self._given_away or self.server.stopping:
                    return
                # Without a body the end of the request need not be looked for.
                if not (request.keep and (not (request.has_body or "upgrade" in request.headers) or self._drained())):
                    self._linger()
                    return
                rest, _ = self.http.trailing_data
                self.http, self._continued = _reader(), False
                self.take_time()
                if rest:
                    self.http.receive_data(rest)
        except (Vanished, h11.ProtocolError):
            return
        finally:
            if not self._given_away:
                self.interrupt()  # who still reads the body in another thread
                self.socket.close()

    def _next_head(self) -> h11.Request | None:
        """Return the next request's head; None when the client has gone."""
        deadline = None
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Request):
                self.socket.settimeout(None)
                return event
            if event is not h11.NEED_DATA:
                return None
            if deadline is not None or self.http.trailing_data[0]:
                deadline = deadline or time.monotonic() + _HEAD_SECONDS
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self.socket.settimeout(left)
            if not self._receive():
                return None

    def _receive(self) -> bool:
        """Take more bytes from the client; False when it has gone."""
        try:
            data = self.socket.recv(_CHUNK)
        except OSError:
            return False
        with self._lock:
            self.http.receive_data(data)
        return bool(data)

    def hurry(self, seconds: float) -> None:
        """Let the body be whole within this time."""
        self._deadline = time.monotonic() + seconds

    def take_time(self) -> None:
        """Let the client take the time that it wants."""
        self._deadline = 0.0
        self._wait_at_most(0.0)

    def _wait_at_most(self, seconds: float) -> None:
        whole = math.ceil(seconds)
        if whole != self._patience:
            self._patience = whole
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(whole, 0))

    def _receive_body(self) -> None:
        """Take more bytes of a body. Raises Vanished, HttpError (408)."""
        left = self._deadline - time.monotonic() if self._deadline else _STALL_SECONDS
        try:
            if left <= 0:
                raise BlockingIOError
            self._wait_at_most(left)
            data = self.socket.recv(_CHUNK)
        except BlockingIOError:
            raise HttpError(408, "the request's body does not come") from None
        except OSError:
            raise Vanished from None
        with self._lock:
            self.http.receive_data(data)
        if not data:
            raise Vanished

    def read_body(self) -> bytes:
        """Return the next piece of the request's body; nothing at its end. Raises Vanished, HttpError (400, 408)."""
        with self._reading:
            if self.failure is not None:
                raise self.failure
            try:
                return self._read_body()
            except (HttpError, Vanished) as error:
                self.failure = error
                raise

    def _read_body(self) -> bytes:
        if self.http.their_state is not h11.SEND_BODY:
            return b""
        if self.http.they_are_waiting_for_100_continue and not self._continued:
            self._continued = True
            self.raw(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            try:
                with self._lock:
                    event = self.http.next_event()
                if event is h11.NEED_DATA:
                    self._receive_body()
                    continue
            except h11.RemoteProtocolError as error:
                raise HttpError(400, f"malformed request body: {error}") from None
            if isinstance(event, h11.Data):
                if event.data:
                    return bytes(event.data)
                continue
            return b""

    def _drained(self) -> bool:
        """Take what is left of a body that nobody wanted; False if the connection cannot be used any more."""
        size = 0
        if self.failure is not None or self._reading.locked():
            return False
        self.hurry(_DRAIN_SECONDS)
        if self.http.they_are_waiting_for_100_continue and not self._continued:
            return False
        with contextlib.suppress(HttpError):
            while chunk := self.read_body():
                size += len(chunk)
                if size > _DRAIN:
                    return False
        if self.http.their_state in (h11.DONE, h11.ERROR):
            return self.http.their_state is h11.DONE
        return self.http.next_event() is h11.PAUSED  # it has asked for another protocol, and did not get it

    def _linger(self) -> None:
        """Take what the client is still sending, for a while, so that it reads the answer before it meets the end."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.settimeout(_LINGER_SECONDS)
            left, end = _LINGER, time.monotonic() + _HEAD_SECONDS
            while left > 0 and time.monotonic() < end and (data := self.socket.recv(_CHUNK)):
                left -= len(data)

    def raw(self, *parts: bytes) -> None:
        """Send bytes. Raises Vanished when the client has gone."""
        try:
            sent = self.socket.sendmsg(parts)
            if sent < sum(map(len, parts)):
                self.socket.sendall(memoryview(b"".join(parts))[sent:])
        except OSError as error:
            raise Vanished from error

    def give_away(self) -> socket.socket:
        """Leave the connection to somebody else."""
        self._given_away = True
        self.server.forget(self)
        return self.socket

    def take_no_more(self) -> None:
        """Let the client send nothing more; what it has sent already can still be read."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)

    def interrupt(self) -> None:
        """End the connection from another thread."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Answer what is no HTTP."""
        data = _encode({"message": f"malformed request: {error}"}) + b"\n"
        lines = [f"HTTP/1.1 {error.error_status_hint} Bad Request", f"Content-Type: {JSON}", "Connection: close"]
        head = "\r\n".join([*lines, f"Content-Length: {len(data)}"]).encode() + self.server.head
        with contextlib.suppress(Vanished):
            self.raw(head + data)


def _reader() -> h11.Connection:
    """Return what reads one request."""
    return h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)


def _checked(request: Request) -> Request:
    """Refuse another HTTP, and a request whose end can be understood in two ways: it could smuggle another one."""
    if request.http_version not in (b"1.1", b"1.0"):
        raise h11.RemoteProtocolError("HTTP version not supported", error_status_hint=505)
    if "transfer-encoding" in request.headers and "content-length" in request.headers:
        raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
    return request
