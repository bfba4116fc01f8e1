"""File systems that the driver options of volumes name, mounted while somebody needs them.

They are mounted on the volume's files on the host, as Docker does. Who needs one is in the database: containers from
before their start until they have ended, and work that a workspace in ``tmp/`` stands for. After a boot nobody does.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.errors import InvalidArgument, MinidockError, VolumeInUse, VolumeNotFound
from minidock.store.mounts import mount_id
from minidock.store.recovery import boot_id
from minidock.store.volumes import DATA, Hold
from minidock.store.workspace import is_alive
from minidock.volumes.making import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.store.volumes import VolumeTable
    from minidock.volumes.record import Record


@contextmanager
def mounted(table: VolumeTable, record: Record, holder: str) -> Iterator[str]:
    """The path of a volume's files, mounted for a ``with`` block if need be; ``holder`` is as for :func:`mount`."""
    if not record.is_mounted:
        yield f"{table.paths.volume(record.name)}/{DATA}"
        return
    mount(table, record, holder)
    try:
        yield f"{table.paths.volume(record.name)}/{DATA}"
    finally:
        unmount(table, record.name, holder)


def mount(table: VolumeTable, record: Record, holder: str) -> None:
    """Mount a volume, unless it is, and keep it so until ``holder``, a container or a workspace, lets it go.

    Raises NotFound without the device, InvalidArgument for options that the kernel refuses, and what else it says.
    """
    options = record.options or {}
    device, kind = options.get("device", ""), options.get("type", "")
    with locked(table, record.name) as directory:
        data = f"{directory}/{DATA}"
        found = mount_id(data)
        # First the row: whoever dies after the mount leaves it to the row.
        table.hold(Hold(record.name, holder, boot_id(), found or 0))
        if found is not None:
            return
        try:
            if not device:
                raise InvalidArgument("missing device in volume options")
            number = _native.volume_mount(data, type=kind, device=device, options=options.get("o", ""))
        except (_native.NativeError, MinidockError) as error:
            table.let_go(record.name, holder)
            failure = translate(error) if isinstance(error, _native.NativeError) else error
            raise type(failure)(f"error while mounting volume '{data}': {failure}") from error
        table.hold(Hold(record.name, holder, boot_id(), number))


def unmount(table: VolumeTable, name: str, holder: str) -> None:
    """Let a volume go, and unmount it if nobody else needs it. Nothing happens when it was not held."""
    try:
        with locked(table, name) as directory:
            _drop(table, name, directory, {holder})
    except VolumeNotFound:
        return


def require_free(table: VolumeTable, name: str) -> None:
    """Unmount a volume that no container has, before it is removed. Raises VolumeInUse while work goes on in it."""
    with locked(table, name) as directory:
        _drop(table, name, directory, set())
        if mount_id(f"{directory}/{DATA}") is not None:
            raise VolumeInUse(f"remove {name}: volume is in use")


def heal(table: VolumeTable) -> None:
    """Unmount what nobody needs any more. For a repair; what cannot be unmounted is tried again by the next one."""
    for name in sorted({hold.volume for hold in table.every_hold()}):
        with suppress(MinidockError):
            unmount(table, name, "")


def _drop(table: VolumeTable, name: str, directory: str, holders: set[str]) -> None:
    """Forget ``holders`` and all that are gone; without others, unmount first."""
    boot = boot_id()
    found = table.holds(name)
    gone = [it for it in found if it.holder in holders or it.boot_id != boot or not _is_there(table, it.holder)]
    if len(gone) == len(found):
        data = f"{directory}/{DATA}"
        try:
            while mount_id(data) is not None and _native.volume_unmount(data):
                pass
        except _native.NativeError as error:
            failure = translate(error)
            raise type(failure)(f"error while unmounting volume '{data}': {failure}") from error
    for hold in gone:
        table.let_go(name, hold.holder)


def _is_there(table: VolumeTable, holder: str) -> bool:
    if os.path.lexists(f"{table.paths.tmp}/{holder}"):
        return is_alive(table.paths, holder)
    return table.database.row("SELECT 1 FROM containers WHERE id = ?", (holder,)) is not None
