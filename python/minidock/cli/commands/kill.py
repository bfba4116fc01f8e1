"""``kill``."""

from __future__ import annotations

from minidock.cli.each import on_each
from minidock.cli.flags import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _kill(session: Session, values: Values, arguments: list[str]) -> int:
    """Send the signal to each container's PID 1 and print its name."""
    signal = values["signal"] or "KILL"
    return on_each(session, arguments, lambda it: it.kill(signal))


KILL = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Send a signal to running containers, SIGKILL unless --signal says another.",
    [Flag("signal", "string", "Signal, by name or number", short="s")],
    _kill,
    minimum=1,
    complete="containers",
)
