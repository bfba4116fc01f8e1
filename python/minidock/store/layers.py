"""The table of layers: one row and one directory each, held by images and by leases of work in progress."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from msgspec import Struct

from minidock.errors import NoSpace
from minidock.store.database import Database, reserve
from minidock.store.failures import translated
from minidock.store.workspace import Workspace, discard

BUILD_CACHE = "build-cache"
"""The owner of leases that last as long as the build cache knows their layers."""


class NewLayer(Struct):
    """An unpacked layer that waits in a workspace to become part of the store."""

    diff_id: str
    size: int
    """Bytes of the files' contents."""
    path: str
    """The directory that becomes ``layers/N``."""
    tar_size: int | None = None
    """Bytes of its uncompressed tar."""


class LayerRow(Struct):
    """One layer: directory ``layers/ID``, bytes of its files, of its tar, of the record that rebuilds the tar."""

    id: int
    diff_id: str
    size: int
    tar_size: int | None
    split_size: int


class LayerTable:
    """Rows and directories of layers."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.paths = database.paths

    def get(self, diff_id: str) -> LayerRow | None:
        """The layer with this digest of its uncompressed tar."""
        rows = self._rows("WHERE diff_id = ?", (diff_id,))
        return rows[0] if rows else None

    def of_image(self, image_id: str) -> list[LayerRow]:
        """An image's layers, lowest first."""
        return self._rows("JOIN image_layers ON layer_id = layers.id WHERE image_id = ? ORDER BY position", (image_id,))

    def all(self) -> list[LayerRow]:
        """All layers."""
        return self._rows("ORDER BY id", ())

    def insert(self, layer: NewLayer) -> int:
        """Add a row, inside the caller's transaction; returns its number. The caller moves the directory."""
        split = f"{layer.path}/tar-split.zst"
        split_size = os.stat(split).st_size if os.path.exists(split) else 0
        self.database.execute(
            "INSERT INTO layers (diff_id, size, created, tar_size, split_size) VALUES (?, ?, ?, ?, ?)",
            (layer.diff_id, layer.size, int(time.time()), layer.tar_size, split_size),
        )
        row = self.database.row("SELECT id FROM layers WHERE diff_id = ?", (layer.diff_id,))
        assert row is not None  # noqa: S101 - just inserted
        number = int(row[0])
        target = self.paths.layer(number)
        if os.path.lexists(target):
            # Of a process that died before its commit; rows name the layers, and none named this.
            os.rename(target, f"{layer.path}.stale")
        return number

    def set_tar_size(self, number: int, tar_size: int) -> None:
        """Note the length of a layer's tar, found out later."""
        self.database.execute("UPDATE layers SET tar_size = ? WHERE id = ?", (tar_size, number))

    def lease(self, work: Workspace, diff_ids: Sequence[str]) -> list[LayerRow]:
        """Hold those of the layers that exist for as long as ``work`` lasts, and return them."""
        if not any(map(self.get, dict.fromkeys(diff_ids))):
            return []  # asked ten times a second by whoever waits for one: nothing is written then
        with self.database.transaction():
            found = [row for row in map(self.get, dict.fromkeys(diff_ids)) if row is not None]
            self._hold(work, found)
        return found

    def register(self, work: Workspace, layer: NewLayer) -> LayerRow:
        """Make an unpacked layer part of the store, held by ``work``; one that is there already is held instead."""
        moved: list[str] = []

        def undo() -> None:
            for target in moved:
                if os.path.lexists(target):
                    os.rename(target, layer.path)

        with translated("add a layer to", self.paths.data), self.database.transaction(undo):
            row = self.get(layer.diff_id)
            if row is None:
                number = self.insert(layer)
                moved.append(self.paths.layer(number))
                os.rename(layer.path, moved[0])
                row = self.get(layer.diff_id)
                assert row is not None  # noqa: S101 - just inserted
            self._hold(work, [row])
        return row

    def release(self, work: Workspace) -> None:
        """Give back all that ``work`` holds; layers that nothing else holds are moved into it, to go with it.

        Call it when nothing in it is needed any more: on a full disk that goes first. Where it fails, the next engine
        does it.
        """
        try:
            try:
                self._release(work)
            except NoSpace:
                work.clear()
                reserve(self.paths.data)
                self._release(work)
        except BaseException:
            work.abandon()
            raise

    def _release(self, work: Workspace) -> None:
        with self.database.transaction():
            held = self.database.rows("SELECT layer_id FROM leases WHERE owner = ?", (work.name,))
            self.database.execute("DELETE FROM leases WHERE owner = ?", (work.name,))
            orphans = [number for (number,) in held if self._delete_unused(number)]
        with translated("remove layers from", self.paths.data):
            for number in orphans:
                discard(work, self.paths.layer(number))

    def delete_of(self, image_id: str) -> list[tuple[int, str]]:
        """Delete the rows of layers that only this image has, inside the caller's transaction; highest first.

        Call it before the image's own row goes.
        """
        rows = self.database.rows(
            "SELECT layer_id, diff_id FROM image_layers AS mine JOIN layers ON layers.id = layer_id"
            " WHERE image_id = ?1 AND NOT EXISTS"
            " (SELECT 1 FROM image_layers AS other WHERE other.layer_id = mine.layer_id AND other.image_id != ?1)"
            " AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.layer_id = mine.layer_id)"
            " GROUP BY layer_id ORDER BY max(position) DESC",
            (image_id,),
        )
        self.database.execute("DELETE FROM image_layers WHERE image_id = ?", (image_id,))
        for number, _ in rows:
            self.database.execute("DELETE FROM layers WHERE id = ?", (number,))
        return [(row[0], row[1]) for row in rows]

    def _delete_unused(self, number: int) -> bool:
        return bool(
            self.database.execute(
                "DELETE FROM layers WHERE id = ?1"
                " AND NOT EXISTS (SELECT 1 FROM image_layers WHERE layer_id = ?1)"
                " AND NOT EXISTS (SELECT 1 FROM leases WHERE layer_id = ?1)",
                (number,),
            )
        )

    def discard_unused(self, numbers: Sequence[int], work: Workspace) -> list[int]:
        """Delete those of the layers that nothing holds; their files go with ``work``. Returns their numbers."""
        with self.database.transaction():
            orphans = [number for number in numbers if self._delete_unused(number)]
        with translated("remove layers from", self.paths.data):
            for number in orphans:
                discard(work, self.paths.layer(number))
        return orphans

    def _hold(self, work: Workspace, rows: Sequence[LayerRow]) -> None:
        for row in rows:
            self.database.execute("INSERT OR IGNORE INTO leases (owner, layer_id) VALUES (?, ?)", (work.name, row.id))

    def _rows(self, where: str, values: tuple[object, ...]) -> list[LayerRow]:
        statement = f"SELECT layers.id, diff_id, size, tar_size, split_size FROM layers {where}"  # noqa: S608 - constants
        return [LayerRow(*row) for row in self.database.rows(statement, values)]
