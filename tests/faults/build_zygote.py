"""A process that forks others, each of which builds something; see ``dying``. A request is ``VERB STEP``."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minidock
from minidock.build import (  # noqa: F401 - warm
    adding,
    building,
    copying,
    exchange,
    exchange_local,
    exchange_registry,
    mounts,
    outputs,
    running,
    unpacking,
    verifying,
)
from minidock.images import fetching, pulling, pushing, saving  # noqa: F401 - warm
from tests.faults import dying

DOCKERFILE = """FROM busybox AS one
WORKDIR /w
COPY . /src/
RUN --mount=type=cache,target=/c --mount=type=secret,id=s --mount=type=bind,target=/b,rw \
    echo x >> /c/log; cp -r /b/dir /copy; rm /etc/group; mkdir -p /d/e; wc -c < /run/secrets/s > /d/e/size; \
    mv /src/big /bigger; rm /b/dir/file0
FROM busybox
COPY --from=one --chown=5:6 /d /copy /d/
ADD archive.tar /unpacked/
RUN --mount=type=cache,target=/c,sharing=locked echo y >> /c/log; echo made > /made
LABEL a=b
"""


def write_context(directory: Path, big: int) -> None:
    """The files of the context; ``big``: bytes of the largest one."""
    (directory / "dir").mkdir(parents=True)
    for number in range(20):
        (directory / "dir" / f"file{number}").write_text(f"content {number}\n")
    (directory / "big").write_bytes(bytes(range(256)) * (big // 256))
    with tarfile.open(directory / "archive.tar", "w") as tar:
        for number in range(10):
            info = tarfile.TarInfo(f"in/f{number}")
            info.size = 1000
            tar.addfile(info, io.BytesIO(b"x" * 1000))


class Place:
    """Where everything is: ``base`` is the directory of the test's roots."""

    def __init__(self, data: str) -> None:
        self.base = Path(os.path.dirname(data))
        self.context = self.base / "context"
        self.cache = self.base / "cache"
        self.given = self.base / "given"
        """A cache of another machine."""
        self.files = self.base / "files"

    @property
    def registry(self) -> str:
        """The registry that has ``team/base``."""
        return (self.base / "registry").read_text()

    def build(self, engine: minidock.Engine, dockerfile: str = DOCKERFILE, **options: Any) -> str:
        """Build, with nothing that is not here; returns the image's id."""
        given = {"network": "none", "secrets": {"s": "secret"}, "tags": "made", "context": self.context, **options}
        return engine.images.build(given.pop("context"), dockerfile=dockerfile.encode(), **given).id

    def archive(self) -> bytes:
        """The context as a tar."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.add(self.context, ".")
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(DOCKERFILE)
            tar.addfile(info, io.BytesIO(DOCKERFILE.encode()))
        return stream.getvalue()


def _local(engine: minidock.Engine, it: Place) -> str:
    engine.images.build_files(
        it.context, it.files, dockerfile=DOCKERFILE.encode(), network="none", secrets={"s": "secret"}
    )
    return ""


def _stream(engine: minidock.Engine, it: Place) -> str:
    return engine.images.build(it.archive(), network="none", secrets={"s": "secret"}, tags="made").id


VERBS: dict[str, Callable[[minidock.Engine, Place], str]] = {
    "build": lambda engine, it: it.build(engine),
    "stream": _stream,
    "pull": lambda engine, it: it.build(engine, f"FROM {it.registry}/team/base\nCOPY dir /dir\n"),
    "files": _local,
    "export": lambda engine, it: it.build(engine, cache_to=[f"type=local,dest={it.cache},mode=max,mounts=true"]),
    "import": lambda engine, it: it.build(engine, cache_from=[f"type=local,src={it.given}"]),
    "push": lambda engine, it: it.build(
        engine, cache_to=[f"type=registry,ref={it.registry}/team/cache,mode=max,mounts=true"]
    ),
    "fetch": lambda engine, it: it.build(engine, cache_from=[f"{it.registry}/team/given"]),
}


def _answer(words: list[str], step: int) -> str:
    from minidock.store.cleaner import cleaner

    cleaner.background = False
    data, run, config = sys.argv[1:]
    with minidock.Engine(data_root=data, run_root=run, config=config) as engine:
        _ = engine.store.database
        return dying.lived(step, lambda: VERBS[words[0]](engine, Place(data)))


if __name__ == "__main__":
    dying.serve(_answer)
