"""The table of images; changes that concern their layers, blobs and names too are made here, as one step each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from msgspec import Struct

from minidock.errors import ImageNotFound, InvalidArgument
from minidock.store.blobs import BlobTable, NewBlob
from minidock.store.database import Database
from minidock.store.failures import translated
from minidock.store.layers import LayerTable, NewLayer
from minidock.store.names import NameTable
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
        self.blobs = BlobTable(database)
        self.layer_table = LayerTable(database)
        self.names = NameTable(database)

    def add(
        self,
        row: ImageRow,
        diff_ids: Sequence[str],
        *,
        layers: Sequence[NewLayer] = (),
        blobs: Sequence[NewBlob] = (),
        tag: str | None = None,
        target: str | None = None,
        join: bool = False,
        digests: Sequence[tuple[str, str]] = (),
    ) -> str | None:
        """Add an image with its layers (lowest first) and give it its names, as one step.

        ``layers`` are moved into place unless the store has them; all others must be there. ``blobs`` with a path
        become part of the content store. ``tag``, ``target`` and ``join`` as in :meth:`NameTable.set_tag`;
        ``digests`` are (repository, digest) that registries have it under. An image that exists stays, and becomes
        visible if it was hidden. The image's size becomes that of its layers.

        Returns the id of the image that lost the tag, if any. Raises InvalidArgument when a layer is missing. After a
        failure everything is where it was.
        """
        by_diff_id = {layer.diff_id: layer for layer in layers}

        move, undo = _moves()
        with translated("add an image to", self.paths.data), self.database.transaction(undo):
            self.database.execute(
                "INSERT INTO images (id, config, manifest, size, created) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET hidden = 0, manifest = coalesce(excluded.manifest, manifest)",
                (row.id, row.config, row.manifest, row.size, row.created),
            )
            for position, diff_id in enumerate(diff_ids):
                found = self.layer_table.get(diff_id)
                if found is None:
                    layer = by_diff_id.get(diff_id)
                    if layer is None:
                        raise InvalidArgument(f"image {row.id}: its layer {diff_id} is not in the store")
                    number = self.layer_table.insert(layer)
                    move(layer.path, self.paths.layer(number))
                else:
                    number = found.id
                self.database.execute(
                    "INSERT INTO image_layers (image_id, position, layer_id) VALUES (?, ?, ?)"
                    " ON CONFLICT (image_id, position) DO UPDATE SET layer_id = excluded.layer_id",
                    (row.id, position, number),
                )
            self.database.execute(
                "UPDATE images SET size = (SELECT coalesce(sum(layers.size), 0) FROM image_layers"
                " JOIN layers ON layers.id = layer_id WHERE image_id = images.id) WHERE id = ?",
                (row.id,),
            )
            # What a repair has found lost and this image needs no more.
            self.database.execute(
                "DELETE FROM layers WHERE diff_id LIKE 'lost:%' AND id NOT IN (SELECT layer_id FROM image_layers)"
            )
            self._add_blobs(row.id, blobs, move)
            for repository, digest in digests:
                self.names.add_digest(repository, digest, row.id)
            return self.names.set_tag(tag, row.id, target, join=join) if tag is not None else None

    def add_blobs(self, image_id: str, blobs: Sequence[NewBlob]) -> None:
        """Add to what an image is made of: other manifests, layers in another form. As in :meth:`add`.

        Raises ImageNotFound when the image is gone.
        """
        move, undo = _moves()
        with translated("add to an image in", self.paths.data), self.database.transaction(undo):
            if self.by_id(image_id) is None:
                raise ImageNotFound(f"no such image: {image_id}")
            self._add_blobs(image_id, blobs, move)

    def keep(self, digest: str, path: str) -> bool:
        """Let the file ``path`` become the content of a blob that images know by name only; False: none does."""
        move, undo = _moves()
        with translated("add to an image in", self.paths.data), self.database.transaction(undo):
            row = self.blobs.get(digest)
            if row is None or row.kept:
                return False
            if not os.path.lexists(self.paths.blob(digest)):
                move(path, self.paths.blob(digest))
            self.database.execute("UPDATE blobs SET kept = 1 WHERE digest = ?", (digest,))
            return True

    def set_manifest(self, image_id: str, digest: str) -> None:
        """Let another manifest be the image's own; it must be one of its blobs."""
        self.database.execute("UPDATE images SET manifest = ? WHERE id = ?", (digest, image_id))

    def _add_blobs(self, image_id: str, blobs: Sequence[NewBlob], move: Callable[[str, str], None]) -> None:
        for blob in blobs:
            if blob.path is not None:
                target = self.paths.blob(blob.digest)
                if _is_damaged(target, blob):
                    move(target, f"{blob.path}.damaged")
                if not os.path.lexists(target):
                    move(blob.path, target)
            self.blobs.put(image_id, blob, kept=blob.path is not None)

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

    def is_whole(self, image_id: str) -> bool:
        """Whether the image's configuration and manifest are kept, and no repair has found one of its layers lost."""
        row = self.database.row(
            "SELECT (SELECT count(*) FROM blobs WHERE digest IN (images.id, images.manifest) AND kept) = 2"
            " AND NOT EXISTS (SELECT 1 FROM image_layers JOIN layers ON layers.id = layer_id"
            " WHERE image_id = images.id AND diff_id LIKE 'lost:%') FROM images WHERE id = ?",
            (image_id,),
        )
        return row is not None and bool(row[0])

    def all(self) -> list[ImageRow]:
        """All images but hidden ones, newest first."""
        return self._rows("WHERE NOT hidden ORDER BY created DESC, id", ())

    def layers(self, image_id: str) -> list[int]:
        """Numbers of an image's layers, lowest first."""
        return [layer.id for layer in self.layer_table.of_image(image_id)]

    def stack(self, image_id: str) -> list[int]:
        """As :meth:`layers`, each once, at its highest place: overlayfs takes no directory twice, and need not."""
        return list(reversed(dict.fromkeys(reversed(self.layers(image_id)))))

    def layer_sizes(self, image_id: str) -> list[int]:
        """Bytes of an image's layers, lowest first."""
        return [layer.size for layer in self.layer_table.of_image(image_id)]

    def layer_diff_ids(self, image_id: str) -> list[str]:
        """Digests of an image's layers, lowest first."""
        return [layer.diff_id for layer in self.layer_table.of_image(image_id)]

    def delete(self, image_id: str, *, keep_for_containers: bool) -> Garbage | None:
        """Delete an image and its names inside the caller's transaction; pass the result to :meth:`discard` after it.

        With ``keep_for_containers``, an image that a container was made from is hidden instead, and goes with the
        last of them; then the result is None.
        """
        self.names.remove_image(image_id)
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
                if not self.blobs.is_kept(digest):
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


