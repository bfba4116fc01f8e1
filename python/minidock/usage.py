"""How much of the disk everything takes up: ``system df``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from minidock.spec.docker_system import DiskUsage

if TYPE_CHECKING:
    from minidock.build.cache import Entry
    from minidock.engine import Engine


def df(engine: Engine) -> DiskUsage:
    """What ``GET /system/df`` returns; see :meth:`Engine.df`."""
    from minidock.images import usage

    containers = [container.summary(size=True) for container in engine.containers.list(all=True)]
    users = Counter(container.image_id for container in containers)
    images = engine.images.summaries()
    # Afterwards: the built-in image may have been made just now.
    sizes = usage.of_images(engine.store)
    for image in images:
        size = sizes.get(image.id)
        if size is not None:
            image.size, image.shared_size = size.size, size.shared
        image.containers = users[image.id]
    cache = engine.builder.entries()
    # Layers that only the cache has are counted there.
    alone = sum(entry.size for entry in cache if entry.type == "regular" and not entry.shared)
    return DiskUsage(
        layers_size=usage.total(engine.store) - alone,
        images=images,
        containers=containers,
        volumes=engine.volumes.usage(),
        build_cache=[_cached(entry) for entry in cache],
    )


def _cached(entry: Entry) -> dict[str, Any]:
    """One entry of the build cache as Docker's API has it."""
    from minidock.images.inspection import format_time

    return {
        "ID": entry.id,
        "Type": entry.type,
        "Description": entry.description,
        "InUse": entry.in_use,
        "Shared": entry.shared,
        "Size": entry.size,
        "CreatedAt": format_time(entry.created * 10**9),
        "LastUsedAt": format_time(entry.last_used * 10**9),
        "UsageCount": entry.uses,
    }
