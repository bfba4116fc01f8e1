"""``image inspect`` and ``image history``."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from msgspec import UNSET

from minidock.spec.docker import GraphDriver
from minidock.spec.docker_images import ImageConfigBody, ImageHistory, ImageInspect, ImageMetadata, ImageRootFS

if TYPE_CHECKING:
    from minidock.images.image import Image
    from minidock.spec.oci_image import ExecutionConfig
    from minidock.store.store import Store


def inspect(store: Store, image: Image) -> ImageInspect:
    """What ``GET /images/{name}/json`` returns."""
    config = image.config
    tags = store.names.tags(image.id)
    layers = [f"{store.paths.layer(number)}/fs" for number in store.images.layers(image.id)]
    data = {}
    if layers:
        data["UpperDir"] = layers[-1]
        if len(layers) > 1:
            data["LowerDir"] = ":".join(reversed(layers[:-1]))
    inspected = ImageInspect(
        id=image.id,
        repo_tags=image.tags,
        repo_digests=image.repo_digests,
        parent=config.parent,
        comment=config.comment or (config.history[-1].comment if config.history else ""),
        created=config.created or UNSET,
        docker_version=config.docker_version,
        author=config.author,
        config=_config_body(image.defaults),
        architecture=config.architecture,
        variant=config.variant or UNSET,
        os=config.os,
        os_version=config.os_version or UNSET,
        size=image.size,
        graph_driver=GraphDriver("overlay2", data or None),
        root_fs=ImageRootFS("layers", list(config.rootfs.diff_ids) or UNSET),
    )
    if tags:
        inspected.metadata = ImageMetadata(format_time(max(tag.tagged for tag in tags)))
    return inspected


def history(store: Store, image: Image) -> list[ImageHistory]:
    """What ``GET /images/{name}/history`` returns: the newest entry first, with the image's id and names."""
    sizes = iter(store.images.layer_sizes(image.id))
    entries = [
        ImageHistory(
            id="<missing>",
            created=seconds(entry.created),
            created_by=entry.created_by,
            tags=None,
            size=0 if entry.empty_layer else next(sizes, 0),
            comment=entry.comment,
        )
        for entry in image.config.history or ()
    ]
    entries.reverse()
    if entries:
        entries[0].id = image.id
        entries[0].tags = image.tags or None
    return entries


def format_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nanoseconds, as Docker prints times."""
    whole, rest = divmod(nanoseconds, 10**9)
    moment = datetime.datetime.fromtimestamp(whole, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def seconds(text: str | None) -> int:
    """Seconds since 1970 of an RFC 3339 time; 0 for none, or for what is no time."""
    if not text:
        return 0
    # Python knows microseconds only.
    head, dot, tail = text.partition(".")
    zone = tail.lstrip("0123456789") if dot else ""
    try:
        moment = datetime.datetime.fromisoformat(head + zone if dot else text)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp())


def _config_body(defaults: ExecutionConfig) -> ImageConfigBody:
    return ImageConfigBody(
        user=defaults.user,
        exposed_ports=defaults.exposed_ports,
        env=defaults.env,
        cmd=defaults.cmd,
        healthcheck=defaults.healthcheck,
        args_escaped=defaults.args_escaped,
        volumes=defaults.volumes,
        working_dir=defaults.working_dir,
        entrypoint=defaults.entrypoint,
        on_build=defaults.on_build,
        labels=defaults.labels,
        stop_signal=defaults.stop_signal,
        shell=defaults.shell,
    )
