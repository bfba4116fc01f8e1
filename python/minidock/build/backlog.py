"""What a build tells, from its threads to the one that reads it."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from minidock.build import events

if TYPE_CHECKING:
    from minidock.build.events import Event

HELD = 8 << 20
"""Bytes of output that wait for their reader; beyond that, who writes them waits as with a pipe."""
_EVENT = 256
"""What an event counts besides its output, about."""


class Backlog:
    """A queue of events that holds its writers back when the reader is slow."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Event | None] = deque()
        self._held = 0
        self._freed = False

    def put(self, event: Event | None) -> None:
        """Add one, when there is room; None is the end, for which there always is."""
        with self._changed:
            while event is not None and self._held > HELD and not self._freed:
                self._changed.wait()
            self._held += _size(event)
            self._waiting.append(event)
            self._changed.notify_all()

    def get(self) -> Event | None:
        """Return the next one, waited for."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            event = self._waiting.popleft()
            self._held -= _size(event)
            self._changed.notify_all()
            return event

    def free(self) -> None:
        """Hold nobody back any more: the build is to end, whoever reads."""
        with self._changed:
            self._freed = True
            self._changed.notify_all()


def _size(event: Event | None) -> int:
    return _EVENT + (len(event.data) if isinstance(event, events.Output) else 0)
