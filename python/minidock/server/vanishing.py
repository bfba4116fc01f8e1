"""One thread that sees when clients go while others work for them."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


def _has_gone(fd: int) -> bool:
    look = select.poll()
    look.register(fd, _GONE)
    return bool(look.poll(0))


class Watch:
    """Calls a function when the other end of a socket is closed, or the server stops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._closed = False
        threading.Thread(target=self._run, name="minidock-vanishing", daemon=True).start()

    @contextlib.contextmanager
    def calling(self, sock: socket.socket, call: Callable[[], None]) -> Iterator[None]:
        """Call ``call`` once, from another thread, if the client goes within the ``with`` block."""
        fd = os.dup(sock.fileno())  # its own number: the socket's may be given to another one meanwhile
        with self._lock:
            closed = self._closed
            self._calls[fd] = call
            self._epoll.register(fd, _GONE | select.EPOLLONESHOT)
        if closed:
            call()
        try:
            yield
        finally:
            with self._lock:
                self._calls.pop(fd, None)
                self._epoll.unregister(fd)
                os.close(fd)

    def close(self) -> None:
        """Call for everybody: the server stops."""
        with self._lock:
            self._closed = True
            calls = list(self._calls.values())
            self._calls.clear()
        os.eventfd_write(self._wake, 1)
        for call in calls:
            call()

    def _run(self) -> None:
        while not self._closed:
            for fd, _ in self._epoll.poll():
                with self._lock:
                    # The number may be another client's by now, who is there.
                    call = self._calls.pop(fd) if fd in self._calls and _has_gone(fd) else None
                if call is not None:
                    # Some wait for what they end, and meanwhile others go.
                    threading.Thread(target=call, name="minidock-vanished", daemon=True).start()
