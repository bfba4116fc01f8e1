"""``rename``."""

from __future__ import annotations

from minidock.cli.flags import Command
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _rename(session: Session, values: Values, arguments: list[str]) -> None:
    """Give a container another name."""
    old, new = (word.strip() for word in arguments)
    if not old or not new:
        raise UsageError("neither old nor new names may be empty", 1)
    session.engine.containers.get(old).rename(new)


RENAME = Command(
    "CONTAINER NEW_NAME",
    "Give a container another name.",
    [],
    _rename,
    minimum=2,
    maximum=2,
    complete="containers",
)
