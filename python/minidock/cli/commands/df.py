"""``system df``."""

from __future__ import annotations

import time

from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing, Row
from minidock.cli.output import align, line, write
from minidock.cli.units import decimal_size, timestamp
from minidock.containers.status import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.spec.docker import ContainerSummary
    from minidock.spec.docker_system import DiskUsage

_RUNNING = ("running", "paused", "restarting")
_IMAGE = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
_CONTAINER = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
_VOLUME = ("Name", "Links", "Size")
_CACHE = ("ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared")


class Kind:
    """One line of the summary: how many there are, how many are in use, their bytes, and those not in use."""

    __slots__ = ("active", "reclaimable", "size", "title", "total")

    def __init__(self, title: str, total: int = 0, active: int = 0, size: int = 0, reclaimable: int = 0) -> None:
        self.title = title
        self.total = total
        self.active = active
        self.size = size
        self.reclaimable = reclaimable

    @property
    def share(self) -> str:
        """The reclaimable bytes, and how many percent of all they are."""
        text = decimal_size(self.reclaimable, 4)
        return f"{text} ({self.reclaimable * 100 // self.size}%)" if self.size > 0 else text


def _written(container: ContainerSummary) -> int:
    return container.size_rw if isinstance(container.size_rw, int) else 0


def kinds(usage: DiskUsage) -> list[Kind]:
    """The four lines of the summary."""
    active = [image for image in usage.images if image.containers > 0]
    used = sum(image.size - image.shared_size for image in active)
    images = Kind("Images", len(usage.images), len(active), usage.layers_size, usage.layers_size - used)
    sizes = [(it.state in _RUNNING, _written(it)) for it in usage.containers]
    containers = Kind(
        "Containers",
        len(sizes),
        sum(running for running, _ in sizes),
        sum(size for _, size in sizes),
        sum(size for running, size in sizes if not running),
    )
    counts = [it.usage_data for it in usage.volumes if it.usage_data]
    volumes = Kind(
        "Local Volumes",
        len(counts),
        sum(it.ref_count > 0 for it in counts),
        sum(it.size for it in counts),
        sum(it.size for it in counts if it.ref_count == 0),
    )
    cached = usage.build_cache
    cache = Kind(
        "Build Cache",
        len(cached),
        sum(it["InUse"] for it in cached),
        sum(it["Size"] for it in cached if not it["Shared"]),
        sum(it["Size"] for it in cached if not it["Shared"] and not it["InUse"]),
    )
    return [images, containers, volumes, cache]


def _summary() -> Listing:
    return Listing(
        "*formatter.diskUsageContext",
        fields={
            "Type": lambda it: it.title,
            "TotalCount": lambda it: str(it.total),
            "Active": lambda it: str(it.active),
            "Size": lambda it: decimal_size(it.size, 4),
            "Reclaimable": lambda it: it.share,
        },
        headers={
            "Type": "TYPE",
            "TotalCount": "TOTAL",
            "Active": "ACTIVE",
            "Size": "SIZE",
            "Reclaimable": "RECLAIMABLE",
        },
        columns=("Type", "TotalCount", "Active", "Size", "Reclaimable"),
        raw=[
            ("type", "Type"),
            ("total", "TotalCount"),
            ("active", "Active"),
            ("size", "Size"),
            ("reclaimable", "Reclaimable"),
        ],
    )


def _rows(usage: DiskUsage, full: bool) -> tuple[list[Row], list[Row], list[Row]]:
    """The images, each under its first name, the containers and the volumes."""
    from minidock.cli.commands import image_rows, ps, volume_list

    images = image_rows.listing(full, _IMAGE)
    shown = []
    for image in usage.images:
        first, *_ = [*image_rows.lines([image], digests=False)]
        first.digest = ""
        if not image.repo_tags:
            first.repository = image_rows.NONE
        shown.append(Row(first, images.fields, images.methods, images.template_type))
    containers = ps.listing(full)
    containers.fields["Size"] = lambda it: decimal_size(_written(it))
    volumes = volume_list.listing()
    return (
        shown,
        [Row(it, containers.fields, containers.methods, containers.template_type) for it in usage.containers],
        [Row(it, volumes.fields, volumes.methods, volumes.template_type) for it in usage.volumes],
    )


