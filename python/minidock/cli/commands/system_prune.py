"""``system prune``."""

from __future__ import annotations

from minidock.cli.commands.remove import confirmed, grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.output import line
from minidock.cli.units import decimal_size
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _question(values: Values) -> str:
    """What will go, in Docker's words."""
    what = ["all stopped containers", "all networks not used by at least one container"]
    if values["volumes"]:
        what.append("all anonymous volumes not used by at least one container")
    what.append(
        "all images without at least one container associated to them" if values["all"] else "all dangling images"
    )
    what.append("all build cache" if values["all"] else "unused build cache")
    lines = ["This will remove:", *(f"  - {one}" for one in what)]
    if values["filter"]:
        lines += ["", "  Items to be pruned will be filtered with:"]
        lines += [f"  - {text}" for text in sorted(f"{name}={value}" for name, value in values["filter"])]
    return "\n".join(lines) + "\n"


def _prune(session: Session, values: Values, arguments: list[str]) -> int:
    """Remove what nothing uses, and print what that was and how much was gained."""
    filters = grouped(values["filter"])
    if values["volumes"] and "until" in filters:
        raise UsageError('the "until" filter is not supported with "--volumes"', 1)
    if not values["force"] and not confirmed(_question(values)):
        return 0
    done = session.engine.prune(all=values["all"], volumes=values["volumes"], filters=filters or None)
    for title, names in (
        ("Containers", done.containers_deleted),
        ("Networks", done.networks_deleted),
        ("Volumes", done.volumes_deleted),
    ):
        if names:
            line(f"Deleted {title}:\n" + "\n".join(names) + "\n")
    if done.images_deleted:
        line("Deleted Images:")
        for item in done.images_deleted:
            line(f"untagged: {item.untagged}" if item.untagged else f"deleted: {item.deleted}")
        line("")
    if done.cache_deleted:
        line("Deleted build cache objects:\n" + "\n".join(done.cache_deleted) + "\n")
    line(f"Total reclaimed space: {decimal_size(done.space_reclaimed, 4)}")
    return 0


PRUNE = Command(
    "[OPTIONS]",
    "Remove stopped containers, networks that no container is on, images without a name that no container has, and the "
    "build cache that no image has.",
    [
        Flag("all", "bool", "All images that no container has, those with names too", short="a"),
        Flag("filter", "filter", "Only what matches: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]"),
        Flag("force", "bool", "Do not ask", short="f"),
        Flag("volumes", "bool", "Anonymous volumes that no container has, too"),
    ],
    _prune,
    maximum=0,
)
