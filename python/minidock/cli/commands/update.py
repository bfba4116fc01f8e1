"""``update``."""

from __future__ import annotations

from minidock.cli.commands.create_flags import RESOURCES, RESTART
from minidock.cli.flags import Command
from minidock.cli.output import complain, line
from minidock.cli.words import UsageError
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_LIMITS = (
    "blkio-weight",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "kernel-memory",
    "memory",
    "memory-reservation",
    "memory-swap",
    "pids-limit",
)


def _update(session: Session, values: Values, arguments: list[str]) -> int:
    """Change each container and print its name; warnings follow on standard output, as in Docker."""
    options = values.options()
    if not options:
        raise UsageError("you must provide one or more flags when using this command", 1)
    failed, warnings = 0, []
    for name in arguments:
        try:
            warnings += session.engine.containers.get(name).update(**options)
        except MinidockError as error:
            complain(f"minidock: {error}")
            failed = 1
        else:
            line(name)
    for warning in warnings:
        line(warning)
    return failed


UPDATE = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Change limits of containers, of running ones too, and when they are started again.",
    [*(flag for flag in RESOURCES if flag.name in _LIMITS), RESTART],
    _update,
    minimum=1,
    complete="containers",
)
