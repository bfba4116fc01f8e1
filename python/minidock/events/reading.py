"""The events of a data root: those that are kept, and those to come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from minidock._errors import translate
from minidock._native import EventReader, NativeError
from minidock.containers.parse.times import SECOND, point
from minidock.errors import InvalidArgument, Timeout
from minidock.events.event import Event
from minidock.events.filtering import chooser
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

    from minidock.containers.parse.times import Time
    from minidock.store.paths import Paths

_LAST = (1 << 64) - 1
_decoder = decoding.decoder(Event)


class Events:
    """An iterator of :class:`~minidock.events.event.Event`, oldest first; use it in a ``with`` block.

    Made by :meth:`minidock.Engine.events`. What happens after it was made is never missed.
    """

    def __init__(
        self,
        paths: Paths,
        *,
        since: Time | None,
        until: Time | None,
        filters: Mapping[str, Any] | Sequence[str] | None,
        follow: bool,
        timeout: float | None,
    ) -> None:
        now = time.time_ns()
        first = None if since is None else point(since, now)
        last = None if until is None else point(until, now)
        if first is not None and last is not None and first > last:
            seconds = [limit // SECOND for limit in (first, last)]
            raise InvalidArgument("`since` time ({}) cannot be after `until` time ({})".format(*seconds))
        if timeout is not None and not timeout >= 0:
            raise InvalidArgument(f"timeout {timeout}: not a number of seconds from 0")
        if follow and first is None and last is not None:
            first = 0  # as in Docker: an end without a beginning means all
        self._passes = chooser(filters)
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._batch: Iterator[Event] = iter(())
        paths.prepare()
        try:
            self._reader = EventReader(paths.events, _bounded(first), _bounded(last), follow=follow)
        except NativeError as error:
            raise translate(error) from error

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """Return the next event. Raises Timeout, and NotFound when the data root was removed."""
        while True:
            for event in self._batch:
                return event
            self._batch = iter(self.batch())

    def batch(self) -> list[Event]:
        """Return all events that have come since the last call; waits for one. Raises StopIteration at the end."""
        while True:
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            try:
                lines = self._reader.read(left)
            except NativeError as error:
                raise translate(error) from error
            if lines is None:
                raise StopIteration
            if not lines:
                raise Timeout(f"wait for events: no more within {self._timeout:g} s")
            events = _decoded(lines)
            if self._passes is not None:
                events = [event for event in events if self._passes(event)]
            if events:
                return events

    def close(self) -> None:
        """Give back what it holds; whoever waits for the next event, in another thread, gets the end."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _bounded(time_ns: int | None) -> int | None:
    return None if time_ns is None else min(max(time_ns, 0), _LAST)


def _decoded(lines: bytes) -> list[Event]:
    try:
        return _decoder.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Something else wrote into the file: only that is passed over.
        found = []
        for line in lines.splitlines():
            try:
                found.append(_decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
        return found
