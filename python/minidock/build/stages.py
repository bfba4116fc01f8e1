"""A stage of a build in a thread of its own, and what its steps are called."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from minidock.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.build.dockerfile.instructions import Instruction
    from minidock.build.executor import Build, Stage
    from minidock.build.stopping import Stop


class Future:
    """What a stage will have come to."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._value: Stage | None = None
        self.error: BaseException | None = None

    def start(self, work: Callable[[], Stage], stop: Stop) -> None:
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
    total = 1 + sum(one.name in ("RUN", "COPY", "ADD", "WORKDIR") for one in stage.instructions)
    count = 0
    many = len(build.dockerfile.stages) > 1
    prefix = f"{stage.name or f'stage-{index}'} " if many else ""

    def title(instruction: Instruction) -> str:
        nonlocal count
        count += 1
        return f"[{prefix}{count}/{max(total, count)}] {instruction.original}"

    return title
