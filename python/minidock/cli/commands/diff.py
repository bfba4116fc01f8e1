"""``diff``."""

from __future__ import annotations

from minidock.cli.flags import Command
from minidock.cli.output import write
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _diff(session: Session, _values: Values, arguments: list[str]) -> int:
    if not arguments[0]:
        raise UsageError("container name cannot be empty", 1)
    found = session.engine.containers.get(arguments[0]).diff()
    write("".join(f"{change}\n" for change in found))
    return 0


DIFF = Command(
    "CONTAINER",
    "Show which files a container has added (A), changed (C) and deleted (D).",
    [],
    _diff,
    minimum=1,
    maximum=1,
    complete="containers",
)
