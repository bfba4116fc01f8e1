"""``diff``: the files that a container has added, changed or deleted."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from minidock import _native
from minidock._errors import translate

if TYPE_CHECKING:
    from minidock.containers.lifecycle import Lifecycle


class ChangeKind(enum.IntEnum):
    """Docker's numbers."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    """One path that differs from the image's. A directory is among them when something in it is."""

    path: str
    kind: ChangeKind

    def __str__(self) -> str:
        return f"{'CAD'[self.kind]} {self.path}"


def changes(lifecycle: Lifecycle, container_id: str) -> list[Change]:
    """See :meth:`Container.diff`."""
    record, _ = lifecycle.settle(lifecycle.store.containers.get(container_id))
    snapshot = record.snapshot
    kind = snapshot["type"]
    if kind == "host":
        from minidock.containers.exporting import require_plain

        require_plain(record, snapshot, "diff")
        layers = [snapshot["path"]]
    elif kind == "directory":
        numbers = lifecycle.store.images.layers(record.image)
        layers = [f"{lifecycle.paths.layer(number)}/fs" for number in reversed(numbers)]
    else:
        layers = list(snapshot["lower"])
    whole = kind == "directory"
    idmap = {"uid": record.uid_map, "gid": record.gid_map} if record.uid_map else None
    try:
        found = _native.tree_changes(snapshot["path"] if whole else snapshot["upper"], layers, whole=whole, idmap=idmap)
    except _native.NativeError as error:
        failure = translate(error)
        raise type(failure)(f"diff container {record.id[:12]}: {failure}") from error
    lifecycle.store.containers.get(record.id)  # of one that is removed meanwhile, files would be missing
    return [Change(path, ChangeKind(number)) for path, number in found]
