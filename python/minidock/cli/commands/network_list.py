"""``network ls``."""

from __future__ import annotations

from minidock.cli.commands.remove import grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing, natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_COLUMNS = ("ID", "Name", "Driver", "Scope")
_HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def _list(session: Session, values: Values, arguments: list[str]) -> int:
    """Print the networks in the form that the flags ask for."""
    full = values["no-trunc"]
    fields: dict[str, Any] = {
        "ID": lambda it: it.id if full else it.id[:12],
        "Name": lambda it: it.name,
        "Driver": lambda it: it.driver,
        "Scope": lambda it: it.scope,
        "IPv4": lambda it: _word(it.enable_ipv4),
        "IPv6": lambda it: _word(it.enable_ipv6),
        "Internal": lambda it: _word(it.internal),
        "Labels": lambda it: ",".join(f"{key}={text}" for key, text in sorted(it.labels.items())),
        "CreatedAt": lambda it: f"{it.created.replace('T', ' ').removesuffix('Z')} +0000 UTC",
    }
    listing = Listing(
        "*network.networkContext",
        fields=fields,
        headers=_HEADERS,
        columns=_COLUMNS,
        raw=[("network_id", "ID"), *((name.lower(), name) for name in _COLUMNS[1:])],
        methods={"Label": lambda it, name: it.labels.get(name, "")},
    )
    records = [network.record for network in session.engine.networks.list(filters=grouped(values["filter"]) or None)]
    form = values["format"]
    # A form of one's own counts more than -q here, as in Docker.
    quiet = values["quiet"] and (form or "table") in ("table", "raw")
    listing.show(sorted(records, key=lambda it: natural(it.name)), form, quiet=quiet)
    return 0


def _word(value: bool) -> str:
    return "true" if value else "false"


LIST = Command(
    "[OPTIONS]",
    "List networks.",
    [
        Flag(
            "filter",
            "filter",
            "Only those that match: dangling, driver, id, label, name, scope, type",
            short="f",
        ),
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("no-trunc", "bool", "Show ids uncut"),
        Flag("quiet", "bool", "Show ids only", short="q"),
    ],
    _list,
    maximum=0,
)
