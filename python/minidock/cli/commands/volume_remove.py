"""``volume rm`` and ``volume prune``."""

from __future__ import annotations

from minidock.cli.commands.remove import confirmed, grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line
from minidock.cli.units import decimal_size
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _remove(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove volumes and print their names; a failure does not keep the others."""
    failed = 0
    for name, error in zip(arguments, session.engine.volumes.remove(arguments, force=values["force"]), strict=True):
        if error is None:
            line(name)
        else:
            complain(f"minidock: {error}")
            failed = 1
    return failed


def _prune(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove the volumes that no container has, and print their names and how much was gained."""
    filters = grouped(values["filter"])
    if values["all"]:
        if "all" in filters:
            raise UsageError("conflicting options: cannot specify both --all and --filter all=1", 1)
        filters["all"] = ["true"]
    kind = "all" if values["all"] else "anonymous"
    if not values["force"] and not confirmed(
        f"This will remove {kind} local volumes not used by at least one container."
    ):
        return 0
    done = session.engine.volumes.prune(filters=filters or None)
    if done.volumes_deleted:
        line("Deleted Volumes:")
        line("\n".join(done.volumes_deleted))
        line("")
    line(f"Total reclaimed space: {decimal_size(done.space_reclaimed, 4)}")
    return 0


REMOVE = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    "Remove volumes that no container has, with all that is in them.",
    [Flag("force", "bool", "It is no failure that one does not exist", short="f")],
    _remove,
    minimum=1,
    complete="volumes",
)
PRUNE = Command(
    "[OPTIONS]",
    "Remove the anonymous volumes that no container has, and print their names. Volumes with driver options stay.",
    [
        Flag("all", "bool", "Named volumes too", short="a"),
        Flag("filter", "filter", "Only those that match: label=KEY[=VALUE], label!=KEY[=VALUE]; all=true is --all"),
        Flag("force", "bool", "Do not ask", short="f"),
    ],
    _prune,
    maximum=0,
)
