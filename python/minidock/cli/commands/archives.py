"""``save``, ``load`` and ``export``."""

from __future__ import annotations

import contextlib
import os

from minidock.cli.flags import Command, Flag
from minidock.cli.output import line
from minidock.cli.words import UsageError
from minidock.errors import SystemFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.images.loading import Loaded


def output(values: Values, verb: str) -> str | int:
    """Where an archive goes: the file of ``--output``, or standard output unless that is a terminal."""
    path: str | None = values["output"]
    if path is not None:
        return path
    if os.isatty(1):
        raise UsageError(f"cowardly refusing to {verb} to a terminal. Use the -o flag or redirect", 1)
    return 1


def _save(session: Session, values: Values, arguments: list[str]) -> int:
    out = output(values, "save")
    with pipe_may_close(out):
        session.engine.images.save(arguments, out, platform=values["platform"])
    return 0


def _export(session: Session, values: Values, arguments: list[str]) -> int:
    out = output(values, "export")
    container = session.engine.containers.get(arguments[0])
    with pipe_may_close(out):
        container.export(out)
    return 0


@contextlib.contextmanager
def pipe_may_close(out: str | int) -> Iterator[None]:
    """Make it BrokenPipeError, which ends commands without a word, when writing failed as nobody reads the output."""
    try:
        yield
    except SystemFailure as error:
        import select

        poll = select.poll()
        poll.register(1, 0)
        if out == 1 and any(events & select.POLLERR for _, events in poll.poll(0)):
            raise BrokenPipeError from error
        raise


def _load(session: Session, values: Values, arguments: list[str]) -> int:
    """Load all images, and print the name or id of each."""
    from minidock.cli.progress import shown

    source: str | int = values["input"] if values["input"] is not None else 0
    if source == 0 and os.isatty(0):
        raise UsageError("requested load from stdin, but stdin is empty", 1)
    found: list[Loaded] = []
    try:
        # Docker, too, shows progress on terminals only.
        with shown(1, quiet=values["quiet"] or not os.isatty(1)) as progress:
            session.engine.images.load(source, platform=values["platform"], on_loaded=found.append, progress=progress)
    finally:
        told: set[str] = set()
        for one in found:
            _tell(one, told)
    return 0


def _tell(loaded: Loaded, told: set[str]) -> None:
    """Say what was loaded; a name of several platforms comes once."""
    lost = dict(loaded.replaced)
    for name in loaded.names:
        if name in lost:
            line(f"The image {name} already exists, renaming the old one with ID {lost[name]} to empty string")
        if name not in told:
            line(f"Loaded image: {name}")
            told.add(name)
    if not loaded.names:
        line(f"Loaded image ID: {loaded.row.id}")


SAVE = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Write images to one archive, an OCI layout that `docker load` reads too, on standard output unless --output is "
    "given. A repository without a tag means all its tags.",
    [
        Flag("output", "string", "Write to this file, which is replaced when all went well", short="o"),
        Flag("platform", "string", "Save only this platform of each name, OS[/ARCH[/VARIANT]]"),
    ],
    _save,
    minimum=1,
    complete="images",
)
LOAD = Command(
    "[OPTIONS]",
    "Load images from an archive of `docker save`, or an OCI layout, plain or compressed by gzip, zstd, xz or bzip2.",
    [
        Flag("input", "string", "Read this file or directory instead of standard input", short="i"),
        Flag("platform", "string", "Load only images for this platform, OS[/ARCH[/VARIANT]]"),
        Flag("quiet", "bool", "Show no progress", short="q"),
    ],
    _load,
    maximum=0,
)
EXPORT = Command(
    "[OPTIONS] CONTAINER",
    "Write a container's root filesystem as a plain tar, on standard output unless --output is given.",
    [Flag("output", "string", "Write to this file, which is replaced when all went well", short="o")],
    _export,
    minimum=1,
    maximum=1,
    complete="containers",
)
