"""Several steps of one operation at a time, which end together."""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from minidock.errors import Cancelled, LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minidock.registry.cancel import Cancel

T = TypeVar("T")

_TICK = 0.1


def run_all(steps: Sequence[Callable[[], T]], workers: int, cancel: Cancel) -> list[T]:
    """Call all ``steps``, at most ``workers`` at a time, and return their results in order.

    The first failure cancels the others, is waited for with them, and raised; so does an interrupt of this thread.
    Raises LimitExceeded where the host has no thread left.
    """
    run = _Run(steps)
    try:
        run.start(min(max(1, workers), len(steps)))
        while len(run.results) < len(steps):
            run.collect()
    except BaseException as first:
        while run.goes_on:
            # Whoever interrupts again: the steps use what the owner frees when this has returned. No call comes
            # before the try, in which the second interrupt would come.
            try:
                cancel.cancel()
                run.end()
            except KeyboardInterrupt:
                pass
        cause = run.cause() if isinstance(first, Cancelled) else None
        if cause is not None:
            # What went wrong first explains why the others were cancelled.
            raise cause from None
        raise
    return [run.results[number] for number in range(len(steps))]


class _Run(Generic[T]):
    """The threads and what they report.

    An interrupt may hit the owner's thread anywhere, so it shares with them no lock that Python's own code holds (as
    executors and conditions have), and what it has not read is not counted as still to come.
    """

    def __init__(self, steps: Sequence[Callable[[], T]]) -> None:
        self._steps = list(enumerate(steps))
        self._steps.reverse()
        self._lock = threading.Lock()
        self._busy = 0
        self.goes_on = True
        self._reports: SimpleQueue[tuple[int, Callable[[], T]]] = SimpleQueue()
        self.results: dict[int, T] = {}

    def start(self, count: int) -> None:
        for number in range(count):
            try:
                _begin(self._work)
            except LimitExceeded:
                if number == 0:
                    raise
                return  # fewer do it too

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._steps:
                    return
                number, step = self._steps.pop()
                self._busy += 1
            try:
                result = step()
            except BaseException as error:  # raised again by the owner
                with self._lock:
                    self._steps.clear()
                self._reports.put((number, partial(_fail, error)))
            else:
                self._reports.put((number, partial(_same, result)))
            with self._lock:
                self._busy -= 1

    def collect(self) -> None:
        """Wait for one report, shortly: signals are handled between the waits. Raises what a step has raised."""
        with contextlib.suppress(Empty):
            number, outcome = self._reports.get(timeout=_TICK)
            self.results[number] = outcome()

    def end(self) -> None:
        """Begin no further step and wait for those under way."""
        with self._lock:
            self._steps.clear()
        while self._busy:
            time.sleep(_TICK / 10)
        self.goes_on = False

    def cause(self) -> BaseException | None:
        """The failure of a step that is not of another's making, among those that nobody has read."""
        while not self._reports.empty():
            try:
                self._reports.get_nowait()[1]()
            except Cancelled:
                continue
            except BaseException as error:
                return error
        return None


def _same(result: T) -> T:
    return result


def _fail(error: BaseException) -> NoReturn:
    raise error


def watched(work: Callable[[], T], stop: Callable[[], None], cancel: Cancel, tick: Callable[[], None]) -> T:
    """Do ``work``, a native call that blocks, on another thread; ``tick`` is called ten times a second meanwhile.

    Whatever is raised here meanwhile (Cancelled, Timeout, an interrupt) calls ``stop`` and waits for the end of it.
    """
    outcome: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put(partial(_same, work()))
        except BaseException as error:  # raised again by the owner
            outcome.put(partial(_fail, error))

    _begin(run)
    try:
        while True:
            try:
                done = outcome.get(timeout=_TICK)
                break
            except Empty:
                cancel.check()
                tick()
    except BaseException:
        stop()
        outcome.get()
        raise
    return done()


def started(thread: threading.Thread, *pipe: int) -> None:
    """Start a thread. Raises LimitExceeded where the host has no thread left; then the ``pipe`` is closed."""
    try:
        thread.start()
    except RuntimeError as error:
        for fd in pipe:
            os.close(fd)
        raise _no_thread(error) from error


def _no_thread(error: RuntimeError) -> LimitExceeded:
    return LimitExceeded(f"start a thread: {error}; raise the limit of processes")


def _begin(work: Callable[[], None]) -> None:
    """Start a thread that ends with ``work`` or with the process. Raises LimitExceeded.

    Not by threading.Thread, which waits in Python's code for the thread: an interrupt there becomes a RuntimeError.
    """
    try:
        _thread.start_new_thread(work, ())
    except RuntimeError as error:
        raise _no_thread(error) from error


PIPE = 1 << 20
"""Bytes of a pipe between two threads: the more, the fewer turns they take."""


def widen(pipe: int) -> None:
    """Give a pipe room for that much; over the user's limit for pipes it stays as it is."""
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
