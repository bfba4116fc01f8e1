"""``volume create`` and ``volume clone``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import line
from minidock.cli.words import UsageError, label_pairs, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _create(session: Session, values: Values, arguments: list[str]) -> int:
    """Make a volume, or find it, and print its name."""
    labels = label_pairs(values["label"])
    name = values["name"]
    if name and arguments:
        raise UsageError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg", 1
        )
    volume = session.engine.volumes.create(
        name or (arguments[0] if arguments else None),
        driver=values["driver"],
        driver_opts=pairs(values["opt"]),
        labels=labels,
    )
    line(volume.name)
    return 0


def _clone(session: Session, values: Values, arguments: list[str]) -> int:
    """Copy a volume and print the copy's name."""
    line(session.engine.volumes.get(arguments[0]).clone(arguments[1]).name)
    return 0


CREATE = Command(
    "[OPTIONS] [VOLUME]",
    "Create a volume and print its name; one that exists is left as it is. Without a name it is anonymous.",
    [
        Flag("driver", "string", "local, which is the only one here", short="d", default="local"),
        Flag("label", "list", "A label, NAME=VALUE"),
        Flag("name", "string", hidden=True),
        Flag(
            "opt",
            "map",
            "An option of the driver: type, device and o of a file system to mount, or size of one with quotas",
            short="o",
        ),
    ],
    _create,
    maximum=1,
)
CLONE = Command(
    "VOLUME NAME",
    "Copy a volume with its files, owners and attributes into a new one of this name. Where the disk can, both share "
    "their blocks until one changes.",
    [],
    _clone,
    minimum=2,
    maximum=2,
    complete="volumes",
)
