"""Options of the image, of the root filesystem, and of what is mounted in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from minidock.containers.draft.base import Draft, Handler, flag, one_or_more, text
from minidock.containers.parse import sizes
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.containers.record import Point


def _platform(draft: Draft, value: object) -> None:
    draft.platform = text(value) or None


def _pull(draft: Draft, value: object) -> None:
    if value not in ("always", "missing", "never"):
        raise InvalidArgument(f'invalid pull option: "{text(value)}": must be one of "always", "missing" or "never"')
    draft.pull = text(value)


def _rootfs(draft: Draft, value: object) -> None:
    path = os.path.abspath(text(os.fspath(value)))  # type: ignore[call-overload]
    if not os.path.isdir(path):
        reason = "not a directory" if os.path.exists(path) else "no such directory"
        raise InvalidArgument(f"{path}: {reason}")
    draft.rootfs = path


def _read_only(draft: Draft, value: object) -> None:
    draft.host_config.readonly_rootfs = flag(value)


def _storage_opt(draft: Draft, value: Any) -> None:
    for key, limit in value.items():
        if text(key) != "size":
            raise InvalidArgument(f"unknown option {key}")
        if sizes.size(text(limit)) == 0:
            raise InvalidArgument(f"storage option size: '{limit}': it must be more than nothing")
    draft.host_config.storage_opt = dict(value) or None


def _volumes(draft: Draft, value: Any) -> None:
    from minidock.containers.mounts import points
    from minidock.containers.mounts.python import volume_texts
    from minidock.containers.parse import mounts

    binds: dict[str, Point] = {}
    for entry in volume_texts(value):
        spec = mounts.split(text(entry))
        if spec.source:
            bind = mounts.absolute(entry)
            if bind not in binds:
                binds[bind] = points.bind(bind)
        else:
            mounts.check_proc(mounts.destination(spec.destination), bind=False)
            draft.config.volumes = {**(draft.config.volumes or {}), spec.destination: {}}
    draft.host_config.binds = list(binds) or None
    draft.points = [*binds.values(), *draft.points]


def _mounts(draft: Draft, value: Any) -> None:
    from minidock.containers.mounts import points
    from minidock.containers.mounts.python import request

    found = [request(entry) for entry in value]
    draft.points = [*draft.points, *map(points.point, found)]
    if found:
        draft.host_config.mounts = found


def _tmpfs(draft: Draft, value: Any) -> None:
    from minidock.containers.parse import tmpfs

    given = value.items() if hasattr(value, "items") else map(tmpfs.split, one_or_more(value))
    found = {}
    for path, options in given:
        tmpfs.split(text(path))
        words = text(options or "")
        tmpfs.options(words)
        found[path] = words
    if found:
        draft.host_config.tmpfs = found


def _volumes_from(draft: Draft, value: Any) -> None:
    from minidock.containers.parse import mounts

    found = one_or_more(value)
    for entry in found:
        mounts.volumes_from(entry)
    draft.host_config.volumes_from = found or None


def _volume_driver(draft: Draft, value: object) -> None:
    draft.host_config.volume_driver = text(value)


HANDLERS: dict[str, Handler] = {
    "platform": _platform,
    "pull": _pull,
    "rootfs": _rootfs,
    "read_only": _read_only,
    "storage_opt": _storage_opt,
    "volumes": _volumes,
    "mounts": _mounts,
    "tmpfs": _tmpfs,
    "volumes_from": _volumes_from,
    "volume_driver": _volume_driver,
}
