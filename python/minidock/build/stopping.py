"""Ending a build that goes on in several threads."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from minidock.errors import Cancelled, MinidockError

if TYPE_CHECKING:
    from minidock.containers.container import Container


class Stop:
    """Ends a build in several threads: once set, no step begins, and containers that run are killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Container] = {}
        self.is_set = False

    def set(self) -> None:
        """End it all."""
        with self._lock:
            self.is_set = True
            running = list(self._running.values())
        for container in running:
            with contextlib.suppress(MinidockError):
                container.remove(force=True)

    def check(self) -> None:
        """Raise Cancelled once it is set."""
        if self.is_set:
            raise Cancelled("the build was cancelled")

    def add(self, container: Container) -> None:
        """Have a container killed when the build ends early."""
        with self._lock:
            self._running[container.id] = container
        self.check()

    def discard(self, container: Container) -> None:
        """It has ended."""
        with self._lock:
            self._running.pop(container.id, None)
