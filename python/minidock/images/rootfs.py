"""``image from-rootfs``: a directory of the host, or all of ``/``, becomes an image of one layer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from minidock.errors import Conflict, InvalidArgument, NotFound
from minidock.images import rootfs_tar
from minidock.images.importing import add_image, checked
from minidock.images.inspection import format_time
from minidock.images.reproducible import layer_of, source_date_epoch
from minidock.spec import oci_image
from minidock.store.failures import from_os, translated
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from minidock.engine import Engine
    from minidock.images.layers import Unpacked
    from minidock.images.references import Reference
    from minidock.store.images import ImageRow

_ATTEMPTS = 3


def from_rootfs(
    engine: Engine,
    directory: str | os.PathLike[str],
    target: Reference | None,
    *,
    exclude: Iterable[str] = (),
    changes: Sequence[str] = (),
    message: str | None = None,
    platform: str | None = None,
) -> ImageRow:
    """Make the image; see :meth:`ImageCollection.from_rootfs`."""
    where, config = checked(changes, message, platform)
    excluded = rootfs_tar.matcher(exclude)
    epoch = source_date_epoch()
    store = engine.store
    _ = store.database
    own = [os.path.realpath(path) for path in (store.paths.data, store.paths.run)]
    top = _real(directory, own)
    left_out = {os.fsencode(os.path.relpath(path, top)) for path in own if _below(path, top)}

    def skip(path: bytes) -> bool:
        return path in left_out or excluded(path)

    with Workspace(store.paths, "rootfs") as work:
        layer, written = _layer(top, work, skip, epoch)
        now = time.time_ns() if epoch is None else epoch * 10**9
        created = format_time(now)
        name = top.encode("utf-8", "backslashreplace").decode()
        image = oci_image.ImageConfig(
            architecture=where.architecture,
            os=where.os,
            variant=where.variant,
            created=created,
            config=config,
            rootfs=oci_image.RootFS("layers", [written.diff_id]),
            history=[oci_image.History(created=created, comment=message or f"Snapshot of {name}")],
        )
        return add_image(store, work, image, [(written, layer)], target=target, now=now)


def _layer(top: str, work: Workspace, skip: rootfs_tar.Skip, epoch: int | None) -> tuple[str, Unpacked]:
    """Write the tree, again when a file became shorter or another while it was read."""
    changed = ""
    for attempt in range(_ATTEMPTS):
        layer = work.join(f"layer-{attempt}")
        with translated("read", "/proc/self/mountinfo"):
            mounts = frozenset(
                os.fsencode(os.path.relpath(os.fsdecode(point), top))
                for point in rootfs_tar.mount_points()
                if _below(os.fsdecode(point), top)
            )
        try:
            return layer, layer_of(
                lambda fd: rootfs_tar.Writer(top, fd, skip=skip, mounts=mounts, clamp=epoch).run(),  # noqa: B023
                layer,
            )
        except rootfs_tar.Changed as error:
            changed = str(error)
    raise Conflict(f"from-rootfs {top}: {changed} changes while it is read, {_ATTEMPTS} times; exclude it")


def _real(directory: str | os.PathLike[str], own: Sequence[str]) -> str:
    name = os.fspath(directory)
    try:
        top = os.path.realpath(name, strict=True)
    except FileNotFoundError as error:
        raise NotFound(f"from-rootfs {name}: no such directory") from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            raise from_os(error, "from-rootfs", name) from error
        raise InvalidArgument(f"from-rootfs {name!r}: {error}") from error
    if not os.path.isdir(top):
        raise InvalidArgument(f"from-rootfs {name}: not a directory; a tar is imported: minidock import {name}")
    if top in own:
        raise InvalidArgument(f"from-rootfs {name}: is minidock's own directory")
    return top


def _below(path: str, top: str) -> bool:
    """Whether ``path`` is below ``top``, and not ``top`` itself."""
    return path != top and (top == "/" or path.startswith(top + "/"))
