"""A process that forks others, each of which does one thing to volumes and kills itself (SIGKILL) at a given line.

Requests are lines on stdin, ``VERB STEP``; the answer is how many lines of minidock the verb took, or ``killed``, or
the class of the exception that it raised.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import minidock
from minidock.volumes import archives, collection, filling, moving, removing, using  # noqa: F401 - warm
from tests.images import tar_of

ONE, TWO = "1" * 64, "2" * 64
"""Containers: the first has the volumes one and shared, the second shared."""
ARCHIVE = tar_of(("both/", b""), ("both/new", b"new"), ("file", b"new"), ("left", b"new"))
HOME = os.path.dirname(minidock.__file__)


def claim(engine: minidock.Engine) -> None:
    """What making a container with volumes does."""
    with engine.store.database.transaction():
        using.claim(engine, TWO, [using.Wanted("new"), using.Wanted("f" * 64, anonymous=True), using.Wanted("data")])


def _mount(engine: minidock.Engine) -> None:
    using.mount(engine, ONE, ["tmpfs"])
    using.unmount(engine, ONE)


def lower(engine: minidock.Engine) -> str:
    """A directory that stands for an image's layer."""
    return os.path.join(os.path.dirname(engine.data_root), "lower")


VERBS: dict[str, Callable[[minidock.Engine], object]] = {
    "create": lambda it: it.volumes.create("new", labels={"a": "b"}),
    "claim": claim,
    "remove": lambda it: it.volumes.get("data").remove(),
    "prune": lambda it: it.volumes.prune(all=True),
    "clone": lambda it: it.volumes.get("data").clone("new"),
    "import": lambda it: it.volumes.get("data").import_(ARCHIVE),
    "import-empty": lambda it: it.volumes.get("empty").import_(ARCHIVE),
    "fill": lambda it: using.fill(it, "one", [lower(it)], "/data"),
    "fill-shared": lambda it: using.fill(it, "shared", [lower(it)], "/data"),
    "fill-mounted": lambda it: using.fill(it, "tmpfs", [lower(it)], "/data"),
    "mount": _mount,
}


def _one(roots: list[str], verb: str, step: int) -> str:
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

    from minidock.store.cleaner import cleaner

    cleaner.background = False
    with minidock.Engine(data_root=roots[0], run_root=roots[1], config=roots[2]) as engine:
        _ = engine.store.database
        if step >= 0:
            sys.settrace(call)
        try:
            VERBS[verb](engine)
        except minidock.errors.MinidockError as error:
            return type(error).__name__
        finally:
            sys.settrace(None)
    return str(seen)


def main() -> None:
    """Serve requests until stdin ends. A step of -1: at full speed, for those who kill by the clock."""
    roots = sys.argv[1:]
    for request in sys.stdin:
        verb, step = request.rstrip("\n").split("\t")
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            os.write(write, _one(roots, verb, int(step)).encode())
            os._exit(0)
        os.close(write)
        if int(step) < 0:
            print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(read) as file:
            print("killed" if os.WIFSIGNALED(status) else file.read(), flush=True)


if __name__ == "__main__":
    main()
