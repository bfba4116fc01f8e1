"""A switch that ends an operation from outside, and a deadline that ends it by itself."""

from __future__ import annotations

import contextlib
import threading
import time

from minidock.errors import Cancelled, Timeout


class Cancel:
    """Ends what it is given to: by :meth:`cancel` from any thread, or ``timeout`` seconds after it was made."""

    __slots__ = ("_cancelled", "_end", "_gate", "_timeout")

    def __init__(self, timeout: float | None = None) -> None:
        # Not an Event: an interrupt in the middle of its Python code would leave it locked for those who wait.
        self._gate = threading.Lock()
        self._gate.acquire()
        self._cancelled = False
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    def cancel(self) -> None:
        """Let whoever checks or waits end with Cancelled."""
        self._cancelled = True
        self._open()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled

    def remaining(self) -> float | None:
        """Seconds to the deadline, at least 0; None without one."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise Cancelled after :meth:`cancel`, Timeout after the deadline."""
        if self._cancelled:
            raise Cancelled("cancelled")
        if self._end is not None and time.monotonic() >= self._end:
            raise Timeout(f"not done within {self._timeout:g} s")

    def wait(self, seconds: float) -> None:
        """Sleep; raises as :meth:`check` does, as soon as it would."""
        remaining = self.remaining()
        if self._gate.acquire(timeout=max(0.0, seconds if remaining is None else min(seconds, remaining))):
            self._open()  # for the others, and for good
        self.check()

    def _open(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is open
            self._gate.release()
