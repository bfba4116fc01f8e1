"""The tables of images, tags and layers. References in them are canonical, image ids are ``sha256:HEX``."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence

from msgspec import Struct

from minidock.errors import ImageNotFound, InvalidArgument
from minidock.store.database import Database
from minidock.store.failures import translated
from minidock.store.workspace import Workspace, discard

_HEX = frozenset("0123456789abcdef")


class ImageRow(Struct):
    """One image: the bytes of its configuration, size of its layers in bytes, time of creation in seconds."""

    id: str
    config: bytes
    manifest: str | None
    size: int
    created: int
    hidden: bool = False


class NewLayer(Struct):
    """An unpacked layer that waits in a workspace to become part of the store."""

    diff_id: str
    size: int
    """Bytes of the files' contents."""
    path: str
    """The directory that becomes ``layers/N``."""


class Garbage(Struct):
    """What a deleted image leaves on disk: numbers and diff_ids of layers (highest first), digests of blobs."""

    layers: list[int]
    diff_ids: list[str]
    blobs: list[str]


class ImageTable:
    """Rows of images, and the directories of their layers, changed together."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.paths = database.paths

    def has_layer(self, diff_id: str) -> bool:
        """Whether a layer is in the store."""
        return self.database.row("SELECT 1 FROM layers WHERE diff_id = ?", (diff_id,)) is not None

    def add(
        self,
        row: ImageRow,
        diff_ids: Sequence[str],
        *,
        layers: Sequence[NewLayer] = (),
        blobs: Mapping[str, str] | None = None,
        tag: str | None = None,
    ) -> str | None:
        """Add an image with its layers (lowest first) and move its tag to it, as one step.

        ``layers`` are moved into place unless the store has them; all others must be there. ``blobs`` maps digests to
        files of a workspace that become part of the content store. An image that exists stays, and becomes visible if
        it was hidden. Returns the id of the image that lost the tag, if any. Raises InvalidArgument when a layer is
        missing. After a failure everything is where it was.
        """
        moved: list[tuple[str, str, int]] = []
        by_diff_id = {layer.diff_id: layer for layer in layers}

        def move(source: str, target: str) -> None:
            # Noted first: an interrupt may come right after the rename.
            moved.append((source, target, os.lstat(source).st_ino))
            os.rename(source, target)

        def undo() -> None:
            for source, target, inode in reversed(moved):
                with contextlib.suppress(FileNotFoundError):
                    if os.lstat(target).st_ino == inode:
                        os.rename(target, source)

        with translated("add an image to", self.paths.data), self.database.transaction(undo):
            self.database.execute(
                "INSERT INTO images (id, config, manifest, size, created) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET hidden = 0, manifest = coalesce(excluded.manifest, manifest)",
                (row.id, row.config, row.manifest, row.size, row.created),
            )
            for position, diff_id in enumerate(diff_ids):
                found = self.database.row("SELECT id FROM layers WHERE diff_id = ?", (diff_id,))
                if found is None:
                    layer = by_diff_id.get(diff_id)
                    if layer is None:
                        raise InvalidArgument(f"image {row.id}: its layer {diff_id} is not in the store")
                    self.database.execute(
                        "INSERT INTO layers (diff_id, size, created) VALUES (?, ?, ?)",
                        (diff_id, layer.size, int(time.time())),
                    )
                    found = self.database.row("SELECT id FROM layers WHERE diff_id = ?", (diff_id,))
                    assert found is not None  # noqa: S101 - just inserted
                    target = self.paths.layer(found[0])
                    if os.path.lexists(target):
                        # Of a process that died before its commit; rows name the layers, and none named this.
                        os.rename(target, f"{layer.path}.stale")
                    move(layer.path, target)
                self.database.execute(
                    "INSERT INTO image_layers (image_id, position, layer_id) VALUES (?, ?, ?)"
                    " ON CONFLICT (image_id, position) DO UPDATE SET layer_id = excluded.layer_id",
                    (row.id, position, found[0]),
                )
            for digest, path in (blobs or {}).items():
                target = self.paths.blob(digest)
                if not os.path.lexists(target):
                    move(path, target)
            return self.set_tag(tag, row.id) if tag is not None else None

    def set_tag(self, name: str, image_id: str) -> str | None:
        """Point a canonical name at an image; returns the id of the image that had the name, if it is another.

        Raises ImageNotFound when the image is gone.
        """
        with self.database.transaction():
            if not self.database.row("SELECT 1 FROM images WHERE id = ? AND NOT hidden", (image_id,)):
                raise ImageNotFound(f"no such image: {image_id}")
            before = self.database.row("SELECT image_id FROM tags WHERE name = ?", (name,))
            self.database.execute(
                "INSERT INTO tags (name, image_id, tagged) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id, tagged = excluded.tagged",
                (name, image_id, time.time_ns()),
            )
        return before[0] if before is not None and before[0] != image_id else None

    def remove_tag(self, name: str) -> bool:
        """Forget a name; returns whether it was there."""
        return bool(self.database.execute("DELETE FROM tags WHERE name = ?", (name,)))

    def by_tag(self, name: str) -> ImageRow | None:
        """The image that a canonical name points at."""
        return self._one("WHERE id = (SELECT image_id FROM tags WHERE name = ?)", (name,))

    def by_id(self, image_id: str) -> ImageRow | None:
        """The image with a full id, hidden ones included."""
        return self._one("WHERE id = ?", (image_id,))

    def by_prefix(self, digits: str) -> ImageRow | None:
        """The image whose id begins with ``sha256:DIGITS``. Raises InvalidArgument when several do."""
        if not digits or len(digits) > 64 or not _HEX.issuperset(digits):
            return None
        low = f"sha256:{digits}"
        rows = self._rows("WHERE id >= ? AND id < ? AND NOT hidden LIMIT 2", (low, low + "g"))
        if len(rows) > 1:
            raise InvalidArgument(f"multiple images have an id that begins with {digits}; give more digits")
        return rows[0] if rows else None

    def all(self) -> list[ImageRow]:
        """All images but hidden ones, newest first."""
        return self._rows("WHERE NOT hidden ORDER BY created DESC, id", ())

    def tags(self, image_id: str | None = None) -> list[tuple[str, str, int]]:
        """``(name, image id, time of tagging in ns)`` of one image or of all, by name."""
        if image_id is None:
            rows = self.database.rows("SELECT name, image_id, tagged FROM tags ORDER BY name")
        else:
            rows = self.database.rows(
                "SELECT name, image_id, tagged FROM tags WHERE image_id = ? ORDER BY name", (image_id,)
            )
        return [(row[0], row[1], row[2]) for row in rows]

    def layers(self, image_id: str) -> list[int]:
        """Numbers of an image's layers, lowest first."""
        return [
            row[0]
            for row in self.database.rows(
                "SELECT layer_id FROM image_layers WHERE image_id = ? ORDER BY position", (image_id,)
            )
        ]

    def layer_sizes(self, image_id: str) -> list[int]:
        """Bytes of an image's layers, lowest first."""
        return [
            row[0]
            for row in self.database.rows(
                "SELECT size FROM image_layers JOIN layers ON layers.id = layer_id"
                " WHERE image_id = ? ORDER BY position",
                (image_id,),
            )
        ]

    def layer_diff_ids(self, image_id: str) -> list[str]:
        """Digests of an image's layers, lowest first."""
        return [
            row[0]
            for row in self.database.rows(
                "SELECT diff_id FROM image_layers JOIN layers ON layers.id = layer_id"
                " WHERE image_id = ? ORDER BY position",
                (image_id,),
            )
        ]

    def unshared_size(self, image_id: str) -> int:
        """Bytes of the layers that only this image has."""
        row = self.database.row(
            "SELECT coalesce(sum(size), 0) FROM layers"
            " WHERE id IN (SELECT layer_id FROM image_layers WHERE image_id = ?1)"
            " AND id NOT IN (SELECT layer_id FROM image_layers WHERE image_id != ?1)",
            (image_id,),
        )
        return int(row[0]) if row else 0

    def delete(self, image_id: str, *, keep_for_containers: bool) -> Garbage | None:
        """Delete an image and its tags inside the caller's transaction; pass the result to :meth:`discard` after it.

        With ``keep_for_containers``, an image that a container was made from is hidden instead, and goes with the
        last of them; then the result is None.
        """
        self.database.execute("DELETE FROM tags WHERE image_id = ?", (image_id,))
        if keep_for_containers and self.database.row("SELECT 1 FROM containers WHERE image_id = ?", (image_id,)):
            self.database.execute("UPDATE images SET hidden = 1 WHERE id = ?", (image_id,))
            return None
        return _delete_image(self.database, image_id)

    def discard(self, garbage: Garbage, trash: Workspace) -> None:
        """Move what :meth:`delete` left into ``trash``, which must have been made before the transaction."""
        for layer in garbage.layers:
            discard(trash, self.paths.layer(layer))
        # A second transaction: the same bytes may have become another image's since the first.
        with self.database.transaction():
            for digest in garbage.blobs:
                if not self.database.row("SELECT 1 FROM images WHERE id = ?1 OR manifest = ?1", (digest,)):
                    discard(trash, self.paths.blob(digest))

    def _one(self, where: str, values: tuple[object, ...]) -> ImageRow | None:
        rows = self._rows(where, values)
        return rows[0] if rows else None

    def _rows(self, where: str, values: tuple[object, ...]) -> list[ImageRow]:
        statement = f"SELECT id, config, manifest, size, created, hidden FROM images {where}"  # noqa: S608 - constants
        return [
            ImageRow(row[0], row[1], row[2], row[3], row[4], bool(row[5]))
            for row in self.database.rows(statement, values)
        ]


