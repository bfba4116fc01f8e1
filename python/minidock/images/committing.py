"""``commit``: what a container has written becomes one more layer over its image."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from minidock.containers.stillness import still
from minidock.errors import Corrupt, InvalidArgument, Unsupported
from minidock.images import changes as dockerfile
from minidock.images import content, manifests, reproducible, upper
from minidock.images.announcing import announce
from minidock.images.inspection import format_time
from minidock.images.writing import descriptor
from minidock.spec import oci_image
from minidock.spec.oci_image import Descriptor
from minidock.store.blobs import NewBlob
from minidock.store.images import ImageRow
from minidock.store.layers import NewLayer
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.images.layers import Unpacked
    from minidock.images.references import Reference
    from minidock.spec.docker import ContainerConfig
    from minidock.store.layers import LayerRow
    from minidock.store.store import Store

_encoder = msgspec.json.Encoder()


def commit(
    lifecycle: Lifecycle,
    container_id: str,
    target: Reference | None,
    *,
    message: str,
    author: str,
    changes: Sequence[str],
    pause: bool,
    given: oci_image.ExecutionConfig | None = None,
) -> ImageRow:
    """Make an image of a container; see :meth:`Container.commit`. ``given`` counts over its configuration."""
    for what, text in (("message", message), ("author", author)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{what} {text!r}: not valid UTF-8") from error
    with still(lifecycle, container_id, pause=pause) as record:
        config = _defaults(record.config)
        if given is not None:
            dockerfile.overlay(config, given)
        return _commit(lifecycle, _committable(record), target, message, author, config, changes)


def _commit(  # noqa: PLR0917 - all of what an image is
    lifecycle: Lifecycle,
    record: Record,
    target: Reference | None,
    message: str,
    author: str,
    config: oci_image.ExecutionConfig,
    changes: Sequence[str],
) -> ImageRow:
    store = lifecycle.store
    dockerfile.apply(config, changes)
    _complete(config, record.config)
    epoch = reproducible.source_date_epoch()
    now = time.time_ns() if epoch is None else min(time.time_ns(), epoch * 10**9)
    with Workspace(store.paths, "commit") as work:
        base = store.images.by_id(record.image)
        if base is None:
            raise Corrupt(f"commit container {record.id[:12]}: its image {record.image} is lost")
        image = manifests.parse_config(base.config)
        layers = store.layers.of_image(base.id)
        try:
            store.layers.lease(work, [layer.diff_id for layer in layers])
            made = _layer(store, record, layers, work.join("layer"), epoch)
            created = format_time(now)
            history = [
                *(image.history or ()),
                oci_image.History(
                    created=created,
                    created_by=" ".join(record.config.cmd or ()),
                    author=author,
                    comment=message,
                    empty_layer=made is None,
                ),
            ]
            document = _encoder.encode(
                oci_image.ImageConfig(
                    architecture=image.architecture,
                    os=image.os or "linux",
                    variant=image.variant,
                    os_version=image.os_version,
                    os_features=image.os_features,
                    author=author,
                    comment=message,
                    created=created,
                    config=config,
                    history=history,
                    rootfs=oci_image.RootFS(
                        "layers", [*image.rootfs.diff_ids, *([] if made is None else [made.diff_id])]
                    ),
                )
            )
            row = _publish(lifecycle, work, record, document, layers, made, target, now)
            announce(store, "create", row)
            if target is not None:
                announce(store, "tag", row, target.familiar)
            name = "" if target is None else target.familiar
            lifecycle.emit(record, "commit", comment=message, imageID=row.id, imageRef=name)
            return row
        finally:
            store.layers.release(work)


def _committable(record: Record) -> Record:
    """The record of a container that has an image, and a writable layer of its own over it."""
    short = record.id[:12]
    if not record.image:
        raise Unsupported(
            f"commit container {short}: it was made from a directory of the host, not from an image: "
            f"minidock export {short} | minidock import - NAME"
        )
    if record.snapshot.get("type") != "overlay":
        raise Unsupported(
            f"commit container {short}: its files are a plain copy, as overlayfs was not used, and what it has changed "
            f"is not known: minidock export {short} | minidock import - NAME"
        )
    return record


def _defaults(config: ContainerConfig) -> oci_image.ExecutionConfig:
    """A container's configuration as that of an image; what belongs to one run only is left out."""

    def known(value: Any, missing: Any) -> Any:
        return missing if value is UNSET else value

    return oci_image.ExecutionConfig(
        user=config.user,
        exposed_ports=dict(known(config.exposed_ports, None) or {}) or None,
        env=list(config.env or ()) or None,
        entrypoint=list(config.entrypoint or ()) or None,
        cmd=list(config.cmd or ()) or None,
        volumes=dict(config.volumes or {}) or None,
        working_dir=config.working_dir,
        labels=dict(config.labels or {}) or None,
        stop_signal=known(config.stop_signal, ""),
        healthcheck=known(config.healthcheck, None),
        on_build=list(config.on_build or ()) or None,
        shell=list(known(config.shell, None) or ()) or None,
        args_escaped=known(config.args_escaped, False),
    )


