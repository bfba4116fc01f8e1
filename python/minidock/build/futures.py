"""Stages of a build that are under way in threads of their own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from minidock.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.build.stopping import Stop

_T = TypeVar("_T")


class Future(Generic[_T]):
    """A stage in a thread of its own."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._value: _T | None = None
        self.error: BaseException | None = None

    def start(self, work: Callable[[], _T], stop: Stop) -> None:
        """Begin."""

        def run() -> None:
            try:
                self._value = work()
            except BaseException as error:
                self.error = error
                stop.set()
            finally:
                self._done.set()

        self._thread = threading.Thread(target=run, name="minidock-build-stage", daemon=True)
        self._thread.start()

    def result(self) -> _T:
        """Wait for it. Raises Cancelled when it has failed."""
        self._done.wait()
        if self._value is None:
            raise Cancelled("the build was cancelled") from self.error
        return self._value

    def join(self) -> None:
        """Wait for the thread's end."""
        if self._thread is not None:
            self._thread.join()
