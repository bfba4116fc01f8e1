"""Unix sockets that only this process can find, and copying between two connections."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 256 << 10


class Place:
    """Where a socket is made: a directory of its own below ``root``, which goes as soon as the socket is there.

    Then only a descriptor leads to it, and so ``path`` works in this process alone.
    """

    def __init__(self, root: str) -> None:
        self._directory = f"{root}/grpc-{os.urandom(6).hex()}"
        os.mkdir(self._directory, 0o700)
        self._fd = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = f"/proc/self/fd/{self._fd}/socket"
        """Short, whatever the root is called: names of sockets have at most 107 bytes."""

    def seal(self) -> None:
        """Take the names away; the socket has been made. Raises OSError when it has not."""
        try:
            made = os.open(self.path, os.O_PATH | os.O_CLOEXEC)
            os.unlink(self.path)
        finally:
            os.rmdir(self._directory)
            os.close(self._fd)
            self._fd = -1
        self._fd = made
        self.path = f"/proc/self/fd/{made}"

    def connect(self) -> socket.socket:
        """Connect to it."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def listen(root: str) -> tuple[Place, socket.socket]:
    """Make a socket that listens."""
    place = Place(root)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(place.path)
        listener.listen(16)
        place.seal()
    except BaseException:
        listener.close()
        place.close()
        raise
    return place, listener


def splice(left: socket.socket, right: socket.socket, early: bytes = b"") -> None:
    """Copy in both directions until both have ended; ``early`` has come from ``left`` already. Closes both."""
    with left, right:
        other = threading.Thread(target=_copy, args=(right, left), name="minidock-splice", daemon=True)
        other.start()
        _copy(left, right, early)
        other.join()


def _copy(source: socket.socket, target: socket.socket, early: bytes = b"") -> None:
    try:
        if early:
            target.sendall(early)
        buffer = memoryview(bytearray(_CHUNK))
        while size := source.recv_into(buffer):
            target.sendall(buffer[:size])
    except OSError:
        # One that is broken ends both, else whoever is at the other end would wait for ever.
        _shut(source, socket.SHUT_RDWR)
        _shut(target, socket.SHUT_RDWR)
        return
    _shut(target, socket.SHUT_WR)


def _shut(connection: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(how)


def begin(work: Callable[[], None], name: str) -> None:
    """Do something in a thread of its own."""
    threading.Thread(target=work, name=name, daemon=True).start()
