"""``export``: a container's root filesystem as a plain tar, without what is mounted in it while it runs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minidock import _native
from minidock._errors import translate
from minidock.errors import Unsupported
from minidock.store.failures import translated
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record

_MOUNT_POINT = 4
"""The field of a line of mountinfo."""


def write(lifecycle: Lifecycle, container_id: str, fd: int) -> None:
    """Write the tar to a descriptor; see :meth:`Container.export`."""
    record, _ = lifecycle.settle(lifecycle.store.containers.get(container_id))
    with _tree(lifecycle, record) as (tree, idmap):
        try:
            _native.tar_tree(tree, fd, idmap=idmap, top=False)
        except _native.NativeError as error:
            failure = translate(error)
            raise type(failure)(f"export container {record.id[:12]}: {failure}") from error
        lifecycle.store.containers.get(record.id)  # of one that is removed meanwhile, files would be missing
    lifecycle.emit(record, "export")


@contextmanager
def _tree(lifecycle: Lifecycle, record: Record) -> Iterator[tuple[str | int, Any]]:
    """The merged tree, as a path or a descriptor, and the id map by which its owners are shifted."""
    snapshot = record.snapshot
    idmap = snapshot.get("idmap")
    if snapshot["type"] == "directory":
        yield snapshot["path"], {"uid": record.uid_map, "gid": record.gid_map} if record.uid_map else None
        return
    if snapshot["type"] == "host":
        lower = [snapshot["path"]]
        require_plain(record, snapshot, "export")
    else:
        lower = list(snapshot["lower"])
    if idmap is not None:
        # Layers have the image's owners and the writable layer has shifted ones: only a copy has them all alike.
        with Workspace(lifecycle.paths, "export") as work:
            yield _copied(work, snapshot["upper"], lower, idmap), idmap
        return
    try:
        mount = _native.OverlayMount([snapshot["upper"], *lower])
    except _native.NativeError as error:
        raise translate(error) from error
    with mount:
        yield mount.fd, None


def require_plain(record: Record, snapshot: dict[str, Any], verb: str) -> None:
    """Refuse a directory of the host whose parts are in many places, some of them gone with the container."""
    path = snapshot["path"]
    below = path.rstrip("/") + "/"
    with translated("read", "/proc/self/mountinfo"):
        fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(fd, encoding="utf-8", errors="surrogateescape") as file:
            points = [line.split(" ")[_MOUNT_POINT] for line in file]
    if snapshot.get("mask") or any(point.startswith(below) and point != path for point in points):
        raise Unsupported(
            f"{verb} container {record.id[:12]}: its root filesystem is {path} of the host with all that is mounted "
            f"there, and no single tree: minidock image from-rootfs {path} NAME"
        )


def _copied(work: Workspace, upper: str, lower: list[str], idmap: Any) -> str:
    from minidock.snapshots.copies import copy_layers

    root = work.join("fs")
    with translated("make", root):
        os.mkdir(root, 0o700)
    copy_layers(lower, root, idmap)
    copy_layers([upper], root, None)
    return root
