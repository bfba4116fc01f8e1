"""What a new container is to have mounted: its options, the image's volumes and other containers' put together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from minidock.containers import record as records
from minidock.containers.mounts import points
from minidock.containers.parse import mounts as parse
from minidock.containers.record import Point
from minidock.errors import ContainerNotFound, InvalidArgument

if TYPE_CHECKING:
    from minidock.containers.planning import Planning
    from minidock.containers.record import Record


def plan(planning: Planning, record: Record, *, pull: str) -> None:
    """Put the mounts of a container that is being made into its record, in order.

    Those of other containers come first, then its own by the options, then image volumes where nothing is yet. Raises
    InvalidArgument for what makes no sense together, ContainerNotFound, ImageNotFound for an image to mount.
    """
    host_config = record.host_config
    found = {one.destination: one for one in _taken_over(planning, record)}
    own = dict.fromkeys((parse.clean(path) for path in host_config.tmpfs or ()), "tmpfs")
    mounts = host_config.mounts or ()
    wanted = [points.bind(text, host_config.volume_driver) for text in host_config.binds or ()]
    wanted += [points.point(request) for request in mounts]
    for one in wanted:
        if one.destination in own:
            raise InvalidArgument(f"Duplicate mount point: {one.destination}")
        own[one.destination] = one.type
        found[one.destination] = one
    for path in own:
        if own[path] == "tmpfs" and path in found and found[path].type != "tmpfs":
            del found[path]  # a tmpfs hides what another container would have given
    for one in wanted:
        _check(planning, one, pull)
    for path in sorted(record.config.volumes or ()):
        destination = parse.clean(path)
        if destination not in found and destination not in own:
            found[destination] = points.anonymous(destination, host_config.volume_driver)
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


def _check(planning: Planning, one: Point, pull: str) -> None:
    """Complete one mount by what is on the host."""
    if one.type == "bind":
        if not one.create and not os.path.lexists(one.source):
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {one.source}'
            )
        one.propagation = _propagation(planning, one)
    elif one.type == "overlay":
        if not os.path.isdir(one.source):
            reason = "is not a directory" if os.path.exists(one.source) else "does not exist"
            raise InvalidArgument(f'invalid mount config for type "overlay": source path {reason}: {one.source}')
    elif one.type == "image":
        row, _ = planning.image_to_use(one.name, "never" if pull == "never" else "missing", None)
        one.source = row.id


def _propagation(planning: Planning, one: Point) -> str:
    """Return a bind's propagation: what holds the engine's own mounts must let go of them when the host does."""
    roots = (os.path.realpath(planning.paths.data), os.path.realpath(planning.paths.run))
    source = os.path.realpath(one.source)
    near = [root for root in roots if _is_below(root, source) or _is_below(source, root)]
    if not near:
        return one.propagation or "rprivate"
    if one.propagation not in ("", "rslave", "rshared"):
        raise InvalidArgument(
            'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within '
            f'the daemon root, daemon root: "{near[0]}", bind mount source: "{one.source}", '
            f'propagation: "{one.propagation}"'
        )
    return one.propagation or "rslave"


def _is_below(path: str, directory: str) -> bool:
    return directory in ("/", path) or path.startswith(directory.rstrip("/") + "/")
