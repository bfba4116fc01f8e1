"""``image mount``: an image's tree, read-only, on a directory of the host.

A mount lasts beyond the command, until it is taken away or the machine boots; as long, its image cannot be removed.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from minidock import _native
from minidock._errors import translate
from minidock.errors import Conflict, ImageInUse, ImageNotFound, InvalidArgument, NotFound
from minidock.store.failures import from_os, translated
from minidock.store.locks import lock, try_lock
from minidock.store.mounts import MountRow, MountTable, mount_id
from minidock.store.paths import make_directory
from minidock.store.recovery import boot_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.store.images import ImageRow
    from minidock.store.store import Store


class Mounted(NamedTuple):
    """An image on a directory."""

    path: str
    image_id: str


def mount(store: Store, row: ImageRow, path: str | None) -> str:
    """Mount an image on a directory that exists, or on one of its own below the run root; returns that directory.

    What is mounted there already is counted. Raises NotFound and InvalidArgument for no directory, Conflict when
    another image is mounted there, Unsupported without overlayfs.
    """
    with _locked(store) as table:
        place = _default(store, row) if path is None else _place(store, path)
        before = table.get(place)
        if before is not None:
            if before.image_id != row.id:
                raise Conflict(f"mount image {row.id[7:19]} on {place}: image {before.image_id[7:19]} is mounted there")
            table.put(before._replace(uses=before.uses + 1))
            return place
        lower = [f"{store.paths.layer(number)}/fs" for number in reversed(store.images.stack(row.id))]
        if not lower:
            raise InvalidArgument(f"mount image {row.id[7:19]}: it has no layers")
        # First the row, which keeps the image, then the mount, which a process that dies here leaves to the row.
        with store.database.transaction():
            if store.images.by_id(row.id) is None:
                raise ImageNotFound(f"no such image: {row.id}")
            table.put(MountRow(place, row.id, boot_id(), 0, 1))
        try:
            with _native.OverlayMount(lower) as tree:
                tree.attach(place)
            table.put(MountRow(place, row.id, boot_id(), mount_id(place) or 0, 1))
        except BaseException as error:
            if mount_id(place) is None:
                table.remove(place)
                if path is None:
                    with contextlib.suppress(OSError):
                        os.rmdir(place)
            if isinstance(error, _native.NativeError):
                failure = translate(error)
                raise type(failure)(f"mount image {row.id[7:19]}: {failure}") from error
            raise
        return place


def unmount(store: Store, *, path: str | None = None, image_id: str | None = None, force: bool = False) -> list[str]:
    """Take away the mount on a directory, or all of an image, or without both all; returns the directories.

    A mount that was asked for several times goes with the last, or with ``force``. Raises NotFound when there is none,
    Conflict while it is used.
    """
    with _locked(store) as table:
        if path is not None:
            place = os.path.realpath(path)
            found = [row for row in (table.get(place),) if row is not None]
            if not found:
                raise NotFound(f"unmount {path}: no image is mounted there")
        elif image_id is not None:
            found = [row for row in table.of_image(image_id) if row.is_there]
            if not found:
                raise NotFound(f"unmount image {image_id[7:19]}: it is not mounted")
        else:
            found = table.all()
        for row in found:
            if row.uses > 1 and not force:
                table.put(row._replace(uses=row.uses - 1))
                continue
            try:
                _native.unmount(row.path)
            except _native.NativeError as error:
                raise translate(error) from error
            _forget(store, table, row.path)
    return [row.path for row in found]


def mounted(store: Store) -> list[Mounted]:
    """All mounts, by directory."""
    with _locked(store) as table:
        return [Mounted(row.path, row.image_id) for row in table.all()]


def require_unmounted(store: Store, image_id: str) -> None:
    """Raise ImageInUse while an image is mounted."""
    path = mounted_on(store, image_id)
    if path is not None:
        raise ImageInUse(
            f"conflict: unable to delete {image_id[7:19]} (cannot be forced) - image is mounted on {path}: "
            f"minidock image unmount {path}"
        )


def mounted_on(store: Store, image_id: str) -> str | None:
    """A directory on which an image is mounted, or about to be; None if there is none."""
    for row in MountTable(store.database).of_image(image_id):
        # Whoever mounts holds the lock from before the row is there until the mount is. It is not waited for here:
        # that process may itself wait for the transaction that asks.
        if row.is_there or (not row.mount_id and _is_locked(store)):
            return row.path
    return None


def _is_locked(store: Store) -> bool:
    with contextlib.suppress(FileNotFoundError):
        fd = try_lock(_directory(store))
        if fd is None:
            return True
        os.close(fd)
    return False


@contextlib.contextmanager
def _locked(store: Store) -> Iterator[MountTable]:
    """The table without what is gone; nobody else mounts or unmounts meanwhile."""
    table = MountTable(store.database)
    directory = _directory(store)
    with translated("lock", directory):
        make_directory(directory)
        guard = lock(directory)
    with guard:
        for path in table.heal():
            _forget(store, table, path)
        yield table


def _directory(store: Store) -> str:
    return f"{store.paths.run}/mounts"


def _forget(store: Store, table: MountTable, path: str) -> None:
    table.remove(path)
    if os.path.dirname(path) == _directory(store):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _default(store: Store, row: ImageRow) -> str:
    path = f"{os.path.realpath(_directory(store))}/{row.id.removeprefix('sha256:')}"
    with translated("make", path):
        make_directory(path)
    return path


def _place(store: Store, path: str) -> str:
    """The user's directory. Nothing of minidock's may be hidden by what is mounted."""
    try:
        place = os.path.realpath(path, strict=True)
        place.encode()
    except OSError as error:
        raise from_os(error, "mount on", path) from error
    except ValueError as error:
        raise InvalidArgument(f"mount on {path!r}: {error}") from error
    if not os.path.isdir(place):
        raise InvalidArgument(f"mount on {path}: not a directory")
    for root in map(os.path.realpath, (store.paths.data, store.paths.run)):
        if place == "/" or f"{root}/".startswith(f"{place}/") or place.startswith(f"{root}/"):
            raise InvalidArgument(f"mount on {path}: that would hide files of minidock's own; choose another directory")
    return place
