"""The end of a build: layers and configuration become an image with names."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from minidock.errors import MinidockError
from minidock.images import content, references
from minidock.images.announcing import announce
from minidock.spec import oci_image
from minidock.store.blobs import NewBlob
from minidock.store.images import ImageRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.spec.oci_image import ImageConfig
    from minidock.store.layers import LayerRow
    from minidock.store.store import Store
    from minidock.store.workspace import Workspace

_encode = msgspec.json.Encoder().encode


def publish(
    store: Store, work: Workspace, image: ImageConfig, layers: Sequence[LayerRow], *, tags: Sequence[str], created: int
) -> ImageRow:
    """Add the image unless it is there, and give it its canonical names; ``created`` in seconds since 1970."""
    document = _encode(image)
    image_id = content.digest_of(document)
    row = store.images.by_id(image_id)
    if row is None or row.hidden or not store.images.is_whole(image_id):
        row = _add(store, work, document, layers, created)
        announce(store, "create", row)
    for tag in tags:
        if _has(store, tag, image_id):
            continue
        store.names.set_tag(tag, image_id)
        with contextlib.suppress(MinidockError):
            announce(store, "tag", row, references.from_canonical(tag).familiar)
    return row


def _has(store: Store, tag: str, image_id: str) -> bool:
    """Whether the name stands for this image, and for nothing more."""
    known = store.names.get(tag)
    if known is None or known.image_id != image_id or known.target is not None:
        return False
    return store.names.images(tag) == [image_id]


def _add(store: Store, work: Workspace, document: bytes, layers: Sequence[LayerRow], created: int) -> ImageRow:
    from minidock.images.writing import descriptor

    image_id, path = content.stage(work, document)
    blobs = [NewBlob(image_id, len(document), oci_image.CONFIG, path)]
    descriptors = []
    for layer in layers:
        one = descriptor(store, layer)
        descriptors.append(one)
        blobs.append(NewBlob(one.digest, one.size, one.media_type, None, layer.diff_id))
    manifest = _encode(
        oci_image.Manifest(
            schema_version=2,
            media_type=oci_image.MANIFEST,
            config=oci_image.Descriptor(oci_image.CONFIG, image_id, len(document)),
            layers=descriptors,
        )
    )
    digest, path = content.stage(work, manifest)
    blobs.append(NewBlob(digest, len(manifest), oci_image.MANIFEST, path))
    row = ImageRow(image_id, document, digest, 0, created)
    store.images.add(
        row, [layer.diff_id for layer in layers], blobs=list({blob.digest: blob for blob in blobs}.values())
    )
    return store.images.by_id(image_id) or row
