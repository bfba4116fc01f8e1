"""What a new container is to have mounted: its options, the image's volumes and other containers' put together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from minidock.containers import record as records
from minidock.containers.mounts import points
from minidock.containers.parse import mounts as parse
from minidock.containers.record import Point
from minidock.errors import ContainerNotFound, InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.containers.base import Base
    from minidock.containers.planning import Planning
    from minidock.containers.record import Record


def plan(planning: Planning, record: Record, wanted: Sequence[Point], *, pull: str) -> None:
    """Put the mounts of a container that is being made into its record, in order; ``wanted`` are those of its options.

    Those of other containers come first, then its own by the options, then image volumes where nothing is yet. Raises
    InvalidArgument for what makes no sense together, ContainerNotFound, ImageNotFound for an image to mount.
    """
    host_config = record.host_config
    found = {one.destination: one for one in _taken_over(planning, record)}
    own = dict.fromkeys((parse.clean(path) for path in host_config.tmpfs or ()), "tmpfs")
    for one in wanted:
        if one.type == "volume":
            one.driver = one.driver or host_config.volume_driver or "local"
        if one.destination in own:
            raise InvalidArgument(f"Duplicate mount point: {one.destination}")
        own[one.destination] = one.type
        found[one.destination] = one
    for path in own:
        if own[path] == "tmpfs" and path in found and found[path].type != "tmpfs":
            del found[path]  # a tmpfs hides what another container would have given
    roots = engine_roots(planning)
    for one in wanted:
        _check(planning, one, pull, roots)
    for path in sorted(record.config.volumes or ()):
        destination = parse.clean(path)
        if destination not in found and destination not in own:
            found[destination] = points.anonymous(destination, host_config.volume_driver)
    if host_config.userns_mode == "remap" and any(one.type == "overlay" for one in found.values()):
        raise Unsupported("a mount of type overlay cannot be remapped; use userns host, or an image")
    record.mounts = sorted(found.values(), key=lambda one: one.destination.count("/"))


def _taken_over(planning: Planning, record: Record) -> list[Point]:
    """Return the mounts of the containers of ``--volumes-from``: their volumes, binds and images."""
    found: list[Point] = []
    for text in record.host_config.volumes_from or ():
        name, mode, _ = parse.volumes_from(text)
        row = planning.store.containers.find(name)
        if row is None:
            raise ContainerNotFound(f"no such container: {name}")
        found += [
            replace(one, rw=one.rw and not mode.read_only, mode="", copy=False, anonymous=False)
            for one in records.decode(row.record).mounts
            if one.type in ("volume", "bind", "image")
        ]
    return found


def _check(planning: Planning, one: Point, pull: str, roots: Sequence[str]) -> None:
    """Complete one mount by what is on the host."""
    if one.type == "bind":
        if not one.create and not os.path.lexists(one.source):
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {one.source}'
            )
        one.propagation = _propagation(one, roots)
    elif one.type == "overlay":
        if not os.path.isdir(one.source):
            reason = "is not a directory" if os.path.exists(one.source) else "does not exist"
            raise InvalidArgument(f'invalid mount config for type "overlay": source path {reason}: {one.source}')
    elif one.type == "image":
        row, _ = planning.image_to_use(one.name, "never" if pull == "never" else "missing", None)
        one.source = row.id


def _propagation(one: Point, roots: Sequence[str]) -> str:
    """Return a bind's propagation: what holds the engine's own mounts must let go of them when the host does."""
    near = near_to(one.source, roots)
    if not near:
        return one.propagation or "rprivate"
    if one.propagation not in ("", "rslave", "rshared"):
        raise InvalidArgument(
            'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within '
            f'the daemon root, daemon root: "{near[0]}", bind mount source: "{one.source}", '
            f'propagation: "{one.propagation}"'
        )
    return one.propagation or "rslave"


def engine_roots(base: Base) -> list[str]:
    """Return the engine's own directories."""
    return [_real(base.paths.data), _real(base.paths.run)]


def near_to(source: str, roots: Sequence[str]) -> list[str]:
    """Return which of the engine's directories a path of the host lies in, or has in it."""
    path = _real(source)
    return [root for root in roots if is_below(root, path) or is_below(path, root)]


def _real(path: str) -> str:
    """Return where a path leads to in the end, asked of the kernel: that is much faster than os.path.realpath."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return os.path.realpath(path)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies in it, by their names."""
    return directory in ("/", path) or path.startswith(directory.rstrip("/") + "/")
