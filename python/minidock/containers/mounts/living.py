"""Mounts in the life of a container: volumes are claimed with its row and filled, mounted before a start, let go after.

Only what has mounts comes here. The order is that of the functions.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from minidock.containers.mounts.planning import is_below
from minidock.containers.mounts.propagation import mount_of
from minidock.containers.parse.mounts import clean
from minidock.containers.runtime_spec.mounts import NETWORK_FILES
from minidock.containers.runtime_spec.user_mounts import sources, writable
from minidock.errors import ImageNotFound, InvalidArgument, MinidockError
from minidock.spec.docker import VolumeDriver, VolumeOptions
from minidock.store.failures import from_os
from minidock.store.workspace import Workspace
from minidock.volumes import using

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.containers.planning import Planning
    from minidock.containers.record import Point, Record
    from minidock.containers.runtime_spec.user_mounts import IdMap, Source
    from minidock.containers.settling import Settling


_OWN = ("dev", "proc", "sys")
"""Directories of the host's tree that a container has mounts of its own on."""


def make_overlays(record: Record, directory: str) -> None:
    """Make the places for changes to overlays, in the directory of a container that is being built."""
    for number, one in enumerate(record.mounts):
        if one.type != "overlay":
            continue
        place = f"{directory}/{writable(number)}"
        try:
            status = os.stat(one.source)
            os.makedirs(f"{place}/work", 0o700)
            os.mkdir(f"{place}/upper", 0o700)
            os.chown(f"{place}/upper", status.st_uid, status.st_gid)
            os.chmod(f"{place}/upper", stat.S_IMODE(status.st_mode))
        except OSError as error:
            raise from_os(error, f"make the overlay {one.destination} in", directory) from error


def claim(planning: Planning, record: Record) -> list[str]:
    """Make the volumes of a container that are missing, and hold all of them, and its images.

    Part of the transaction that makes its row. Returns the names of new volumes. Raises ImageNotFound, and as
    :func:`minidock.volumes.using.claim`.
    """
    for one in record.mounts:
        if one.type == "image":
            row = planning.store.images.by_id(one.source)
            if row is None or row.hidden:
                raise ImageNotFound(f"no such image: {one.name}; it was removed meanwhile")
    given = {clean(one.target): one.volume_options for one in record.host_config.mounts or () if one.volume_options}
    wanted: dict[str, using.Wanted] = {}
    for one in record.mounts:
        if one.type == "volume":
            options = given.get(one.destination) or VolumeOptions()
            driver = options.driver_config or VolumeDriver()
            wanted.setdefault(
                one.name,
                using.Wanted(
                    one.name,
                    anonymous=one.anonymous,
                    driver=one.driver,
                    labels=options.labels or {},
                    options=driver.options or {},
                ),
            )
    return using.claim(planning.engine, record.id, list(wanted.values())) if wanted else []


def fill(planning: Planning, record: Record) -> None:
    """Copy what the image has into those of its volumes that are empty and may have it."""
    lower = _layers(planning, record) if any(one.copy for one in record.mounts) else []
    for one in record.mounts:
        if one.copy and not _is_engine_s(record, one.destination) and _may_have(lower, one.destination):
            # Docker's containers have these files before anything is mounted; a read-only volume cannot get them later.
            own = [path for path, _ in NETWORK_FILES if os.path.dirname(path) == one.destination]
            layers, place = _held(record.rootfs, one.destination) if record.rootfs else (lower, one.destination)
            using.fill(planning.engine, one.name, layers, place, [os.path.basename(path) for path in own])


def _is_engine_s(record: Record, path: str) -> bool:
    """Whether the engine's own directories are at or below ``path``, in a root filesystem that is the host's."""
    roots = record.snapshot.get("mask") or ()
    top = record.rootfs or ""
    there = {top.rstrip("/") + path, os.path.realpath(top + path)}
    return any(is_below(root, one) or is_below(one, root) for root in roots for one in there)


def _held(top: str, path: str) -> tuple[list[str], str]:
    """The mount below the host's directory ``top`` that holds ``path``, and the path in it: a layer shows no others."""
    real = os.path.realpath(top.rstrip("/") + path)
    place, _ = mount_of(real)
    if not is_below(place, top) or os.path.relpath(real, top).split("/")[0] in _OWN:
        return [top], path
    return [place], clean("/" + os.path.relpath(real, place))


def _may_have(lower: Sequence[str], path: str) -> bool:
    """Whether one of these directories has something at ``path``, or a link on the way there: seen at a glance."""
    for layer in lower:
        place = layer
        for part in path.split("/")[1:]:
            place = f"{place}/{part}"
            try:
                status = os.lstat(place)
            except OSError:
                break
            if not stat.S_ISDIR(status.st_mode):
                return True
        else:
            return True
    return False


def _layers(planning: Planning, record: Record) -> list[str]:
    """Return the directories of the root filesystem as it came, highest first."""
    if record.image:
        return planning.layers_of(record.image)
    if record.rootfs is not None:
        return [record.rootfs]
    path = record.snapshot.get("path")
    return [path] if path else []


