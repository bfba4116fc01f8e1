"""``ps``."""

from __future__ import annotations

import time

from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing
from minidock.cli.units import decimal_size, ellipsis, local_time
from minidock.cli.words import quote
from minidock.containers.status import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.spec.docker import ContainerSummary, Port


def _ports(it: ContainerSummary) -> str:
    """Ports as Docker shows them, ranges together: ``99-102/tcp, 0.0.0.0:8080->80/tcp``."""
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    lone: list[str] = []
    for port in sorted(it.ports, key=_port_order):
        address = _address(port)
        public = _number(port.public_port)
        if address and public != port.private_port:
            host = f"[{address}]" if ":" in address else address
            lone.append(f"{host}:{public}->{port.private_port}/{port.type}")
            continue
        ranges = groups.setdefault((address, port.type), [])
        if ranges and ranges[-1][1] + 1 >= port.private_port:
            ranges[-1] = (ranges[-1][0], port.private_port)
        else:
            ranges.append((port.private_port, port.private_port))
    shown = []
    for (address, protocol), ranges in groups.items():
        host = f"[{address}]" if ":" in address else address
        for first, last in ranges:
            text = str(first) if first == last else f"{first}-{last}"
            shown.append(f"{host}:{text}->{text}/{protocol}" if host else f"{text}/{protocol}")
    return ", ".join([*shown, *lone])


def _address(port: Port) -> str:
    return port.ip if isinstance(port.ip, str) else ""


def _port_order(port: Port) -> tuple[int, str, int, str]:
    return port.private_port, _address(port), _number(port.public_port), port.type


def _size(it: ContainerSummary) -> str:
    own = decimal_size(_number(it.size_rw))
    whole = _number(it.size_root_fs)
    return f"{own} (virtual {decimal_size(whole)})" if whole > 0 else own


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _labels(it: ContainerSummary) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(it.labels.items()))


def listing(full: bool) -> Listing:
    """The list's fields; ``full`` shows ids, commands and mounts uncut."""

    def command(it: ContainerSummary) -> str:
        return quote(it.command if full else ellipsis(it.command, 20))

    def image(it: ContainerSummary) -> str:
        if not it.image:
            return "<no image>"
        digits = it.image.removeprefix("sha256:")
        is_id = digits == it.image_id.removeprefix("sha256:") and bool(digits)
        return digits[:12] if is_id and not full else it.image

    def mounts(it: ContainerSummary) -> str:
        names = [mount.name or mount.source for mount in it.mounts]
        return ",".join(name if full else ellipsis(name, 15) for name in names)

    fields: dict[str, Any] = {
        "ID": lambda it: it.id if full else it.id[:12],
        "Names": lambda it: ",".join(name.removeprefix("/") for name in it.names),
        "Image": image,
        "Command": command,
        "CreatedAt": lambda it: local_time(it.created),
        "RunningFor": lambda it: f"{duration(time.time() - it.created)} ago",
        "Platform": lambda it: None,
        "Ports": _ports,
        "State": lambda it: it.state,
        "Status": lambda it: it.status,
        "Size": _size,
        "Labels": _labels,
        "LocalVolumes": lambda it: str(sum(1 for mount in it.mounts if mount.driver == "local")),
        "Mounts": mounts,
        "Networks": lambda it: ",".join(sorted(it.network_settings.networks)),
    }
    headers = {
        "ID": "CONTAINER ID",
        "Names": "NAMES",
        "Image": "IMAGE",
        "Command": "COMMAND",
        "CreatedAt": "CREATED AT",
        "RunningFor": "CREATED",
        "Platform": "PLATFORM",
        "Ports": "PORTS",
        "State": "STATE",
        "Status": "STATUS",
        "Size": "SIZE",
        "Labels": "LABELS",
        "LocalVolumes": "LOCAL VOLUMES",
        "Mounts": "MOUNTS",
        "Networks": "NETWORKS",
    }
    return Listing(
        "*formatter.ContainerContext",
        fields=fields,
        headers=headers,
        columns=("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
        raw=[
            ("container_id", "ID"),
            ("image", "Image"),
            ("command", "Command"),
            ("created_at", "CreatedAt"),
            ("state", "State"),
            ("status", "Status"),
            ("names", "Names"),
            ("labels", "Labels"),
            ("ports", "Ports"),
        ],
        methods={"Label": lambda it, key: it.labels.get(key, "")},
    )


def _list(session: Session, values: Values, arguments: list[str]) -> int:
    """Print the containers in the form that the flags ask for."""
    limit = 1 if values["latest"] else values["last"]
    form = values["format"] or ""
    with_size = bool(values["size"] or ".Size" in form or form == "json" or "json ." in form)
    found = session.engine.containers.summaries(
        all=values["all"] or limit > 0,
        filters=[f"{name}={value}" for name, value in values["filter"]],
        limit=limit if limit > 0 else None,
        size=with_size and not values["quiet"],
    )
    shown = listing(values["no-trunc"])
    columns = [*shown.columns, "Size"] if values["size"] else shown.columns
    shown.show(found, values["format"], quiet=values["quiet"], columns=columns)
    return 0


LIST = Command(
    "[OPTIONS]",
    "List containers: the running ones, newest first.",
    [
        Flag("all", "bool", "List all containers, not only running ones", short="a"),
        Flag("filter", "filter", "Only those that match NAME=VALUE", short="f"),
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("last", "int", "List the N newest containers in any state", short="n", default=-1),
        Flag("latest", "bool", "List the newest container in any state", short="l"),
        Flag("no-trunc", "bool", "Show ids and commands uncut"),
        Flag("quiet", "bool", "Show ids only", short="q"),
        Flag("size", "bool", "Show sizes", short="s"),
    ],
    _list,
    maximum=0,
)
