"""A process that forks others, each of which does one verb and kills itself (SIGKILL) at a given line of minidock.

Requests are lines on stdin, ``VERB CONTAINER STEP``; the answer is how many lines the verb took, or ``killed``, or the
class of the exception that it raised.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import minidock
from minidock.containers import control, exec_options, execs, updating, waiting  # noqa: F401 - warm

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
HOME = os.path.dirname(minidock.__file__)


def _one(roots: list[str], verb: str, container_id: str, step: int) -> str:
    seen = 0

    def line(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(HOME) else None

    with minidock.Engine(data_root=roots[0], run_root=roots[1], config=roots[2]) as engine:
        container = engine.containers.get(container_id)
        sys.settrace(call)
        try:
            VERBS[verb](engine, container)
        except minidock.errors.MinidockError as error:
            return type(error).__name__
        finally:
            sys.settrace(None)
    return str(seen)


def main() -> None:
    """Serve requests until stdin ends."""
    roots = sys.argv[1:]
    for request in sys.stdin:
        verb, container_id, step = request.rstrip("\n").split("\t")
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            answer = _one(roots, verb, container_id, int(step))
            os.write(write, answer.encode())
            os._exit(0)
        os.close(write)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(read) as file:
            # What the child has started may hold the pipe: it is not read to its end.
            answer = "killed" if os.WIFSIGNALED(status) else file.read(64) if os.WEXITSTATUS(status) == 0 else "failed"
        print(answer or "nothing", flush=True)


if __name__ == "__main__":
    main()