def _is_damaged(path: str, blob: NewBlob) -> bool:
    """Whether a file of the content store is not what its name says: of layers the size is compared."""
    try:
        if os.lstat(path).st_size != blob.size:
            return True
        if blob.diff_id is not None:
            return False
        import hashlib  # it costs the start of every command

        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() != blob.digest.removeprefix("sha256:")
    except FileNotFoundError:
        return False


def _moves() -> tuple[Callable[[str, str], None], Callable[[], None]]:
    """A function that renames a file or directory, and one that takes back all that it did."""
    moved: list[tuple[str, str, int]] = []

    def move(source: str, target: str) -> None:
        # Noted first: an interrupt may come right after the rename.
        moved.append((source, target, os.lstat(source).st_ino))
        os.rename(source, target)

    def undo() -> None:
        for source, target, inode in reversed(moved):
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(target).st_ino == inode:
                    os.rename(target, source)

    return move, undo


def drop_hidden_image(database: Database, image_id: str) -> Garbage | None:
    """Delete a hidden image that no container needs any more, inside the caller's transaction."""
    if database.row(
        "SELECT 1 FROM images WHERE id = ?1 AND hidden AND NOT EXISTS (SELECT 1 FROM containers WHERE image_id = ?1)",
        (image_id,),
    ):
        return _delete_image(database, image_id)
    return None


def _delete_image(database: Database, image_id: str) -> Garbage:
    """Delete an image's row and those of layers and blobs that no other image has."""
    layers = LayerTable(database).delete_of(image_id)
    blobs = BlobTable(database).release(image_id)
    database.execute("DELETE FROM images WHERE id = ?", (image_id,))
    return Garbage([number for number, _ in layers], [diff_id for _, diff_id in layers], blobs)
