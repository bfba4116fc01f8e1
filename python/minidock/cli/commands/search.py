"""``search``."""

from __future__ import annotations

from minidock.cli.commands.remove import grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing
from minidock.cli.output import printable
from minidock.cli.units import ellipsis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_LIMIT = 25


def _listing(full: bool, form: str) -> Listing:
    as_json = form == "json" or "json ." in form

    def truth(value: bool) -> str:
        if as_json:
            return "true" if value else "false"
        return "[OK]" if value else ""

    def description(it: Any) -> str:
        text = printable(it.description.replace("\n", " ").replace("\r", ""))
        return text if full else ellipsis(text, 45)

    return Listing(
        "*formatter.searchContext",
        fields={
            "Name": lambda it: printable(it.name),
            "Description": description,
            "StarCount": lambda it: str(it.star_count),
            "IsOfficial": lambda it: truth(it.is_official),
            "IsAutomated": lambda it: truth(it.is_automated),
        },
        headers={
            "Name": "NAME",
            "Description": "DESCRIPTION",
            "StarCount": "STARS",
            "IsOfficial": "OFFICIAL",
            "IsAutomated": "AUTOMATED",
        },
        columns=("Name", "Description", "StarCount", "IsOfficial"),
        raw=[("name", "Name"), ("description", "Description"), ("stars", "StarCount"), ("official", "IsOfficial")],
        quiet="Name",
    )


def _search(session: Session, values: Values, arguments: list[str]) -> int:
    """Print the repositories that were found, those with most stars first."""
    found = session.engine.images.search(
        arguments[0], filters=grouped(values["filter"]) or None, limit=values["limit"] or _LIMIT
    )
    found.sort(key=lambda result: -result.star_count)
    form = values["format"] or ""
    _listing(values["no-trunc"], form).show(found, values["format"], quiet=False)
    return 0


SEARCH = Command(
    "[OPTIONS] TERM",
    "Search Docker Hub for images, or with HOST/TERM another registry.",
    [
        Flag("filter", "filter", "Only those that match: stars=NUMBER, is-official=BOOL, is-automated=BOOL", short="f"),
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("limit", "int", f"Show at most so many, up to 100 (default {_LIMIT})", default=0),
        Flag("no-trunc", "bool", "Show descriptions uncut"),
    ],
    _search,
    minimum=1,
    maximum=1,
)
