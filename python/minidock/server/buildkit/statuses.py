"""How a build goes on, for ``Control.Status``: events of the builder become vertices, statuses, logs and warnings."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from minidock.build import events
from minidock.server.buildkit import wire_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.timestamp_pb2 import Timestamp

    from minidock.build.dockerfile.linting import Warned

_HELD = 8 << 20
"""Bytes of logs that wait for a client which reads slower than the build writes."""
_KEPT = 64 << 10
_DONE = " done"
_PATIENCE = 30.0


def timestamp(nanoseconds: int) -> Timestamp:
    """A time as messages have it."""
    from google.protobuf.timestamp_pb2 import Timestamp

    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


class Statuses:
    """What is told of one build: :meth:`tell` for builders, :meth:`read` for the client."""

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self._changed = threading.Condition()
        self._waiting: deque[wire.StatusResponse] = deque()
        self._held = 0
        self._readers = 0
        self._ended = False
        self._started: dict[str, int] = {}
        self._by_name: dict[str, str] = {}
        self.last = ""
        """The vertex that failed last."""

    def _digest(self, solve: int, step: events.Step) -> str:
        text = f"{self._ref} {solve} {step.number} {step.name}"
        digest = "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        self._by_name[step.name] = digest
        return digest

    def teller(self, solve: int, source: Callable[[], tuple[str, bytes]]) -> Callable[[events.Event], None]:
        """What takes the events of one of the build's solves; ``source`` gives its Dockerfile's name and text."""

        def tell(event: events.Event) -> None:
            response = self.response(solve, event, source)
            if response is not None:
                self._put(response)

        return tell

    def response(
        self, solve: int, event: events.Event, source: Callable[[], tuple[str, bytes]]
    ) -> wire.StatusResponse | None:
        """What is told of one event; nothing of some."""
        now = time.time_ns()
        if isinstance(event, events.Warned):
            return wire.StatusResponse(warnings=[self._warning(event.warning, *source())])
        if isinstance(event, events.Built):
            return None
        digest = self._digest(solve, event.step)
        if isinstance(event, events.Output):
            log = wire.VertexLog(vertex=digest, timestamp=timestamp(now), stream=1, msg=event.data)
            return wire.StatusResponse(logs=[log])
        if isinstance(event, events.Status):
            return self._status(digest, event.text, 0, 0, now, done=True)
        if isinstance(event, events.Transfer):
            done = event.current >= event.total
            return self._status(digest, event.name, event.current, event.total, now, done=done)
        name = event.step.name.encode("utf-8", "replace").decode()
        vertex = wire.Vertex(digest=digest, name=name)
        vertex.started.CopyFrom(timestamp(self._started.setdefault(digest, now)))
        if isinstance(event, events.Finished):
            vertex.completed.CopyFrom(timestamp(now))
            vertex.cached = event.cached
            if event.error:
                # Clients know by these words that it is not this step's fault.
                vertex.error = "context canceled" if event.error == "CANCELED" else event.error
                self.last = self.last or digest
        return wire.StatusResponse(vertexes=[vertex])

    def _status(self, digest: str, text: str, current: int, total: int, now: int, *, done: bool) -> wire.StatusResponse:
        said = text.removesuffix(_DONE).encode("utf-8", "replace").decode()
        status = wire.VertexStatus(id=said, vertex=digest, current=current, total=total)
        status.timestamp.CopyFrom(timestamp(now))
        status.started.CopyFrom(timestamp(self._started.setdefault(f"{digest} {said}", now)))
        if done:
            status.completed.CopyFrom(timestamp(now))
        return wire.StatusResponse(statuses=[status])

    def progress(self, name: str, text: str, current: int, *, done: bool) -> None:
        """Tell how far a step with this name, which has begun, has come."""
        digest = self._by_name.get(name)
        if digest is not None:
            self._put(self._status(digest, text, current, 0, time.time_ns(), done=done))

    def _warning(self, warning: Warned, name: str, data: bytes) -> wire.VertexWarning:
        found = wire.VertexWarning(
            vertex=self._by_name.get(f"[internal] load build definition from {name}", ""),
            level=1,
            short=str(warning).encode("utf-8", "replace"),
            detail=[warning.description.encode()],
            url=warning.url,
        )
        if warning.line:
            found.info.CopyFrom(wire.SourceInfo(filename=name, data=data, language="Dockerfile"))
            found.ranges.append(lines(warning.line, warning.end_line))
        return found

    def warn(self, request: wire.WarnRequest) -> None:
        """Pass on a warning of the client's."""
        found = wire.VertexWarning(
            vertex=request.digest, level=request.level, short=request.short, detail=request.detail, url=request.url
        )
        if request.HasField("info"):
            found.info.CopyFrom(request.info)
        found.ranges.extend(request.ranges)
        self._put(wire.StatusResponse(warnings=[found]))

    def _put(self, response: wire.StatusResponse) -> None:
        size = sum(len(log.msg) for log in response.logs)
        with self._changed:
            if self._ended:
                return
            deadline = time.monotonic() + _PATIENCE
            while self._held > _HELD and self._readers and not self._ended:
                left = deadline - time.monotonic()
                if left <= 0:
                    return  # a client that reads nothing does not hold up a build for ever
                self._changed.wait(left)
            self._waiting.append(response)
            self._held += size
            while self._held > _HELD and not self._readers:
                self._held -= sum(len(log.msg) for log in self._waiting.popleft().logs)
            self._changed.notify_all()

    def read(self, goes_on: Callable[[], bool]) -> Iterator[wire.StatusResponse]:
        """What there is to tell, until the build's end; several at once are told as one."""
        with self._changed:
            self._readers += 1
        try:
            while goes_on():
                with self._changed:
                    if not self._waiting:
                        if self._ended:
                            return
                        self._changed.wait(1.0)
                    found = wire.StatusResponse()
                    size = 0
                    while self._waiting and size < _HELD // 16:
                        one = self._waiting.popleft()
                        size += sum(len(log.msg) for log in one.logs)
                        found.MergeFrom(one)
                    self._held -= size
                    self._changed.notify_all()
                if found.ByteSize():
                    yield found
        finally:
            with self._changed:
                self._readers -= 1
                if self._ended:
                    self._forget()
                self._changed.notify_all()

    def end(self) -> None:
        """Nothing more is told."""
        with self._changed:
            self._ended = True
            self._forget()
            self._changed.notify_all()

    def _forget(self) -> None:
        """Keep little of a build that has ended for those that ask late."""
        while not self._readers and self._held > _KEPT:
            self._held -= sum(len(log.msg) for log in self._waiting.popleft().logs)


def lines(first: int, last: int) -> wire.Range:
    """Lines of a file."""
    return wire.Range(start=wire.Position(line=first), end=wire.Position(line=max(first, last)))
