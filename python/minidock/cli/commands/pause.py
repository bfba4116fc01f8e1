"""``pause`` and ``unpause``."""

from __future__ import annotations

from minidock.cli.each import on_each
from minidock.cli.flags import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _pause(session: Session, values: Values, arguments: list[str]) -> int:
    """Freeze each container and print its name."""
    return on_each(session, arguments, lambda it: it.pause())


def _unpause(session: Session, values: Values, arguments: list[str]) -> int:
    """Let each container run again and print its name."""
    return on_each(session, arguments, lambda it: it.unpause())


PAUSE = Command(
    "CONTAINER [CONTAINER...]",
    "Freeze all processes of containers.",
    [],
    _pause,
    minimum=1,
    complete="containers",
)
UNPAUSE = Command(
    "CONTAINER [CONTAINER...]",
    "Let the processes of paused containers run again.",
    [],
    _unpause,
    minimum=1,
    complete="containers",
)
