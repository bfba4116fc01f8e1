"""``volume export`` and ``volume import``."""

from __future__ import annotations

from minidock.cli.commands.archives import output, pipe_may_close
from minidock.cli.flags import Command, Flag
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _export(session: Session, values: Values, arguments: list[str]) -> int:
    out = output(values, "export")
    volume = session.engine.volumes.get(arguments[0])
    with pipe_may_close(out):
        volume.export(out)
    return 0


def _import(session: Session, values: Values, arguments: list[str]) -> int:
    name, source = arguments
    if source.startswith(("http://", "https://")):
        raise UsageError(
            f"volume import {source}: minidock does not download; pipe it in: curl -L URL | minidock volume import "
            f"{name} -",
            1,
        )
    session.engine.volumes.get(name).import_(0 if source == "-" else source)
    return 0


EXPORT = Command(
    "[OPTIONS] VOLUME",
    "Write a volume's files as a plain tar, on standard output unless --output is given.",
    [Flag("output", "string", "Write to this file, which is replaced when all went well", short="o")],
    _export,
    minimum=1,
    maximum=1,
    complete="volumes",
)
IMPORT = Command(
    "VOLUME FILE|-",
    "Unpack a tar, plain or compressed by gzip, zstd, xz or bzip2, over a volume's files. The file - is standard "
    "input. Nothing changes unless all of it can be unpacked.",
    [],
    _import,
    minimum=2,
    maximum=2,
    complete="volumes",
)
