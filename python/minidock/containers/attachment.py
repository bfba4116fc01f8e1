"""Streams of a running container in Python's hands: output as an iterator, input by ``write``."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.containers import control, states
from minidock.errors import Conflict, NotFound, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from minidock.containers.lifecycle import Lifecycle

_CHUNK = 1 << 16


class Piece(NamedTuple):
    """Output as it came: ``stream`` is ``stdout`` or ``stderr``; of a container with a tty all is stdout."""

    stream: str
    data: bytes


class Attachment:
    """A connection to a container's streams. Iterate over it for its output until the container ends.

    While nobody reads, at most a pipe's worth of output waits; then the container does.
    """

    def __init__(self, lifecycle: Lifecycle, container_id: str, *, stdin: bool) -> None:
        """Raises Conflict unless it runs, Timeout when its supervisor does not answer."""
        record, state = lifecycle.settle(lifecycle.store.containers.get(container_id))
        states.require("attach", state.status, record.id)
        self._fds: dict[int, str] = {}
        self._stdin: int | None = None
        theirs: dict[str, int] = {}
        try:
            self._supervisor = lifecycle.connect(record.id)
        except NotFound as error:
            raise Conflict(f"container {record.id} is not running") from error
        try:
            for name in ("stdout", "stderr"):
                read, theirs[name] = os.pipe()
                self._fds[read] = name
            if stdin:
                theirs["stdin"], self._stdin = os.pipe()
            request = msgspec.json.encode({"op": "attach", "streams": list(theirs)})
            lifecycle.emit(record, "attach")
            self._supervisor.request(request, list(theirs.values()), control.ANSWER_SECONDS)
        except BaseException as error:
            self.close()
            if isinstance(error, _native.NativeError):
                raise translate(error) from error
            raise
        finally:
            for fd in theirs.values():
                os.close(fd)

    def __iter__(self) -> Iterator[Piece]:
        return self.read()

    def read(self, timeout: float | None = None) -> Iterator[Piece]:
        """Yield output until the container ends. Raises Timeout when nothing came for ``timeout`` seconds."""
        poll = select.poll()
        for fd in self._fds:
            poll.register(fd, select.POLLIN)
        until = None if timeout is None else time.monotonic() + timeout
        while self._fds:
            left = None if until is None else max(0.0, until - time.monotonic()) * 1000
            ready = poll.poll(left)
            if not ready:
                raise Timeout(f"read from container: no output for {timeout:g} s")
            for fd, _ in ready:
                data = os.read(fd, _CHUNK)
                if data:
                    yield Piece(self._fds[fd], data)
                else:
                    poll.unregister(fd)
                    del self._fds[fd]
                    os.close(fd)
            if timeout is not None:
                until = time.monotonic() + timeout

    def write(self, data: bytes) -> None:
        """Give the container input; waits while it does not read. Raises Conflict when it reads no more."""
        if self._stdin is None:
            raise Conflict("write to container: its input is not attached")
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._stdin, rest) :]
        except BrokenPipeError as error:
            raise Conflict("write to container: it reads no more input") from error

    def close_stdin(self) -> None:
        """End the input that this attachment gives; the container's own ends with it where it was created so."""
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def close(self) -> None:
        """Detach; the container goes on."""
        self.close_stdin()
        while self._fds:
            with contextlib.suppress(OSError):
                os.close(self._fds.popitem()[0])
        self._supervisor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()
