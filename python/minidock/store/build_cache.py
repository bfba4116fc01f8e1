"""The tables of what builds have made: steps by their keys, digests of contexts' files, directories of cache mounts.

A step's layer is held by a lease of the owner ``build-cache`` for as long as a row names it, so that no removal of an
image takes it away. What is made is found by every process at once; a row that is lost costs one step.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from minidock.store.layers import BUILD_CACHE, LayerRow, LayerTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.store.database import Database
    from minidock.store.workspace import Workspace

_CONTEXTS = 64
"""Contexts whose digests are kept."""
_USED_AGAIN = 60
"""Seconds after which a use is noted anew: a rebuild that changes nothing writes nothing."""


class Step(NamedTuple):
    """A step that is kept. ``size``: bytes of its layer's files; ``shared``: an image has the layer, too."""

    key: str
    kind: str
    description: str
    layer_id: int
    size: int
    created: int
    used: int
    uses: int
    shared: bool


class CacheMount(NamedTuple):
    """A directory of ``RUN --mount=type=cache``."""

    name: str
    id: str
    created: int
    used: int


class BuildCache:
    """Rows of the build cache."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._layers = LayerTable(database)

    def find(self, key: str, work: Workspace) -> LayerRow | None:
        """Return the layer of a step, held by ``work`` from now on; None when it is not known."""
        now = int(time.time())
        row = self.database.row(
            "SELECT diff_id, used FROM build_cache JOIN layers ON id = layer_id WHERE key = ?", (key,)
        )
        if row is None or str(row[0]).startswith("lost:"):
            return None
        if now - int(row[1]) > _USED_AGAIN:
            self.database.execute("UPDATE build_cache SET used = ?, uses = uses + 1 WHERE key = ?", (now, key))
        found = self._layers.lease(work, [row[0]])
        return found[0] if found else None

    def peek(self, key: str) -> LayerRow | None:
        """Return the layer of a step without holding it."""
        row = self.database.row("SELECT diff_id FROM build_cache JOIN layers ON id = layer_id WHERE key = ?", (key,))
        return None if row is None or str(row[0]).startswith("lost:") else self._layers.get(row[0])

    def put(self, key: str, kind: str, description: str, layer: LayerRow) -> None:
        """Note what a step has made; the layer must be in the store, held by the caller."""
        now = int(time.time())
        with self.database.transaction():
            self.database.execute(
                "INSERT INTO build_cache (key, kind, description, layer_id, created, used) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET layer_id = excluded.layer_id, created = excluded.created,"
                " used = excluded.used",
                (key, kind, description, layer.id, now, now),
            )
            self.database.execute(
                "INSERT OR IGNORE INTO leases (owner, layer_id) VALUES (?, ?)", (BUILD_CACHE, layer.id)
            )

    def steps(self) -> list[Step]:
        """Return all steps, the one used last first."""
        rows = self.database.rows(
            "SELECT key, kind, description, layer_id, layers.size + layers.split_size, build_cache.created, used, uses,"
            " EXISTS (SELECT 1 FROM image_layers WHERE image_layers.layer_id = build_cache.layer_id)"
            " FROM build_cache JOIN layers ON layers.id = layer_id ORDER BY used DESC, key"
        )
        return [Step(*row) for row in rows]

    def remove(self, keys: Sequence[str], work: Workspace) -> list[int]:
        """Forget steps; layers that nothing else holds go with ``work``. Returns the numbers of those layers."""
        with self.database.transaction():
            numbers = []
            for key in keys:
                row = self.database.row("SELECT layer_id FROM build_cache WHERE key = ?", (key,))
                if row is not None:
                    self.database.execute("DELETE FROM build_cache WHERE key = ?", (key,))
                    numbers.append(int(row[0]))
            self.database.execute(
                "DELETE FROM leases WHERE owner = ? AND layer_id NOT IN (SELECT layer_id FROM build_cache)",
                (BUILD_CACHE,),
            )
            return self._layers.discard_unused(list(dict.fromkeys(numbers)), work)

    def digests(self, device: int, inode: int) -> bytes | None:
        """Return what is known of the files of a context."""
        row = self.database.row(
            "SELECT digests FROM build_contexts WHERE device = ? AND inode = ?", (_signed(device), _signed(inode))
        )
        return None if row is None else bytes(row[0])

    def set_digests(self, device: int, inode: int, digests: bytes) -> None:
        """Keep what is known of the files of a context; the oldest of many contexts is forgotten."""
        with self.database.transaction():
            self.database.execute(
                "INSERT INTO build_contexts (device, inode, used, digests) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (device, inode) DO UPDATE SET used = excluded.used, digests = excluded.digests",
                (_signed(device), _signed(inode), int(time.time()), digests),
            )
            self.database.execute(
                "DELETE FROM build_contexts WHERE rowid NOT IN"
                " (SELECT rowid FROM build_contexts ORDER BY used DESC LIMIT ?)",
                (_CONTEXTS,),
            )

    def note_mount(self, name: str, id: str) -> None:
        """Note that a cache mount is used now."""
        now = int(time.time())
        self.database.execute(
            "INSERT INTO build_mounts (name, id, created, used) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET used = excluded.used",
            (name, id, now, now),
        )

    def mounts(self) -> list[CacheMount]:
        """Return all cache mounts, the one used last first."""
        rows = self.database.rows("SELECT name, id, created, used FROM build_mounts ORDER BY used DESC, name")
        return [CacheMount(*row) for row in rows]

    def remove_mount(self, name: str) -> None:
        """Forget a cache mount; the caller has moved its directory away."""
        self.database.execute("DELETE FROM build_mounts WHERE name = ?", (name,))


def _signed(number: int) -> int:
    """A device or inode number as SQLite holds it."""
    return number - (1 << 64) if number >= 1 << 63 else number
