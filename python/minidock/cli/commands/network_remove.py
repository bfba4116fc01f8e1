"""``network rm``, ``network prune`` and ``network repair``."""

from __future__ import annotations

from minidock.cli.commands.remove import confirmed, grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line
from minidock.errors import NetworkNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _remove(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove networks in one go and print their names; a failure does not keep the others."""
    failed = 0
    for name, error in zip(arguments, session.engine.networks.remove(arguments), strict=True):
        if error is None:
            line(name)
        elif not (values["force"] and isinstance(error, NetworkNotFound)):
            complain(f"minidock: {error}")
            failed = 1
    return failed


def _prune(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove the networks that no container is on and print their names."""
    question = "This will remove all custom networks not used by at least one container."
    if not values["force"] and not confirmed(question):
        return 0
    done = session.engine.networks.prune(grouped(values["filter"]) or None)
    if done.networks_deleted:
        line("Deleted Networks:")
        line("\n".join(done.networks_deleted))
        line("")
    return 0


def _repair(session: Session, values: Values, arguments: list[str]) -> int:
    """Print what was repaired."""
    for text in session.engine.networks.repair():
        line(text)
    return 0


REMOVE = Command(
    "[OPTIONS] NETWORK [NETWORK...]",
    "Remove networks.",
    [Flag("force", "bool", "It is no failure that one does not exist", short="f")],
    _remove,
    minimum=1,
    complete="networks",
)
PRUNE = Command(
    "[OPTIONS]",
    "Remove all networks that no container is on and print their names.",
    [
        Flag("filter", "filter", "Only those that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]"),
        Flag("force", "bool", "Do not ask", short="f"),
    ],
    _prune,
    maximum=0,
)
REPAIR = Command(
    "",
    "Make the networks' addresses, files, bridges and firewall agree again, and print what was done.",
    [],
    _repair,
    maximum=0,
)
