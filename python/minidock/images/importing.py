"""``import``: a root filesystem's tar becomes an image of one layer."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from minidock.errors import InvalidArgument, MinidockError
from minidock.images import changes as dockerfile
from minidock.images import content, platforms, reproducible, sources
from minidock.images.inspection import format_time
from minidock.images.layers import Unpacked, unpack
from minidock.spec import oci_image
from minidock.store.blobs import NewBlob
from minidock.store.images import ImageRow
from minidock.store.layers import NewLayer
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from minidock.images.references import Reference
    from minidock.store.store import Store

_MAX_CONFIG = 1 << 20
_encoder = msgspec.json.Encoder()


def import_image(
    store: Store,
    source: str | os.PathLike[str] | int | bytes | BinaryIO,
    target: Reference | None,
    *,
    changes: Sequence[str] = (),
    message: str | None = None,
    platform: str | None = None,
) -> ImageRow:
    """Unpack, write the configuration and the manifest, and move the tag; see :meth:`ImageCollection.import_`."""
    # All that can be wrong with the arguments is found before the first byte is read.
    where, config = checked(changes, message, platform)
    epoch = reproducible.source_date_epoch()
    _ = store.database
    with Workspace(store.paths, "import") as work, sources.opened(source) as stream:
        layer = work.join("layer")
        try:
            try:
                unpacked = unpack(stream.fd, layer)
            finally:
                stream.check()  # what failed before the unpacker explains what it says
        except MinidockError as error:
            raise type(error)(f"import {stream.name}: {error}") from error
        if epoch is not None:
            # Another tar of the same tree, in order and without later times, is another layer.
            layer = work.join("clamped")
            unpacked = reproducible.layer_of_tree(f"{work.join('layer')}/fs", layer, clamp=epoch)
        now = time.time_ns() if epoch is None else epoch * 10**9
        created = format_time(now)
        image = oci_image.ImageConfig(
            architecture=where.architecture,
            os=where.os,
            variant=where.variant,
            created=created,
            config=config,
            rootfs=oci_image.RootFS("layers", [unpacked.diff_id]),
            history=[oci_image.History(created=created, comment=message or f"Imported from {_printable(stream.name)}")],
        )
        return add_image(store, work, image, [(unpacked, layer)], target=target, now=now)


def checked(
    changes: Sequence[str], message: str | None, platform: str | None
) -> tuple[platforms.Platform, oci_image.ExecutionConfig]:
    """The platform of an image to make, and what Dockerfile instructions say of it. Raises InvalidArgument."""
    where = platforms.parse(platform)
    try:
        (message or "").encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"message {message!r}: not valid UTF-8") from error
    config = oci_image.ExecutionConfig()
    dockerfile.apply(config, changes)
    return where, config


def _printable(name: str) -> str:
    """A file's name as text that JSON can hold."""
    return name.encode("utf-8", "backslashreplace").decode()


def add_image(
    store: Store,
    work: Workspace,
    image: oci_image.ImageConfig,
    layers: Sequence[tuple[Unpacked, str]],
    *,
    target: Reference | None,
    now: int,
) -> ImageRow:
    """Write the documents of an image and add it to the store; ``layers`` are in ``work``, lowest first.

    ``now`` is its time of creation in nanoseconds since 1970.
    """
    document = _encoder.encode(image)
    if len(document) > _MAX_CONFIG:
        raise InvalidArgument(f"the image's configuration has {len(document)} bytes, more than {_MAX_CONFIG}")
    image_id, config_path = content.stage(work, document)
    manifest = oci_image.Manifest(
        schema_version=2,
        media_type=oci_image.MANIFEST,
        config=oci_image.Descriptor(oci_image.CONFIG, image_id, len(document)),
        layers=[oci_image.Descriptor(oci_image.LAYER, one.diff_id, one.tar_size) for one, _ in layers],
    )
    manifest_document = _encoder.encode(manifest)
    manifest_digest, manifest_path = content.stage(work, manifest_document)
    row = ImageRow(image_id, document, manifest_digest, sum(one.size for one, _ in layers), now // 10**9)
    store.images.add(
        row,
        [one.diff_id for one, _ in layers],
        layers=[NewLayer(one.diff_id, one.size, path, one.tar_size) for one, path in layers],
        blobs=[
            NewBlob(image_id, len(document), oci_image.CONFIG, config_path),
            NewBlob(manifest_digest, len(manifest_document), oci_image.MANIFEST, manifest_path),
        ],
        tag=None if target is None else target.canonical,
    )
    return row
