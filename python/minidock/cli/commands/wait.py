"""``wait``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session

CONDITIONS = ("not-running", "next-exit", "removed", "healthy")


def _wait(session: Session, values: Values, arguments: list[str]) -> int:
    """Wait for each container in turn and print its exit code."""
    failed = 0
    for name in arguments:
        try:
            code = session.engine.containers.get(name).wait(condition=values["condition"])
        except MinidockError as error:
            complain(f"minidock: {error}")
            failed = 1
        else:
            line(str(code))
    return failed


WAIT = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Wait until containers stop, and print their exit codes.",
    [
        Flag(
            "condition",
            "string",
            "Wait for: not-running, next-exit, removed, healthy",
            default="not-running",
            choices=CONDITIONS,
        )
    ],
    _wait,
    minimum=1,
    complete="containers",
)