def _complete(config: oci_image.ExecutionConfig, container: ContainerConfig) -> None:
    """Give back what changes have emptied: as in Docker, only a new entrypoint lets an image have no command.

    An entrypoint that is empty, not None, was taken away on purpose.
    """
    if config.entrypoint:
        return
    config.entrypoint = (list(container.entrypoint or ()) or None) if config.entrypoint is None else None
    config.cmd = config.cmd or list(container.cmd or ()) or None


def _layer(
    store: Store, record: Record, layers: Sequence[LayerRow], directory: str, epoch: int | None
) -> Unpacked | None:
    """Make a layer of what the container has written; None when that is nothing."""
    below = [store.paths.layer(layer.id) + "/fs" for layer in reversed(layers)]
    return upper.layer_of_upper(
        record.snapshot["upper"], below, directory, idmap=record.snapshot.get("idmap"), clamp=epoch
    )


def _publish(  # noqa: PLR0917 - all of what an image is
    lifecycle: Lifecycle,
    work: Workspace,
    record: Record,
    document: bytes,
    below: Sequence[LayerRow],
    made: Unpacked | None,
    target: Reference | None,
    now: int,
) -> ImageRow:
    """Add the image."""
    store = lifecycle.store
    image_id, config_path = content.stage(work, document)
    blobs = [NewBlob(image_id, len(document), oci_image.CONFIG, config_path)]
    descriptors = []
    for layer in below:
        one = descriptor(store, layer)
        descriptors.append(one)
        blobs.append(NewBlob(one.digest, one.size, one.media_type, None, layer.diff_id))
    if made is not None:
        descriptors.append(Descriptor(oci_image.LAYER, made.diff_id, made.tar_size))
    manifest = _encoder.encode(
        oci_image.Manifest(
            schema_version=2,
            media_type=oci_image.MANIFEST,
            config=Descriptor(oci_image.CONFIG, image_id, len(document)),
            layers=descriptors,
        )
    )
    digest, path = content.stage(work, manifest)
    blobs.append(NewBlob(digest, len(manifest), oci_image.MANIFEST, path))
    row = ImageRow(image_id, document, digest, 0, now // 10**9)
    with store.database.transaction():
        store.containers.get(record.id)  # of one that is removed meanwhile, files would be missing
        store.images.add(
            row,
            [*(layer.diff_id for layer in below), *([] if made is None else [made.diff_id])],
            layers=[] if made is None else [NewLayer(made.diff_id, made.size, work.join("layer"), made.tar_size)],
            blobs=list({blob.digest: blob for blob in blobs}.values()),
            tag=None if target is None else target.canonical,
        )
    return row
