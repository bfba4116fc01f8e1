"""A process that forks others, each of which does one verb; see ``dying``. A request is ``VERB CONTAINER STEP``."""

from __future__ import annotations

import sys
from collections.abc import Callable

import minidock
from minidock.containers import control, exec_options, execs, updating, waiting  # noqa: F401 - warm
from tests.faults import dying

VERBS: dict[str, Callable[[minidock.Engine, minidock.Container], object]] = {
    "start": lambda _, it: it.start(),
    "stop": lambda _, it: it.stop(timeout=5),
    "restart": lambda _, it: it.restart(timeout=5),
    "kill": lambda _, it: it.kill(),
    "pause": lambda _, it: it.pause(),
    "unpause": lambda _, it: it.unpause(),
    "rename": lambda _, it: it.rename(f"{it.name}x"),
    "update": lambda _, it: it.update(pids_limit=99),
    "rm": lambda _, it: it.remove(),
    "rm -f": lambda _, it: it.remove(force=True),
    "exec": lambda _, it: it.exec(["sleep", "0.05"]),
    "exec -d": lambda _, it: it.exec(["sleep", "0.05"], detach=True),
    "run": lambda engine, _: engine.containers.run("busybox", ["sleep", "0.2"], remove=True),
    "run -d": lambda engine, _: engine.containers.run("busybox", ["sleep", "0.2"], remove=True, detach=True),
    "run -o": lambda engine, _: engine.containers.run("busybox", ["sleep", "9"], detach=True, owner="process"),
}


def _answer(words: list[str], step: int) -> str:
    verb, container_id = words
    data, run, config = sys.argv[1:]
    with minidock.Engine(data_root=data, run_root=run, config=config) as engine:
        container = engine.containers.get(container_id)
        return dying.lived(step, lambda: VERBS[verb](engine, container))


if __name__ == "__main__":
    dying.serve(_answer)