def before_start(planning: Planning, record: Record, *, first: bool) -> None:
    """See to it that all is there that a container's mounts come from; what fails leaves nothing mounted.

    ``first``: it has never been started.

    Raises InvalidArgument for a bind's source that is not there, and as :func:`minidock.volumes.using.mount`.
    """
    from minidock.containers.mounts import relabel

    if first:
        fill(planning, record)  # whoever made it may have died before
    for one in record.mounts:
        if one.type == "bind":
            _require_source(planning, one)
    volumes = [one for one in record.mounts if one.type == "volume"]
    if volumes:
        using.mount(planning.engine, record.id, list(dict.fromkeys(one.name for one in volumes)))
    try:
        relabel.relabel(planning, record)
    except BaseException:
        if volumes:
            using.unmount(planning.engine, record.id)
        raise
    for one in volumes:
        using.mounted_event(
            planning.engine,
            record.id,
            one.name,
            one.destination,
            writable=one.rw,
            propagation=one.propagation,
        )


def _require_source(planning: Planning, one: Point) -> None:
    if not os.path.lexists(one.source):
        if not one.create:
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {one.source}'
            )
        try:
            _make_directory(one.source)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidArgument(f"error while creating mount source path '{one.source}': {reason}") from error
    if one.propagation.lstrip("r") in ("shared", "slave"):
        from minidock.containers.mounts import propagation
        from minidock.containers.mounts.planning import engine_roots, near_to

        # Nobody asked for a slave of what the engine's own directories lie in; where it cannot be one, none is needed.
        if one.propagation != "rslave" or not near_to(one.source, engine_roots(planning)):
            propagation.check(one.source, one.propagation)


def _make_directory(path: str) -> None:
    """Make a directory and those that it lies in, all 0755 whatever this process's umask is."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):  # somebody else is faster
            os.mkdir(one, 0o755)
            os.chmod(one, 0o755)  # noqa: S103 - Docker's mode


def exchanged(planning: Planning, record: Record) -> dict[str, tuple[IdMap, IdMap]]:
    """Return the maps of ids of the mounts that have ``idmap``, by destination."""
    if not any(one.idmap for one in record.mounts):
        return {}
    from minidock.containers.mounts import idmaps

    return idmaps.exchanged(planning, record)


def sources_of(planning: Planning, record: Record) -> list[Source]:
    """Return section ``sources`` of ``minidock.json``."""
    images = {one.source: planning.layers_of(one.source) for one in record.mounts if one.type == "image"}
    return sources(record, planning.paths, images)


@contextlib.contextmanager
def mounted(planning: Planning, record: Record) -> Iterator[None]:
    """Have the volumes of a container that does not run mounted on the host for a ``with`` block.

    A workspace holds them: the container itself may be about to start with them, and goes on to hold them then.
    """
    if not has_own_file_systems(planning, record):
        yield
        return
    names = dict.fromkeys(one.name for one in record.mounts if one.type == "volume")
    with Workspace(planning.paths, "view") as holder:
        using.mount(planning.engine, holder.name, list(names))
        try:
            yield
        finally:
            using.unmount(planning.engine, holder.name)


def has_own_file_systems(settling: Settling, record: Record) -> bool:
    """Whether something of a container's volumes is mounted on the host, and is to be unmounted at its end."""
    from minidock.volumes.record import decode

    names = [one.name for one in record.mounts if one.type == "volume"]
    return bool(names) and any(decode(row.record).is_mounted for row in settling.store.volumes.some(names))


def after_end(settling: Settling, record: Record) -> None:
    """Let go of the volumes of a container that has ended, or could not be started."""
    names = dict.fromkeys(one.name for one in record.mounts if one.type == "volume")
    if not names:
        return
    with contextlib.suppress(MinidockError):  # whoever opens the store next does it
        using.unmount(settling.engine, record.id)
    for name in names:
        using.unmounted_event(settling.engine, record.id, name)


def remove_with(settling: Settling, record: Record, trash: Workspace) -> list[str]:
    """Remove the anonymous volumes that only this container has; part of the transaction that removes its row.

    Returns their names. Those with a file system of their own are left to :func:`removed`, which unmounts it first.
    """
    names = list(dict.fromkeys(one.name for one in record.mounts if one.type == "volume"))
    return using.remove_with(settling.engine, names, trash) if names else []


def removed(settling: Settling, record: Record, taken: Sequence[str], *, anonymous: bool) -> None:
    """Let go of the volumes of a container that is gone; with ``anonymous`` those without a name go too.

    ``taken`` went with its row.
    """
    for name in taken:
        using.removed_event(settling.engine, name)
    names = list(dict.fromkeys(one.name for one in record.mounts if one.type == "volume" and one.name not in taken))
    if not names:
        return
    with contextlib.suppress(MinidockError):
        using.unmount(settling.engine, record.id)
    if anonymous:
        with contextlib.suppress(MinidockError):
            using.remove_anonymous(settling.engine, names)
