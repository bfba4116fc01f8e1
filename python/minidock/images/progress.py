"""Progress of pulls, pushes and loads, as Docker's clients show it."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from minidock.images.references import Reference
    from minidock.registry.cancel import Cancel

T = TypeVar("T")

_SECONDS = 0.1
"""How often the numbers of one blob are told."""


class ProgressEvent(NamedTuple):
    """One step. ``id`` is the blob's short digest, or a tag; empty: about the whole.

    ``current`` and ``total`` are bytes; 0 where the status has no numbers.
    """

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


class Reporter:
    """Passes events of several threads to one callback, one at a time; numbers of a blob ten times a second.

    What the callback raises comes out of the call that reported.
    """

    def __init__(self, callback: Callable[[ProgressEvent], None] | None) -> None:
        self._callback = callback
        self._lock = threading.Lock()
        self._told: dict[str, tuple[str, float]] = {}

    def begin(self, reference: Reference) -> None:
        """Report that the registry has what is pulled."""
        self.tell(f"Pulling from {reference.path}", reference.canonical if reference.digest else reference.tag or "")

    def tell(self, status: str, id: str = "", current: int = 0, total: int = 0) -> None:
        """Report a step; numbers under a status that was told just now are left out."""
        if self._callback is None:
            return
        with self._lock:
            now = time.monotonic()
            before, when = self._told.get(id, ("", 0.0))
            if id and before == status and now - when < _SECONDS and current < total:
                return
            if id:
                self._told[id] = (status, now)
            self._callback(ProgressEvent(status, id, current, total))


def stream(work: Callable[[Callable[[ProgressEvent], None]], T], cancel: Cancel) -> Generator[ProgressEvent, None, T]:
    """Run ``work(callback)`` on a thread and yield what it reports; its result is the generator's value.

    What it raises is raised here. Closing the generator cancels it and waits until it has ended.
    """
    events: queue.SimpleQueue[ProgressEvent | None] = queue.SimpleQueue()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work(events.put))
        except BaseException as error:  # raised again by the consumer
            failure.append(error)
        finally:
            events.put(None)

    thread = threading.Thread(target=run, name="minidock-progress", daemon=True)
    thread.start()
    try:
        while (event := events.get()) is not None:
            yield event
    finally:
        if thread.is_alive():
            cancel.cancel()
        thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
