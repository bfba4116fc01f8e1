"""Ending a build that goes on in several threads."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from minidock.errors import Cancelled, MinidockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.containers.container import Container
    from minidock.registry.cancel import Cancel


class Stop:
    """Ends a build in several threads: once set, no step begins, and containers that run are killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Container] = {}
        self._cancels: set[Cancel] = set()
        self.is_set = False

    def set(self) -> None:
        """End it all."""
        with self._lock:
            self.is_set = True
            running = list(self._running.values())
            cancels = list(self._cancels)
        for cancel in cancels:
            cancel.cancel()
        for container in running:
            with contextlib.suppress(MinidockError):
                container.remove(force=True)

    def check(self) -> None:
        """Raise Cancelled once it is set."""
        if self.is_set:
            raise Cancelled("the build was cancelled")

    @contextlib.contextmanager
    def cancelling(self) -> Iterator[Cancel]:
        """A switch for one operation with a registry, thrown when this is set meanwhile."""
        from minidock.registry.cancel import Cancel

        cancel = Cancel()
        with self._lock:
            self._cancels.add(cancel)
        try:
            self.check()
            yield cancel
        finally:
            with self._lock:
                self._cancels.discard(cancel)

    def add(self, container: Container) -> None:
        """Have a container killed when the build ends early."""
        with self._lock:
            self._running[container.id] = container
        self.check()

    def discard(self, container: Container) -> None:
        """It has ended."""
        with self._lock:
            self._running.pop(container.id, None)
