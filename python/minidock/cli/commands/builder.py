"""``builder prune`` and ``builder du``: the build cache."""

from __future__ import annotations

from minidock.cli.commands.remove import confirmed, grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing
from minidock.cli.output import line, write
from minidock.cli.surface import NO_DAEMON
from minidock.cli.units import decimal_size
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.build.cache import Entry
    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_FILTER = "Only those that match: type=TYPE, id=ID, unused-for=DURATION, until=DURATION, shared=, inuse=, description="


_TABLE = "table {{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}"
_HEADERS = {
    "ID": "ID",
    "Parents": "PARENTS",
    "CreatedAt": "CREATED AT",
    "Mutable": "MUTABLE",
    "Reclaimable": "RECLAIMABLE",
    "Shared": "SHARED",
    "Size": "SIZE",
    "Description": "DESCRIPTION",
    "UsageCount": "USAGE COUNT",
    "LastUsedAt": "LAST ACCESSED",
    "Type": "TYPE",
}


def _age(entry: Entry) -> str:
    import time

    from minidock.containers.status import duration

    return f"{duration(max(0.0, time.time() - entry.last_used))} ago"


def _moment(seconds: int, form: str) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(form)


def _is_mutable(entry: Entry) -> bool:
    from minidock.build.cache import MOUNT

    return entry.type == MOUNT


def _listing(*, marked: bool) -> Listing:
    """How entries are listed; ``marked``: in a table a star is on what changes, and on sizes of what images have."""
    return Listing(
        "*commands.diskusageContext",
        fields={
            "ID": lambda it: it.id + ("*" if marked and _is_mutable(it) else ""),
            "Parents": lambda _: [],
            "CreatedAt": lambda it: _moment(it.created, "%Y-%m-%d %H:%M:%S +0000 UTC"),
            "Mutable": _is_mutable,
            "Reclaimable": lambda it: not it.in_use,
            "Shared": lambda it: it.shared,
            "Size": lambda it: decimal_size(it.size, 4) + ("*" if marked and it.shared else ""),
            "Description": lambda it: it.description,
            "UsageCount": lambda it: it.uses,
            "LastUsedAt": _age,
            "Type": lambda it: it.type,
        },
        headers=_HEADERS,
        columns=("ID", "Reclaimable", "Size", "LastUsedAt"),
        raw=[],
    )


def _pretty(entries: list[Entry]) -> str:
    rows = []
    for entry in entries:
        rows += [
            f"{name + ':':13} {value}\n"
            for name, value in (
                ("ID", entry.id),
                ("Created at", _moment(entry.created, "%Y-%m-%d %H:%M:%S +0000 UTC")),
                ("Mutable", str(_is_mutable(entry)).lower()),
                ("Reclaimable", str(not entry.in_use).lower()),
                ("Shared", str(entry.shared).lower()),
                ("Size", decimal_size(entry.size, 4)),
                ("Description", entry.description),
                ("Usage count", str(entry.uses)),
                ("Last used", _age(entry)),
                ("Type", entry.type),
            )
        ]
        rows.append("\n")
    return "".join(rows)


def _json(entries: list[Entry]) -> str:
    import json

    return "".join(
        json.dumps(
            {
                "CreatedAt": _moment(entry.created, "%Y-%m-%dT%H:%M:%SZ"),
                "Description": entry.description,
                "ID": entry.id,
                "LastUsedAt": _moment(entry.last_used, "%Y-%m-%dT%H:%M:%SZ"),
                "Mutable": _is_mutable(entry),
                "Parents": None,
                "Reclaimable": not entry.in_use,
                "Shared": entry.shared,
                "Size": str(entry.size),
                "Type": entry.type,
                "UsageCount": entry.uses,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        + "\n"
        for entry in entries
    )


def _show(entries: list[Entry], form: str) -> None:
    """Write entries as ``--format`` says: table, pretty, json, or a template. Raises TemplateError."""
    if form == "pretty":
        write(_pretty(entries))
    elif form == "json":
        write(_json(entries))
    else:
        write(_listing(marked=form.startswith("table")).text(entries, _TABLE if form == "table" else form))


def _du(session: Session, values: Values, _arguments: list[str]) -> int:
    """List what the cache holds, and how much it is."""
    if values["format"] and values["verbose"]:
        raise UsageError("--format and --verbose cannot be used together", 1)
    form = "pretty" if values["verbose"] else (values["format"] or "table").strip()
    entries = session.engine.builder.entries(grouped(values["filter"]) or None)
    _show(entries, form)
    if form not in ("table", "pretty") or values["filter"]:
        return 0
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
    limits = {
        name.replace("-", "_"): size(values[name]) or None
        for name in ("reserved-space", "max-used-space", "min-free-space")
        if values[name] is not None
    }
    done = session.engine.builder.prune(all=values["all"], filters=grouped(values["filter"]) or None, **limits)
    if done.entries:
        _show(done.entries, "pretty" if values["verbose"] else "table")
    line(f"Total:\t{decimal_size(done.space_reclaimed, 4)}")
    return 0


_BUILDER = Flag("builder", "string", reason=NO_DAEMON, harmless="default")
_DEBUG = Flag("debug", "bool", short="D", reason=NO_DAEMON)
DU = Command(
    "[OPTIONS]",
    "Show what the build cache holds. A size with a * is in an image, too, so that its removal gives nothing back; an "
    "id with a * is a directory that changes.",
    [
        _BUILDER,
        _DEBUG,
        Flag("filter", "filter", _FILTER),
        Flag("format", "string", "How to show it: table, pretty, json, a template, or a table with a template"),
        Flag("verbose", "bool", "Show all that is known of each: --format pretty"),
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
        Flag("min-free-space", "bytes", "Remove only until this much of the disk is free"),
        Flag(
            "reserved-space", "bytes", "What the cache may always take: no more is removed", aliases=("keep-storage",)
        ),
        Flag("verbose", "bool", "Show all that is known of each"),
    ],
    _prune,
    maximum=0,
)
