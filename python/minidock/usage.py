"""How much of the disk everything takes up: ``system df``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from minidock.spec.docker_system import DiskUsage

if TYPE_CHECKING:
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
    return DiskUsage(
        layers_size=usage.total(engine.store), images=images, containers=containers, volumes=engine.volumes.usage()
    )
