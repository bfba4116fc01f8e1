"""Removing volumes."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from minidock import events
from minidock.errors import MinidockError, NoSpace, VolumeInUse, VolumeNotFound
from minidock.store.cleaner import cleaner
from minidock.store.database import reserve
from minidock.store.failures import translated
from minidock.store.workspace import Workspace
from minidock.volumes import mounting
from minidock.volumes.record import DRIVER, decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.store.volumes import VolumeRow, VolumeTable


def remove(table: VolumeTable, names: Sequence[str]) -> dict[str, MinidockError]:
    """Remove volumes that no container has, in one go; returns what kept the others, by name.

    That is VolumeNotFound, or VolumeInUse with the ids of the containers. Their files go in the background.
    """
    outcome: dict[str, MinidockError] = {}
    wanted = []
    found = {row.name: decode(row.record) for row in table.some(names)}
    for name in dict.fromkeys(names):
        record = found.get(name)
        if record is None:
            outcome[name] = VolumeNotFound(f"get {name}: no such volume")
            continue
        if record.is_mounted and not table.users(name):
            try:
                mounting.require_free(table, name)
            except MinidockError as error:
                outcome[name] = error
                continue
        wanted.append(name)
    for name, point in _mounted_inside(table, wanted).items():
        outcome[name] = VolumeInUse(f"remove {name}: volume is in use - {point} is mounted; unmount it first")
    wanted = [name for name in wanted if name not in outcome]
    if not wanted:
        return outcome
    with contextlib.ExitStack() as stack:
        trash = stack.enter_context(_trash(table))
        removed, kept = table.remove(wanted, trash)
        stack.pop_all()
        cleaner.later(trash)
    for name in removed:
        events.append(table.paths, "volume", "destroy", name, {"driver": DRIVER})
    for name in wanted:
        if name in kept:
            outcome[name] = VolumeInUse(f"remove {name}: volume is in use - [{', '.join(kept[name])}]")
        elif name not in removed:
            outcome[name] = VolumeNotFound(f"get {name}: no such volume")
    return outcome


def remove_with(table: VolumeTable, rows: Sequence[VolumeRow], trash: Workspace) -> list[str]:
    """Remove those of some volumes that no container has and nothing is mounted in, as part of a transaction.

    Returns their names. The files are in ``trash`` then.
    """
    names = [row.name for row in rows if not decode(row.record).is_mounted]
    inside = _mounted_inside(table, names)
    removed, _ = table.remove([name for name in names if name not in inside], trash)
    return removed


def _mounted_inside(table: VolumeTable, names: Sequence[str]) -> dict[str, str]:
    """Where somebody has mounted something in volumes, by name: it could be taken for the volume's files."""
    place = os.path.realpath(table.paths.volumes) + "/"
    with translated("read", "/proc/self/mountinfo"), open("/proc/self/mountinfo", "rb") as file:
        points = [os.fsdecode(_unescaped(line.split(b" ", 5)[4])) for line in file]
    inside = [point.removeprefix(place) for point in points if point.startswith(place)]
    return {name: place + point for point in inside if (name := point.partition("/")[0]) in names}


def _unescaped(point: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point)


def _trash(table: VolumeTable) -> Workspace:
    """The workspace that takes the files, on a full disk too."""
    try:
        return Workspace(table.paths, "remove-volume", repair=True)
    except NoSpace:
        reserve(table.paths.data)
        return Workspace(table.paths, "remove-volume", repair=True)
