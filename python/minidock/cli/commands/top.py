"""``top``."""

from __future__ import annotations

from minidock.cli.flags import Command
from minidock.cli.output import align, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_WIDTH = 20
"""Least width of a column, as Docker has it."""


def _top(session: Session, values: Values, arguments: list[str]) -> int:
    """Print the processes of a container."""
    found = session.engine.containers.get(arguments[0]).top(" ".join(arguments[1:]))
    write(align([found.titles, *found.processes] if found.titles else found.processes, _WIDTH))
    return 0


TOP = Command(
    "CONTAINER [ps OPTIONS]",
    "Show the processes of a container, by the options of ps (-ef unless given), as the host sees them.",
    [],
    _top,
    minimum=1,
    interspersed=False,
    complete="containers",
)
