"""Mounts whose ids are exchanged, so that files which the container writes belong to the source's owner on the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from minidock.containers.base import translated
from minidock.containers.runtime_spec.user_mounts import data
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from minidock.containers.planning import Planning
    from minidock.containers.record import Record
    from minidock.containers.runtime_spec.user_mounts import IdMap

_ALL = (1 << 32) - 1


def exchanged(planning: Planning, record: Record) -> dict[str, tuple[IdMap, IdMap]]:
    """Return the maps of user and group ids of a record's mounts with ``idmap``, by destination.

    In a user namespace the ids on disk are the container's. Elsewhere the container's user and the owner of the source
    take each other's place, as do their groups; where they are the same there is no map.
    """
    found: dict[str, tuple[IdMap, IdMap]] = {}
    user: tuple[int, int] | None = None
    for one in record.mounts:
        if not one.idmap:
            continue
        if record.uid_map:
            found[one.destination] = (list(record.uid_map), list(record.gid_map))
            continue
        source = one.source or data(planning.paths, one.name)
        if one.subpath:
            source = f"{source}/{one.subpath}"
        try:
            status = os.stat(source)
        except OSError as error:
            raise from_os(error, "read the owner of", source) from error
        if user is None:
            user = _user(planning, record)
        if (status.st_uid, status.st_gid) != user:
            found[one.destination] = (exchange(status.st_uid, user[0]), exchange(status.st_gid, user[1]))
    return found


def exchange(one: int, other: int) -> IdMap:
    """Return a map of all ids to themselves, but for two, each of which is the other."""
    low, high = sorted((one, other))
    if low == high:
        return [(0, 0, _ALL)]
    parts = [
        (0, 0, low),
        (low, high, 1),
        (low + 1, low + 1, high - low - 1),
        (high, low, 1),
        (high + 1, high + 1, _ALL - high - 1),
    ]
    return [part for part in parts if part[2] > 0]


def _user(planning: Planning, record: Record) -> tuple[int, int]:
    """Return user and group that a container runs as."""
    spec = record.config.user
    if not spec:
        return 0, 0
    user, _, group = spec.partition(":")
    if all(part.isascii() and part.isdigit() and len(part) < 10 for part in (user, group)):
        return int(user), int(group)
    from minidock.containers import archive

    with archive.view(planning, record, mounted=True, exchange=False) as tree, translated():
        return tree.user(spec)
