"""Reading what a container has written: all of it, the end of it, or as it comes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from minidock import _native
from minidock._errors import translate
from minidock.containers import liveness, logging, states
from minidock.containers.parse import times
from minidock.errors import InvalidArgument, Timeout, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from minidock.containers.container import Container
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.liveness import PidFile

_Item = TypeVar("_Item")
_STREAMS = {1: "stdout", 2: "stderr"}
_LONGEST = 1.0
"""Seconds until the container is looked at even if nothing has happened."""
_NO_ATTRIBUTES: Mapping[str, str] = {}


class LogLine(NamedTuple):
    """One record of a log: a line with its newline, or a part of one that is longer than 16 KiB."""

    stream: str
    """``stdout`` or ``stderr``; with a tty all is ``stdout``."""
    time_ns: int
    """When it came, in nanoseconds since 1970."""
    data: bytes
    attributes: Mapping[str, str]
    """The labels and variables that the log's options choose."""


class Log:
    """A log being read; close it, or use it in a ``with`` statement. Iterating gives :class:`LogLine`.

    An iteration ends with the log; with ``follow``, when the container has ended, as it does in Docker (also when its
    restart policy starts it again).
    """

    def __init__(
        self,
        container: Container,
        lifecycle: Lifecycle,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool = False,
        since: times.Time | None = None,
        until: times.Time | None = None,
        tail: int | str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Open the log of a container, as :meth:`Container.logs` says."""
        record = container.record
        path = logging.file(record, lifecycle.paths)
        if not path:
            raise Unsupported("configured logging driver does not support reading")
        self._run_dir = lifecycle.paths.run_container(record.id)
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._name = container.short_id
        self._run: PidFile | None = None
        if follow:
            container.reload()
            if container.state.status in (states.RUNNING, states.PAUSED):
                self._run = liveness.pid_file(self._run_dir)
        pidfd = None if self._run is None else _pidfd(self._run)
        now = time.time_ns()
        try:
            self._reader = _native.LogReader(
                path,
                "json-file" if record.host_config.log_config.type == "json-file" else "local",
                stdout=stdout,
                stderr=stderr,
                tail=_tail(tail),
                since=_time(since, now),
                until=_time(until, now),
                follow=pidfd is not None,
                directory=self._run_dir,
                pidfd=pidfd,
            )
        except _native.NativeError as error:
            raise translate(error) from error
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what it holds; a read then raises InvalidArgument."""
        self._reader.close()

    def __iter__(self) -> Iterator[LogLine]:
        """Yield the records. Raises Timeout, Corrupt."""
        for lines in self.batches():
            yield from lines

    def batches(self) -> Iterator[list[LogLine]]:
        """Yield the records as they are there, some together. Raises Timeout, Corrupt."""
        for batch in self._batches(self._reader.lines):
            yield [LogLine(_STREAMS[stream], at, data, more or _NO_ATTRIBUTES) for stream, at, data, more in batch]

    def text(self, *, timestamps: bool = False, details: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield what ``docker logs`` prints, in parts: the stream (1 or 2) and bytes. Raises Timeout, Corrupt."""
        for batch in self._batches(lambda timeout: self._reader.text(timestamps, details, timeout)):
            yield from batch

    def _batches(self, read: Callable[[float], tuple[list[_Item], bool | None]]) -> Iterator[list[_Item]]:
        while True:
            left = _LONGEST if self._deadline is None else self._deadline - time.monotonic()
            try:
                batch, more = read(min(_LONGEST, max(0.0, left)))
                yield batch
                if more is None:
                    return
                if not more and self._has_ended():
                    # What it has written is in the log by now.
                    self._reader.stop_following()
                    continue
            except _native.NativeError as error:
                raise translate(error) from error
            if left <= 0 and not more:
                raise Timeout(f"read logs of container {self._name}: it has not ended within {self._timeout:g} s")

    def _has_ended(self) -> bool:
        """Whether the run of the container that is followed is over."""
        before, now = self._run, liveness.pid_file(self._run_dir)
        if before is None or now is None:
            return True
        if (now.supervisor, now.supervisor_start) != (before.supervisor, before.supervisor_start):
            return True
        if not liveness.alive(now.supervisor, now.supervisor_start):
            return True
        if before.pid == 0:
            self._run = now
            return False
        return (now.pid, now.start_time) != (before.pid, before.start_time) or _restarts(now)


def _restarts(file: Any) -> bool:
    """Whether its supervisor is waiting to start the container again."""
    return getattr(file, "status", "") == "restarting"


def _pidfd(file: PidFile) -> int | None:
    """Return a descriptor of a container's supervisor; None when it has ended."""
    try:
        fd = os.pidfd_open(file.supervisor)
    except OSError:
        return None
    # Looked at after it is held: the number cannot be given to another process unnoticed.
    if liveness.alive(file.supervisor, file.supervisor_start):
        return fd
    os.close(fd)
    return None


def _time(value: times.Time | None, now: int) -> int | None:
    """Return nanoseconds since 1970; none for nothing, empty text and 0, as in Docker."""
    return None if value is None or value == "" else times.point(value, now) or None


def _tail(value: int | str | None) -> int | None:
    if value is None or value == "all":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidArgument(f'tail: a number of lines or "all" is needed, not {value!r:.60}')
    return min(value, (1 << 63) - 1)


def whole(log: Log, *, timestamps: bool, details: bool) -> bytes:
    """Return all of a log as ``docker logs`` prints it, and close it."""
    with log:
        return b"".join(part for _, part in log.text(timestamps=timestamps, details=details))
