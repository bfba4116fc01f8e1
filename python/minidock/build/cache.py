"""``engine.builder``: what builds have kept, how much that is, and removing it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from minidock import events
from minidock.build import caches
from minidock.containers import filters as filtering
from minidock.containers.parse import times
from minidock.errors import InvalidArgument
from minidock.store.locks import try_lock
from minidock.store.workspace import Workspace, discard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from minidock.engine import Engine

REGULAR = "regular"
MOUNT = "exec.cachemount"
CLIENT = "source.local"
"""Files of a client of the server, which sends only what has changed."""
_FILTERS = ("id", "type", "until", "unused-for", "description", "inuse", "shared")


class Entry(Struct, frozen=True):
    """One thing in the cache: the layer of a step, or the directory of a cache mount.

    ``size`` is in bytes; ``shared``: an image has the layer, too, so that its removal gives nothing back. ``in_use``:
    a command has the directory mounted now. Times are seconds since 1970.
    """

    id: str
    type: str
    description: str
    size: int
    created: int
    last_used: int
    uses: int = 0
    shared: bool = False
    in_use: bool = False

    @property
    def reclaimable(self) -> int:
        """Bytes that its removal gives back."""
        return 0 if self.shared or self.in_use else self.size


class Pruned(Struct):
    """What was removed, and how many bytes that gave back."""

    entries: list[Entry] = []
    space_reclaimed: int = 0


class _Goal(Struct):
    """How far a prune goes: what the cache takes, the most that it may take, bytes to free, what it may always take."""

    total: int
    most: int | None
    missing: int
    reserved: int

    @property
    def reached(self) -> bool:
        if self.total <= self.reserved:
            return True
        return (self.most is None or self.total <= self.most) and self.missing <= 0


class Builder:
    """The build cache of an engine's data root."""

    def __init__(self, engine: Engine) -> None:
        self._store = engine.store

    def entries(self, filters: Mapping[str, Any] | Sequence[str] | None = None) -> list[Entry]:
        """Return what the cache holds, the one used last first.

        ``filters``: id, type (regular, exec.cachemount, source.local), until (a time), unused-for (a duration),
        description, inuse, shared. Raises InvalidArgument for a filter that makes no sense.
        """
        wanted = _parsed(filters)
        cache, paths = self._store.build_cache, self._store.paths
        found = [
            Entry(
                step.key[:25],
                REGULAR,
                step.description,
                step.size,
                step.created,
                step.used,
                step.uses,
                bool(step.shared),
            )
            for step in cache.steps()
        ]
        for mount in cache.mounts():
            directory = f"{caches.root(paths)}/{mount.name}"
            lock = _exclusive(directory)
            if lock is not None:
                os.close(lock)
            is_mount = mount.name == caches.name_of(mount.id)
            found.append(
                Entry(
                    mount.name,
                    MOUNT if is_mount else CLIENT,
                    f"cache mount {mount.id}" if is_mount else mount.id,
                    _size(directory),
                    mount.created,
                    mount.used,
                    in_use=lock is None and os.path.isdir(directory),
                )
            )
        found.sort(key=lambda entry: -entry.last_used)
        return [entry for entry in found if _passes(entry, wanted)]

    def prune(
        self,
        *,
        all: bool = False,
        filters: Mapping[str, Any] | Sequence[str] | None = None,
        reserved_space: int | None = None,
        max_used_space: int | None = None,
        min_free_space: int | None = None,
    ) -> Pruned:
        """Remove what no image has: with ``all`` everything, directories of cache mounts among it.

        The least recently used goes first. With limits (bytes) only until the cache takes no more than
        ``max_used_space`` and ``min_free_space`` of the data root's file system are free for users, and never more
        than leaves the cache ``reserved_space``; that alone is the goal where it alone is given. What a running build
        uses stays. ``filters`` as in :meth:`entries`.
        """
        entries = self.entries()
        total = sum(entry.size for entry in entries)
        goal = _Goal(total, max_used_space, 0, reserved_space or 0)
        if min_free_space is not None:
            status = os.statvfs(self._store.paths.data)
            goal.missing = max(0, min_free_space - status.f_bavail * status.f_frsize)
        if max_used_space is None and min_free_space is None:
            goal.most = reserved_space
        limited = (reserved_space, max_used_space, min_free_space) != (None, None, None)
        wanted = _parsed(filters)
        done = Pruned()
        by_type = bool(wanted.get("type"))
        for entry in sorted(entries, key=lambda entry: entry.last_used):
            if limited and goal.reached:
                break
            if entry.in_use or not _passes(entry, wanted):
                continue
            if not (all or by_type) and (entry.shared or entry.type != REGULAR):
                continue
            if not self._remove(entry):
                continue
            goal.total -= entry.size
            goal.missing -= entry.reclaimable
            done.entries.append(entry)
            done.space_reclaimed += entry.reclaimable
        events.append(self._store.paths, "builder", "prune", "", {"reclaimed": str(done.space_reclaimed)})
        return done

    def _remove(self, entry: Entry) -> bool:
        store = self._store
        with Workspace(store.paths, "prune", repair=True) as trash:
            if entry.type == REGULAR:
                keys = [step.key for step in store.build_cache.steps() if step.key.startswith(entry.id)]
                store.build_cache.remove(keys, trash)
                return bool(keys)
            directory = f"{caches.root(store.paths)}/{entry.id}"
            lock = _exclusive(directory)
            if lock is None and os.path.isdir(directory):
                return False
            try:
                discard(trash, directory)
                store.build_cache.remove_mount(entry.id)
            finally:
                if lock is not None:
                    os.close(lock)
        return True


def _exclusive(directory: str) -> int | None:
    """The lock of a cache mount's directory for oneself alone; None while a command uses it, or it is gone."""
    try:
        return try_lock(directory)
    except OSError:
        return None


def _size(directory: str) -> int:
    total = 0
    for top, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{top}/{name}").st_size
    return total


def _parsed(filters: Mapping[str, Any] | Sequence[str] | None) -> filtering.Filters:
    found = filtering.parse(filters, _FILTERS)
    for text in found.get("unused-for", ()):
        if times.duration(text) is None:
            raise InvalidArgument(f"filter unused-for={text}: not a duration such as 24h")
    for text in found.get("until", ()):
        filtering.until(text)
    return found


def _passes(entry: Entry, wanted: filtering.Filters) -> bool:
    now = time.time()
    checks: dict[str, Callable[[str], bool]] = {
        "id": entry.id.startswith,
        "type": lambda text: entry.type == text,
        "description": lambda text: text.strip("~=") in entry.description,
        "inuse": lambda text: entry.in_use == (text in ("", "true", "1")),
        "shared": lambda text: entry.shared == (text in ("", "true", "1")),
        "until": lambda text: entry.last_used < filtering.until(text),
        "unused-for": lambda text: now - entry.last_used > (times.duration(text) or 0) / times.SECOND,
    }
    return all(any(checks[name](text) for text in texts) for name, texts in wanted.items())
