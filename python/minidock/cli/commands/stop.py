"""``stop`` and ``restart``."""

from __future__ import annotations

from minidock.cli.each import on_each
from minidock.cli.flags import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.containers.container import Container

STOPPING = [
    Flag("signal", "string", "Signal to send instead of the container's own", short="s"),
    Flag(
        "timeout",
        "int",
        "Seconds until it is killed (default 10, or the container's own); -1: never",
        short="t",
        aliases=("time",),
    ),
]


def _stop(session: Session, values: Values, arguments: list[str]) -> int:
    """Stop each container and print its name; one that does not run is fine."""

    def stop(container: Container) -> None:
        container.stop(timeout=values["timeout"], signal=values["signal"] or None)

    return on_each(session, arguments, stop)


def _restart(session: Session, values: Values, arguments: list[str]) -> int:
    """Stop each container if it runs, start it again, and print its name."""

    def restart(container: Container) -> None:
        container.restart(timeout=values["timeout"], signal=values["signal"] or None)

    return on_each(session, arguments, restart)


STOP = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Stop running containers: the stop signal, and SIGKILL when the time is over.",
    STOPPING,
    _stop,
    minimum=1,
    complete="containers",
)
RESTART = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Stop containers, and start them again.",
    STOPPING,
    _restart,
    minimum=1,
    complete="containers",
)