def drop_hidden_image(database: Database, image_id: str) -> Garbage | None:
    """Delete a hidden image that no container needs any more, inside the caller's transaction."""
    if database.row(
        "SELECT 1 FROM images WHERE id = ?1 AND hidden AND NOT EXISTS (SELECT 1 FROM containers WHERE image_id = ?1)",
        (image_id,),
    ):
        return _delete_image(database, image_id)
    return None


def _delete_image(database: Database, image_id: str) -> Garbage:
    """Delete an image's row and those of layers that no other image has."""
    layers = database.rows(
        "SELECT layer_id, diff_id FROM image_layers AS mine JOIN layers ON layers.id = layer_id"
        " WHERE image_id = ?1 AND NOT EXISTS"
        " (SELECT 1 FROM image_layers AS other WHERE other.layer_id = mine.layer_id AND other.image_id != ?1)"
        " GROUP BY layer_id ORDER BY max(position) DESC",
        (image_id,),
    )
    manifest = database.row("SELECT manifest FROM images WHERE id = ?", (image_id,))
    database.execute("DELETE FROM images WHERE id = ?", (image_id,))
    for layer, _ in layers:
        database.execute("DELETE FROM layers WHERE id = ?", (layer,))
    blobs = [image_id] + ([manifest[0]] if manifest is not None and manifest[0] is not None else [])
    return Garbage([row[0] for row in layers], [row[1] for row in layers], blobs)
