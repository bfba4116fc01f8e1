"""Streams of containers and execs on a client's connection: as it is where possible, through pipes where not.

Without a terminal, output travels behind Docker's header: stream, three zeros, length. A supervisor can write that to
the connection itself; what a supervisor cannot do is done here by a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_CHUNK = 1 << 16
_header = struct.Struct(">BxxxL").pack
STDOUT, STDERR = 1, 2
_READ_SECONDS = 0.2


def frame(stream: int, data: bytes) -> bytes:
    """Return a piece of output behind its header."""
    return _header(stream, len(data)) + data


def frames(stream: int, data: bytes) -> bytes:
    """Return output with a header for each line, as Docker's logs have them and clients count them."""
    *lines, rest = data.split(b"\n")
    made = [frame(stream, line + b"\n") for line in lines]
    if rest:
        made.append(frame(stream, rest))
    return b"".join(made)


class Escape:
    """Looks for the keys that leave a terminal; a part of them is held back until it is known to be no more."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0

    def read(self, data: bytes) -> tuple[bytes, bool]:
        """Return what of the input goes on, and whether the keys were in it; nothing after them goes on."""
        if not self._held and self._keys[0] not in data:
            return data, False
        out = bytearray()
        for byte in data:
            if byte != self._keys[self._held]:
                out += self._keys[: self._held]
                self._held = 0
                if byte != self._keys[0]:
                    out.append(byte)
                    continue
            self._held += 1
            if self._held == len(self._keys):
                return bytes(out), True
        return bytes(out), False


class Channels:
    """Descriptors that lead to and from a client, for a supervisor. Close it when the supervisor has them."""

    def __init__(
        self,
        client: socket.socket,
        early: bytes = b"",
        escape: Escape | None = None,
        left: Callable[[], None] | None = None,
    ) -> None:
        """``left`` is called from another thread when ``escape`` finds the keys; the connection is shut down then."""
        self._client = client
        self._early = early
        self._escape = escape
        self._left = left
        self._theirs: list[int] = []
        self._outputs: dict[int, int] = {}
        self._pump: threading.Thread | None = None
        self.stdin: int | None = None
        self.stdout: int | None = None
        self.stderr: int | None = None
        self.framed = False
        """Whether ``stdout`` is for both outputs, behind headers."""

    def open(self, *, stdin: bool, stdout: bool, stderr: bool, tty: bool, can_frame: bool, raw: bool = False) -> Self:
        """Make the descriptors. ``can_frame``: the supervisor writes headers if it is told to; ``raw``: none at all."""
        if stdin:
            self.stdin = self._feed() if self._early or self._escape else self._client.fileno()
        if tty:
            self.stdout = self._client.fileno() if stdout or stderr else None
        elif raw:
            self.stdout = self._client.fileno() if stdout else None
            self.stderr = self._client.fileno() if stderr else None
        elif stdout and stderr and can_frame:
            self.stdout, self.framed = self._client.fileno(), True
        else:
            self.stdout = self._pipe(STDOUT) if stdout else None
            self.stderr = self._pipe(STDERR) if stderr else None
        if self._outputs:
            self._pump = threading.Thread(target=self._copy, name="minidock-output", daemon=True)
            self._pump.start()
        return self

    def _pipe(self, stream: int) -> int:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._outputs[reading] = stream
        self._theirs.append(writing)
        return writing

    def _feed(self) -> int:
        """Return a pipe that gets what the client has sent already, and then what it sends."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._theirs.append(reading)
        client, data = self._client.dup(), self._early

        def read() -> bytes:
            poll = select.poll()
            poll.register(client, select.POLLIN)
            poll.register(
                writing, 0
            )  # told when nobody reads it any more: the client's connection is to be closed then
            return b"" if any(fd == writing for fd, _ in poll.poll()) else client.recv(_CHUNK)

        def copy() -> None:
            left = False
            with client, contextlib.suppress(OSError):
                rest = data or read()
                while rest and not left:
                    if self._escape is not None:
                        rest, left = self._escape.read(rest)
                    view = memoryview(rest)
                    while view:
                        view = view[os.write(writing, view) :]
                    rest = b"" if left else read()
                if left:
                    if self._left is not None:
                        self._left()
                    client.shutdown(socket.SHUT_RDWR)
            os.close(writing)

        threading.Thread(target=copy, name="minidock-input", daemon=True).start()
        return reading

    def _copy(self) -> None:
        """Send output behind headers; when the client has gone, throw it away, so that nobody meets a broken pipe."""
        poll = select.poll()
        for fd in self._outputs:
            poll.register(fd, select.POLLIN)
        gone = False
        while self._outputs:
            for fd, _ in poll.poll():
                data = os.read(fd, _CHUNK)
                if not data:
                    poll.unregister(fd)
                    del self._outputs[fd]
                    os.close(fd)
                elif not gone:
                    gone = not send(self._client, (_header(self._outputs[fd], len(data)), data))

    def give(self) -> None:
        """Close what the supervisor has now."""
        while self._theirs:
            os.close(self._theirs.pop())

    def drain(self) -> None:
        """Wait until all output has been sent; after :meth:`give`."""
        if self._pump is not None:
            self._pump.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.give()
        self.drain()


def send(client: socket.socket, parts: tuple[bytes, ...]) -> bool:
    """Send all of these; False when the client has gone."""
    try:
        sent = client.sendmsg(parts)
        if sent < sum(map(len, parts)):
            client.sendall(b"".join(parts)[sent:])
    except OSError:
        return False
    return True


def await_read(client: socket.socket) -> None:
    """Wait a moment until the other end has read what it was sent: docker-py loses what comes together with headers."""
    end = time.monotonic() + _READ_SECONDS
    while any(fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4))) and time.monotonic() < end:
        time.sleep(0.0002)


def has_gone(client: socket.socket) -> bool:
    """Whether the other end is closed altogether."""
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(0))
