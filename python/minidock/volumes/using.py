"""What containers do with volumes: the part of ``minidock.volumes`` that ``minidock.containers`` knows.

In this order: :func:`claim` with the container's row, :func:`created` afterwards, :func:`fill`; :func:`mount` before
every start and :func:`unmount` after every end; :func:`remove_with` with the container's row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from minidock import events
from minidock.store.volumes import DATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minidock.engine import Engine
    from minidock.store.workspace import Workspace


class Wanted(Struct):
    """A volume that a container is to have, made if there is none of its name."""

    name: str
    """64 hexadecimal digits of its own when it is anonymous, see :func:`minidock.volumes.making.new_name`."""
    anonymous: bool = False
    driver: str = ""
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


def claim(engine: Engine, container_id: str, wanted: Sequence[Wanted]) -> list[str]:
    """Record that a container has volumes, and make those that are missing; returns the names of these.

    To be called in the transaction that inserts the container's row: all of it happens, or nothing. Raises
    InvalidArgument and NotFound as :func:`minidock.volumes.making.make` does.
    """
    from minidock.volumes.making import make

    table = engine.store.volumes
    made = []
    with table.database.transaction():
        for one in wanted:
            _, new = make(
                table,
                one.name,
                driver=one.driver,
                labels=one.labels,
                options=one.options,
                anonymous=one.anonymous,
            )
            if new:
                made.append(one.name)
        table.use(container_id, [one.name for one in wanted])
    return made


def created(engine: Engine, names: Iterable[str]) -> None:
    """Tell those who follow events of volumes that :func:`claim` has made."""
    for name in names:
        events.append(engine.store.paths, "volume", "create", name, {"driver": "local"})


def fill(engine: Engine, name: str, lower: Sequence[str], path: str, places: Sequence[str] = ()) -> None:
    """Copy what the image has at ``path`` into the volume, if that is empty; ``lower`` are the layers, highest first.

    ``places`` are names of files that a container has there whatever its image says: empty ones are made. The
    volume's own directory gets owner and mode of the image's. Nothing happens when the image has no directory
    there. Killed at any point, it leaves the volume empty, or what the next use makes complete. Raises VolumeNotFound,
    NoSpace, and what the file system says.
    """
    from minidock.volumes import filling

    filling.fill(engine.store.volumes, name, lower, path, places)


def mount(engine: Engine, holder: str, names: Sequence[str]) -> None:
    """Make volumes ready for a container that is about to start: mounted where their driver options say so.

    ``holder`` is its id, or the name of a workspace. Calling it again does no harm. When it fails, nothing is left
    mounted for the holder. Raises VolumeNotFound, NotFound without a device, InvalidArgument, and what the kernel
    says.
    """
    from minidock.errors import VolumeNotFound
    from minidock.volumes import filling, mounting
    from minidock.volumes.making import locked
    from minidock.volumes.record import decode

    table = engine.store.volumes
    rows = table.some(names)
    missing = set(names) - {row.name for row in rows}
    if missing:
        raise VolumeNotFound(f"get {min(missing)}: no such volume")
    try:
        for row in rows:
            record = decode(row.record)
            if record.is_mounted:
                mounting.mount(table, record, holder)
            elif not filling.is_whole(table.paths.volume(row.name)):
                with locked(table, row.name):
                    filling.finish(table, record)
    except BaseException:
        unmount(engine, holder)
        raise


def unmount(engine: Engine, holder: str) -> None:
    """Let all volumes go of a container that has ended or did not start, or of a workspace.

    What nobody else needs is unmounted.
    """
    held = engine.store.volumes.held_by(holder)
    if held:
        from minidock.volumes import mounting

        for hold in held:
            mounting.unmount(engine.store.volumes, hold.volume, holder)


def path(engine: Engine, name: str) -> str:
    """Where a volume's files are."""
    return f"{engine.store.paths.volume(name)}/{DATA}"


def remove_anonymous(engine: Engine, names: Sequence[str]) -> None:
    """Remove those of the volumes that are anonymous and that no container has."""
    rows = [row.name for row in engine.store.volumes.some(names) if row.anonymous]
    if rows:
        from minidock.volumes import removing

        removing.remove(engine.store.volumes, rows)


def remove_with(engine: Engine, names: Sequence[str], trash: Workspace) -> list[str]:
    """As :func:`remove_anonymous` within somebody's transaction, only those that are directories; returns which."""
    rows = [row for row in engine.store.volumes.some(names) if row.anonymous]
    if not rows:
        return []
    from minidock.volumes import removing

    return removing.remove_with(engine.store.volumes, rows, trash)


def removed_event(engine: Engine, name: str) -> None:
    """Tell those who follow events that a volume is gone."""
    events.append(engine.store.paths, "volume", "destroy", name, {"driver": "local"})


def mounted_event(
    engine: Engine, container_id: str, name: str, destination: str, *, writable: bool, propagation: str = ""
) -> None:
    """Tell those who follow events that a container that starts has a volume."""
    attributes = {
        "container": container_id,
        "destination": destination,
        "driver": "local",
        "propagation": propagation,
        "read/write": "true" if writable else "false",
    }
    events.append(engine.store.paths, "volume", "mount", name, attributes)


def unmounted_event(engine: Engine, container_id: str, name: str) -> None:
    """Tell those who follow events that a container that has ended had a volume."""
    events.append(engine.store.paths, "volume", "unmount", name, {"container": container_id, "driver": "local"})
