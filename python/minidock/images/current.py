"""What the store has of a reference already. Light, because a pull with nothing new asks nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.images import platforms
from minidock.images.platforms import Platform
from minidock.spec import decoding

if TYPE_CHECKING:
    from minidock.images.references import Reference
    from minidock.store.images import ImageRow
    from minidock.store.store import Store


def find(store: Store, reference: Reference, platform: Platform | None) -> tuple[ImageRow, str] | None:
    """The image of a tag or digest for a platform, and the digest that registries knew it under when it came.

    Without a platform the host's, or the only image there is. None: nothing that could still be what a registry has.
    """
    names = store.names
    if reference.digest is not None:
        known: str | None = reference.digest
        images = names.by_digest(reference.name, reference.digest)
    else:
        tag = names.get(reference.canonical)
        known = None if tag is None else tag.target
        images = names.images(reference.canonical) if known is not None else []
    if known is None:
        return None
    wanted = platform or platforms.host()
    for image_id in images:
        row = store.images.by_id(image_id)
        if row is not None and not row.hidden and (_any(platform, images) or wanted.rank(platform_of(row)) == 0):
            return row, known
    return None


def _any(platform: Platform | None, images: list[str]) -> bool:
    return platform is None and len(images) == 1


def platform_of(row: ImageRow) -> Platform:
    """The platform that an image's configuration names."""
    from minidock.spec.oci_image import ImageConfig

    config = decoding.decode(row.config, ImageConfig)
    return Platform(config.os or "linux", config.architecture, config.variant)
