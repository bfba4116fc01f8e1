"""What the store has of a reference already. Light, because a pull with nothing new asks nothing else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from minidock.images import platforms
from minidock.images.platforms import Platform
from minidock.spec import decoding

if TYPE_CHECKING:
    from minidock.images.references import Reference
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.images import ImageRow
    from minidock.store.store import Store

_MAX_NESTING = 4


def find(store: Store, reference: Reference, platform: Platform | None) -> tuple[ImageRow, str] | None:
    """The image of a tag or digest for a platform, and the digest that registries knew it under when it came.

    Without a platform the host's, or that of a manifest that is in no index. None: nothing that could still be what a
    registry has, or something of it was lost.
    """
    names = store.names
    if reference.digest is not None:
        known: str | None = reference.digest
        images = names.by_digest(reference.name, reference.digest)
    else:
        tag = names.get(reference.canonical)
        known = tag.target if tag is not None and tag.target and store.blobs.is_kept(tag.target) else None
        images = names.images(reference.canonical) if known is not None else []
    if known is None:
        return None
    rows = [row for row in map(store.images.by_id, images) if row is not None and not row.hidden]
    rows = [row for row in rows if store.images.is_whole(row.id)]
    wanted = platform or platforms.host()
    for row in rows:
        if wanted.rank(platform_of(row)) == 0:
            return row, known
    chosen = _chosen(store, known, wanted, strict=platform is not None) if rows else None
    return next(((row, known) for row in rows if row.id == chosen), None)


def _chosen(store: Store, digest: str, wanted: Platform, *, strict: bool) -> str | None:
    """The image that a manifest or index of the store comes to for a platform that none fits exactly.

    A manifest alone is for any platform, unless ``strict``.
    """
    from minidock.errors import MinidockError
    from minidock.images import content, manifests
    from minidock.spec.oci_image import Manifest

    with contextlib.suppress(MinidockError):
        for _ in range(_MAX_NESTING):
            data = content.read(store.paths, digest)
            parsed = manifests.parse(manifests.media_type_of(data), data)
            if isinstance(parsed, Manifest):
                row = store.images.by_id(parsed.config.digest)
                fits = row is not None and (not strict or wanted.accepts(platform_of(row)))
                return parsed.config.digest if fits else None
            digest, strict = manifests.choose(parsed, wanted, digest).digest, False
    return None


def config_of(row: ImageRow) -> ImageConfig:
    """An image's configuration. Raises Corrupt when it is none."""
    import msgspec

    from minidock.errors import Corrupt, MinidockError
    from minidock.spec.oci_image import ImageConfig

    try:
        try:
            return decoding.decode(row.config, ImageConfig)
        except msgspec.ValidationError:
            from minidock.images import manifests

            return manifests.parse_config(row.config)  # which also takes Go's null for an empty list
    except (msgspec.DecodeError, UnicodeDecodeError, MinidockError) as error:
        raise Corrupt(f"read the configuration of image {row.id}: {error}") from error


def platform_of(row: ImageRow) -> Platform:
    """The platform that an image's configuration names."""
    config = config_of(row)
    return Platform(config.os or "linux", config.architecture, config.variant)
