"""A stage of a build in a thread of its own, and its steps: what they are called, and what is told of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from minidock.build.dockerfile import remotes
from minidock.build.dockerfile.instructions import Add, Copy, Run
from minidock.build.dockerfile.scopes import SCRATCH
from minidock.build.events import Finished, Started, Status, Transfer
from minidock.errors import Cancelled
from minidock.images.parallel import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minidock.build.dockerfile import instructions
    from minidock.build.dockerfile.instructions import Instruction
    from minidock.build.events import Step
    from minidock.build.executor import Build, Stage
    from minidock.build.stopping import Stop
    from minidock.images.progress import ProgressEvent


class Future:
    """What a stage will have come to."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._value: Stage | None = None
        self.error: BaseException | None = None

    def start(self, work: Callable[[], Stage], stop: Stop) -> None:
        """Begin. Raises LimitExceeded where the host has no thread left."""

        def run() -> None:
            try:
                self._value = work()
            except BaseException as error:
                self.error = error
                stop.set()
            finally:
                self._done.set()

        thread = threading.Thread(target=run, name="minidock-build-stage", daemon=True)
        try:
            started(thread)
        except BaseException as error:
            self.error = error
            self._done.set()
            raise
        self._thread = thread

    def result(self) -> Stage:
        """Wait for it. Raises Cancelled when it has failed."""
        self._done.wait()
        if self._value is None:
            raise Cancelled("the build was cancelled") from self.error
        return self._value

    def join(self) -> None:
        """Wait for the thread's end."""
        if self._thread is not None:
            self._thread.join()


def titles(build: Build, index: int) -> Callable[[Instruction], str]:
    """Return what names the steps of a stage, as Docker does: ``[builder 2/5] RUN make``."""
    stage = build.dockerfile.stages[index]
    # As with Docker, FROM scratch is no step.
    base = build.bases[index]
    total = (base.parent is not None or base.image != SCRATCH) + sum(
        one.name in ("RUN", "COPY", "ADD", "WORKDIR") for one in stage.instructions
    )
    count = 0
    many = len(build.dockerfile.stages) > 1
    prefix = f"{stage.name or f'stage-{index}'} " if many else ""

    def title(instruction: Instruction) -> str:
        nonlocal count
        count += 1
        return f"[{prefix}{count}/{max(total, count)}] {instruction.original}"

    return title


def copied(stages: Iterable[instructions.Stage]) -> list[str]:
    """What stages take from the build context; sources with variables, and those of ONBUILD, are not known yet."""
    found = []
    for stage in stages:
        for one in stage.instructions:
            if isinstance(one, Run):
                found += [mount.source for mount in one.mounts if mount.type == "bind" and not mount.from_]
            elif isinstance(one, Copy | Add) and not (one.context or (isinstance(one, Copy) and one.from_)):
                found += [source for source in one.sources if isinstance(one, Copy) or remotes.kind(source) is None]
    return [source for source in found if "$" not in source]


def transferring(build: Build, step: Step) -> Callable[[ProgressEvent], None]:
    """What tells of a pull or push within a step."""

    def show(event: ProgressEvent) -> None:
        if event.total:
            build.tell(Transfer(step, f"{event.id} {event.status.lower()}", event.current, event.total))
        else:
            build.tell(Status(step, f"{event.id}: {event.status}" if event.id else event.status))

    return show


class Reported:
    """A step while it is done; ``cached`` is set where it was done before."""

    def __init__(self, build: Build, step: Step) -> None:
        self._build = build
        self.step = step
        self._begun = 0.0
        self.cached = False

    def __enter__(self) -> Reported:
        self._begun = time.monotonic()
        self._build.tell(Started(self.step))
        return self

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.monotonic() - self._begun

    def __exit__(self, kind: object, error: BaseException | None, _traceback: object) -> None:
        text = "" if error is None else "CANCELED" if isinstance(error, (Cancelled, KeyboardInterrupt)) else str(error)
        self._build.tell(Finished(self.step, self.seconds, self.cached, text))
