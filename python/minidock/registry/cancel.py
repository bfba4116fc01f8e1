"""A switch that ends an operation from outside, and a deadline that ends it by itself."""

from __future__ import annotations

import threading
import time

from minidock.errors import Cancelled, Timeout


class Cancel:
    """Ends what it is given to: by :meth:`cancel` from any thread, or ``timeout`` seconds after it was made."""

    __slots__ = ("_end", "_event", "_timeout")

    def __init__(self, timeout: float | None = None) -> None:
        self._event = threading.Event()
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    def cancel(self) -> None:
        """Let whoever checks or waits end with Cancelled."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._event.is_set()

    def remaining(self) -> float | None:
        """Seconds to the deadline, at least 0; None without one."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise Cancelled after :meth:`cancel`, Timeout after the deadline."""
        if self._event.is_set():
            raise Cancelled("cancelled")
        if self._end is not None and time.monotonic() >= self._end:
            raise Timeout(f"not done within {self._timeout:g} s")

    def wait(self, seconds: float) -> None:
        """Sleep; raises as :meth:`check` does, as soon as it would."""
        remaining = self.remaining()
        self._event.wait(seconds if remaining is None else min(seconds, remaining))
        self.check()
