"""Docker Engine API 1.51 bodies about the engine as a whole."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from minidock.spec.docker import ContainerSummary
from minidock.spec.docker_images import ImageSummary
from minidock.spec.docker_volume import VolumeInspect


class DiskUsage(Struct, rename="pascal"):
    """``GET /system/df``; sizes in bytes. ``layers_size`` is all that is kept of images, each thing once."""

    layers_size: int = 0
    images: list[ImageSummary] = field(default_factory=list)
    containers: list[ContainerSummary] = field(default_factory=list)
    volumes: list[VolumeInspect] = field(default_factory=list)
    build_cache: list[dict[str, Any]] = field(default_factory=list)


class ContainersPruned(Struct, rename="pascal"):
    """Answer of ``POST /containers/prune``; nothing removed is null."""

    containers_deleted: list[str] | None = None
    space_reclaimed: int = 0
