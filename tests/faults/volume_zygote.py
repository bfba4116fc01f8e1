"""A process that forks others, each of which does one thing to volumes; see ``dying``. A request is ``VERB STEP``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import minidock
from minidock.volumes import archives, collection, filling, moving, removing, using  # noqa: F401 - warm
from tests.faults import dying
from tests.images import tar_of

ONE, TWO = "1" * 64, "2" * 64
"""Containers: the first has the volumes one and shared, the second shared."""
ARCHIVE = tar_of(("both/", b""), ("both/new", b"new"), ("file", b"new"), ("left", b"new"))


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


def _answer(words: list[str], step: int) -> str:
    from minidock.store.cleaner import cleaner

    cleaner.background = False
    data, run, config = sys.argv[1:]
    with minidock.Engine(data_root=data, run_root=run, config=config) as engine:
        _ = engine.store.database
        return dying.lived(step, lambda: VERBS[words[0]](engine))


if __name__ == "__main__":
    dying.serve(_answer)
