"""``builder prune`` and ``builder du``: the build cache."""

from __future__ import annotations

from minidock.cli.commands.remove import confirmed, grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.output import align, line, write
from minidock.cli.surface import BUILD, NO_DAEMON
from minidock.cli.units import decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.build.cache import Entry
    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_FILTER = "Only those that match: type=TYPE, id=ID, unused-for=DURATION, until=DURATION, shared=, inuse=, description="


def _age(entry: Entry) -> str:
    import time

    from minidock.cli.units import duration

    return f"{duration(max(0.0, time.time() - entry.last_used))} ago"


def _table(entries: list[Entry], *, verbose: bool) -> None:
    if verbose:
        for entry in entries:
            for name, value in (
                ("ID", entry.id),
                ("Type", entry.type),
                ("Description", entry.description),
                ("Size", decimal_size(entry.size, 4)),
                ("Shared", str(entry.shared).lower()),
                ("In use", str(entry.in_use).lower()),
                ("Reclaimable", str(entry.reclaimable > 0).lower()),
                ("Usage count", str(entry.uses)),
                ("Last used", _age(entry)),
            ):
                line(f"{name + ':':13} {value}")
            line("")
        return
    rows = [("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED")]
    rows += [
        (
            entry.id + ("*" if entry.shared else ""),
            str(not entry.in_use).lower(),
            decimal_size(entry.size, 4),
            _age(entry),
        )
        for entry in entries
    ]
    write(align(rows))


def _du(session: Session, values: Values, _arguments: list[str]) -> int:
    """List what the cache holds, and how much it is."""
    entries = session.engine.builder.entries(grouped(values["filter"]) or None)
    _table(entries, verbose=values["verbose"])
    shared = sum(entry.size for entry in entries if entry.shared)
    total = sum(entry.size for entry in entries)
    if shared:
        line(f"Shared:\t\t{decimal_size(shared, 4)}")
        line(f"Private:\t{decimal_size(total - shared, 4)}")
    line(f"Reclaimable:\t{decimal_size(sum(entry.reclaimable for entry in entries), 4)}")
    line(f"Total:\t\t{decimal_size(total, 4)}")
    return 0


def _prune(session: Session, values: Values, _arguments: list[str]) -> int:
    """Remove what the cache holds, and say what that was."""
    from minidock.containers.parse.sizes import size

    warning = "This will remove all build cache." if values["all"] else "This will remove all dangling build cache."
    if not values["force"] and not confirmed(warning):
        return 0
    limits = {name: values[name] for name in ("reserved-space", "max-used-space") if values[name] is not None}
    done = session.engine.builder.prune(
        all=values["all"],
        filters=grouped(values["filter"]) or None,
        reserved_space=size(limits["reserved-space"]) or 0 if "reserved-space" in limits else 0,
        max_used_space=size(limits["max-used-space"]) if "max-used-space" in limits else None,
    )
    if done.entries:
        _table(done.entries, verbose=values["verbose"])
    line(f"Total:\t{decimal_size(done.space_reclaimed, 4)}")
    return 0


_BUILDER = Flag("builder", "string", reason=NO_DAEMON, harmless="default")
_DEBUG = Flag("debug", "bool", short="D", reason=NO_DAEMON)
DU = Command(
    "[OPTIONS]",
    "Show what the build cache holds. What has a * is in an image, too, so that its removal gives nothing back.",
    [
        _BUILDER,
        _DEBUG,
        Flag("filter", "filter", _FILTER),
        Flag("format", "string", "Format of the output", reason=BUILD),
        Flag("verbose", "bool", "Show all that is known of each"),
    ],
    _du,
    maximum=0,
)
PRUNE = Command(
    "[OPTIONS]",
    "Remove layers of the build cache that no image has.",
    [
        _BUILDER,
        _DEBUG,
        Flag("all", "bool", "Also what images have, and the directories of cache mounts", short="a"),
        Flag("filter", "filter", _FILTER),
        Flag("force", "bool", "Do not ask", short="f"),
        Flag("max-used-space", "bytes", "Remove only until the cache takes no more than this"),
        Flag("min-free-space", "bytes", "Remove only until this much of the disk is free", reason=BUILD),
        Flag(
            "reserved-space", "bytes", "Remove only until the cache takes no more than this", aliases=("keep-storage",)
        ),
        Flag("verbose", "bool", "Show all that is known of each"),
    ],
    _prune,
    maximum=0,
)
