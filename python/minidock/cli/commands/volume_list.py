"""``volume ls``."""

from __future__ import annotations

from minidock.cli.commands.remove import grouped
from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing, natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.spec.docker_volume import VolumeInspect

HEADERS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
    "Status": "STATUS",
}
_UNKNOWN = "N/A"


def listing() -> Listing:
    """How volumes are listed."""
    return Listing(
        "*formatter.volumeContext",
        fields={
            "Name": lambda it: it.name,
            "Driver": lambda it: it.driver,
            "Scope": lambda it: it.scope,
            "Mountpoint": lambda it: it.mountpoint,
            "Labels": lambda it: ",".join(f"{key}={text}" for key, text in sorted((it.labels or {}).items())),
            "Links": lambda it: str(it.usage_data.ref_count) if it.usage_data else _UNKNOWN,
            "Size": _size,
            "Availability": lambda _: _UNKNOWN,
            "Group": lambda _: _UNKNOWN,
            "Status": lambda _: _UNKNOWN,
        },
        headers=HEADERS,
        columns=("Driver", "Name"),
        raw=[("name", "Name"), ("driver", "Driver")],
        methods={"Label": lambda it, name: (it.labels or {}).get(name, "")},
        quiet="Name",
    )


def _size(it: VolumeInspect) -> str:
    from minidock.cli.units import decimal_size

    return decimal_size(it.usage_data.size, 4) if it.usage_data else _UNKNOWN


def _list(session: Session, values: Values, arguments: list[str]) -> int:
    """Print the volumes in the form that the flags ask for."""
    found = session.engine.volumes.list(grouped(values["filter"]) or None)
    form = values["format"]
    # A form of one's own counts more than -q here, as in Docker.
    quiet = values["quiet"] and (form or "table") in ("table", "raw")
    volumes = [volume.inspect() for volume in found]
    listing().show(sorted(volumes, key=lambda it: natural(it.name)), form, quiet=quiet)
    return 0


LIST = Command(
    "[OPTIONS]",
    "List volumes.",
    [
        Flag("filter", "filter", "Only those that match: dangling, driver, label, name", short="f"),
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("quiet", "bool", "Show names only", short="q"),
    ],
    _list,
    maximum=0,
)