def _verbose(usage: DiskUsage) -> None:
    from minidock.cli.commands import image_rows, ps, volume_list

    images, containers, volumes = _rows(usage, full=False)
    parts = (
        ("Images space usage", image_rows.listing(full=False), _IMAGE, images),
        ("Containers space usage", ps.listing(full=False), _CONTAINER, containers),
        ("Local Volumes space usage", volume_list.listing(), _VOLUME, volumes),
    )
    for title, listing, columns, rows in parts:
        write(
            f"{title}:\n\n"
            + align([[listing.headers[name] for name in columns], *([row[n] for n in columns] for row in rows)])
            + "\n"
        )
    caches = _caches()
    rows = [Row(it, caches.fields, caches.methods, caches.template_type) for it in usage.build_cache]
    total = decimal_size(kinds(usage)[-1].size)
    table = align([[caches.headers[name] for name in _CACHE], *([row[name] for name in _CACHE] for row in rows)])
    write(f"Build cache usage: {total}\n\n{table}\n")


def _caches() -> Listing:
    """How entries of the build cache are listed."""
    return Listing(
        "*formatter.buildCacheContext",
        fields={
            "ID": lambda it: it["ID"][:12],
            "Parent": lambda _it: "",
            "CacheType": lambda it: it["Type"],
            "Description": lambda it: it["Description"],
            "InUse": lambda it: str(it["InUse"]).lower(),
            "Shared": lambda it: str(it["Shared"]).lower(),
            "Size": lambda it: decimal_size(it["Size"]),
            "CreatedAt": lambda it: it["CreatedAt"],
            "CreatedSince": lambda it: _since(it["CreatedAt"]),
            "LastUsedAt": lambda it: it["LastUsedAt"],
            "LastUsedSince": lambda it: _since(it["LastUsedAt"]),
            "UsageCount": lambda it: str(it["UsageCount"]),
        },
        headers={
            "ID": "CACHE ID",
            "CacheType": "CACHE TYPE",
            "Size": "SIZE",
            "CreatedSince": "CREATED",
            "LastUsedSince": "LAST USED",
            "UsageCount": "USAGE",
            "Shared": "SHARED",
        },
        columns=_CACHE,
        raw=[],
    )


def _since(text: str) -> str:
    return f"{duration(max(0.0, time.time() - timestamp(text)))} ago"


class _Whole:
    """What a template of ``--verbose`` runs on."""

    template_type = "*formatter.diskUsageContext"

    def __init__(self, usage: DiskUsage) -> None:
        images, containers, volumes = _rows(usage, full=True)
        caches = _caches()
        self._parts: dict[str, list[Row]] = {
            "Images": images,
            "Containers": containers,
            "Volumes": volumes,
            "BuildCache": [Row(it, caches.fields, caches.methods, caches.template_type) for it in usage.build_cache],
        }

    def template_field(self, name: str) -> list[Row]:
        return self._parts[name]

    def template_json(self) -> dict[str, list[Row]]:
        return self._parts


def _df(session: Session, values: Values, arguments: list[str]) -> int:
    """Print how much of the disk everything takes up."""
    usage = session.engine.df()
    form = values["format"]
    if not values["verbose"]:
        _summary().show(kinds(usage), form, quiet=False)
    elif not form or form == "table":
        _verbose(usage)
    else:
        from minidock.cli.gotemplate import TemplateError, parse

        try:
            line(parse("{{json .}}" if form == "json" else form).render(_Whole(usage)))
        except TemplateError as error:
            raise TemplateError(f"template parsing error: {error}") from None
    return 0


DF = Command(
    "[OPTIONS]",
    "Show how much of the disk images, containers and volumes take up, and how much of it nothing uses.",
    [
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("verbose", "bool", "Show each image, container and volume", short="v"),
    ],
    _df,
    maximum=0,
)
