"""``system prune``: what nothing uses, of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.engine import Engine
    from minidock.spec.docker_images import ImageDelete


class Pruned(Struct):
    """What :meth:`Engine.prune` has removed, and the bytes of all of it; names of networks and volumes, else ids."""

    containers_deleted: list[str]
    networks_deleted: list[str]
    volumes_deleted: list[str]
    images_deleted: list[ImageDelete]
    cache_deleted: list[str]
    space_reclaimed: int


def prune(engine: Engine, *, all: bool, volumes: bool, filters: Mapping[str, Any] | Sequence[str] | None) -> Pruned:
    """Remove it, in Docker's order: what only a container used goes with it. See :meth:`Engine.prune`."""
    from minidock.containers.filters import parse

    wanted = parse(filters, ("label", "label!", "until"))
    if volumes and "until" in wanted:
        raise InvalidArgument('the "until" filter is not supported with volumes')
    containers = engine.containers.prune(wanted)
    networks = engine.networks.prune(wanted)
    gone = engine.volumes.prune(filters=wanted) if volumes else None
    images = engine.images.prune(all=all, filters=wanted)
    # Afterwards: what an image has is not taken from the cache. Entries of it have no labels.
    labelled = "label" in wanted or "label!" in wanted
    cache = None if labelled else engine.builder.prune(all=all, filters=wanted)
    return Pruned(
        containers.containers_deleted or [],
        networks.networks_deleted or [],
        (gone.volumes_deleted or []) if gone else [],
        images.images_deleted or [],
        [] if cache is None else [entry.id for entry in cache.entries],
        containers.space_reclaimed
        + (gone.space_reclaimed if gone else 0)
        + images.space_reclaimed
        + (0 if cache is None else cache.space_reclaimed),
    )
