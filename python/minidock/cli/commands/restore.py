"""``system restore``: after a boot. ``system stop``: before a shutdown."""

from __future__ import annotations

from minidock.cli import systemd
from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _restore(session: Session, values: Values, arguments: list[str]) -> int:
    """Start containers and print their names, or print the unit."""
    if values["unit"]:
        write(systemd.restore_unit(session, systemd.configuration(session)))
        return 0
    done = session.engine.containers.restore()
    for container in done.started:
        line(container.name)
    for failure in done.failed:
        complain(f"minidock: start {failure.container.name}: {failure.error}")
    return 1 if done.failed else 0


RESTORE = Command(
    "[OPTIONS]",
    "Start the containers that their restart policy wants to run: always, unless-stopped unless somebody stopped them, "
    "on-failure if they failed. For after a boot; what runs stays as it is.",
    [Flag("unit", "bool", "Print a systemd unit that does this at every boot")],
    _restore,
    maximum=0,
)


def _stop(session: Session, _values: Values, _arguments: list[str]) -> int:
    """Stop containers and print their names."""
    done = session.engine.containers.halt()
    for container in done.stopped:
        line(container.name)
    for container in done.left:
        complain(f"minidock: stop {container.name}: it still runs")
    return 1 if done.left else 0


STOP = Command(
    "",
    "Stop all containers, each by its own stop signal and timeout, as for a shutdown: what their restart policy wants "
    "to run is started by `minidock system restore`.",
    [],
    _stop,
    maximum=0,
)
