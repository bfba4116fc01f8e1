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
    from collections.abc import Mapping, Sequence

    from minidock.spec.oci_image import ImageConfig
    from minidock.store.layers import LayerRow
    from minidock.store.store import Store
    from minidock.store.workspace import Workspace

_encode = msgspec.json.Encoder().encode


def publish(
    store: Store,
    work: Workspace,
    image: ImageConfig,
    layers: Sequence[LayerRow],
    *,
    tags: Sequence[str],
    created: int,
    annotations: Mapping[str, str] | None = None,
) -> ImageRow:
    """Add the image unless it is there, and give it its canonical names; ``created`` in seconds since 1970.

    ``annotations`` are in a manifest of the build's own, which its names stand for and the returned row has: the same
    image under another name knows nothing of them.
    """
    document = _encode(image)
    image_id = content.digest_of(document)
    row = store.images.by_id(image_id)
    if row is None or row.hidden or not store.images.is_whole(image_id):
        row = _add(store, work, document, layers, created)
        announce(store, "create", row)
    target = None
    if annotations:
        target = _annotated(store, work, document, layers, annotations)
        row = msgspec.structs.replace(row, manifest=target)
    for tag in tags:
        if _has(store, tag, image_id, target):
            continue
        store.names.set_tag(tag, image_id, target)
        with contextlib.suppress(MinidockError):
            announce(store, "tag", row, references.from_canonical(tag).familiar)
    return row


def _has(store: Store, tag: str, image_id: str, target: str | None) -> bool:
    """Whether the name stands for this image in this form, and for nothing more."""
    known = store.names.get(tag)
    if known is None or known.image_id != image_id or known.target != target:
        return False
    return store.names.images(tag) == [image_id]


def _add(store: Store, work: Workspace, document: bytes, layers: Sequence[LayerRow], created: int) -> ImageRow:
    image_id, path = content.stage(work, document)
    config = NewBlob(image_id, len(document), oci_image.CONFIG, path)
    manifest, blobs = _manifest(store, work, document, layers, {})
    row = ImageRow(image_id, document, manifest.digest, 0, created)
    blobs = list({blob.digest: blob for blob in (config, *blobs, manifest)}.values())
    store.images.add(row, [layer.diff_id for layer in layers], blobs=blobs)
    return store.images.by_id(image_id) or row


def _annotated(
    store: Store, work: Workspace, document: bytes, layers: Sequence[LayerRow], annotations: Mapping[str, str]
) -> str:
    """Give an image another manifest; returns its digest."""
    manifest, blobs = _manifest(store, work, document, layers, annotations)
    if not store.blobs.is_kept(manifest.digest):
        store.images.add_blobs(content.digest_of(document), [*blobs, manifest])
    return manifest.digest


def _manifest(
    store: Store, work: Workspace, document: bytes, layers: Sequence[LayerRow], annotations: Mapping[str, str]
) -> tuple[NewBlob, list[NewBlob]]:
    """A manifest for a configuration, and the layers that it names, in the form in which they travel best."""
    from minidock.images.writing import descriptor

    descriptors = [descriptor(store, layer) for layer in layers]
    blobs = {
        one.digest: NewBlob(one.digest, one.size, one.media_type, None, layer.diff_id)
        for one, layer in zip(descriptors, layers, strict=True)
    }
    data = _encode(
        oci_image.Manifest(
            schema_version=2,
            media_type=oci_image.MANIFEST,
            config=oci_image.Descriptor(oci_image.CONFIG, content.digest_of(document), len(document)),
            layers=descriptors,
            annotations=dict(sorted(annotations.items())),
        )
    )
    digest, path = content.stage(work, data)
    return NewBlob(digest, len(data), oci_image.MANIFEST, path), list(blobs.values())
