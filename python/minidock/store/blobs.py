"""The table of blobs: what images are made of, by digest, and which of it lies in the content store."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct

from minidock.store.database import Database


class NewBlob(Struct):
    """A blob of an image that is being added.

    ``path`` is the file that becomes part of the content store; None: it is there already, or only its name is known.
    """

    digest: str
    size: int
    media_type: str
    path: str | None = None
    diff_id: str | None = None
    """Of a layer: the digest of its uncompressed tar."""


class BlobRow(Struct):
    """One blob; ``kept`` says whether the content store has its bytes."""

    digest: str
    size: int
    media_type: str
    diff_id: str | None
    kept: bool


class BlobTable:
    """Rows of blobs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.paths = database.paths

    def get(self, digest: str) -> BlobRow | None:
        """One blob."""
        rows = self._rows("WHERE digest = ?", (digest,))
        return rows[0] if rows else None

    def of_image(self, image_id: str) -> list[BlobRow]:
        """The blobs of an image."""
        return self._rows("WHERE digest IN (SELECT digest FROM image_blobs WHERE image_id = ?)", (image_id,))

    def of_layer(self, diff_id: str) -> list[BlobRow]:
        """The forms in which a layer is known to travel, those with bytes first."""
        return self._rows("WHERE diff_id = ? ORDER BY kept DESC, digest", (diff_id,))

    def kept_size(self) -> int:
        """Bytes of all blobs in the content store."""
        row = self.database.row("SELECT coalesce(sum(size), 0) FROM blobs WHERE kept")
        return int(row[0]) if row else 0

    def put(self, image_id: str, blob: NewBlob, *, kept: bool) -> None:
        """Note a blob of an image, inside the caller's transaction. A blob that was kept stays so."""
        self.database.execute(
            "INSERT INTO blobs (digest, size, media_type, diff_id, kept) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET kept = max(kept, excluded.kept),"
            " size = max(size, excluded.size), diff_id = coalesce(diff_id, excluded.diff_id)",
            (blob.digest, blob.size, blob.media_type, blob.diff_id, kept),
        )
        self.database.execute(
            "INSERT OR IGNORE INTO image_blobs (image_id, digest) VALUES (?, ?)", (image_id, blob.digest)
        )

    def is_kept(self, digest: str) -> bool:
        """Whether the content store has a blob's bytes."""
        return self.database.row("SELECT 1 FROM blobs WHERE digest = ? AND kept", (digest,)) is not None

    def drop(self, digests: Sequence[str]) -> None:
        """Note that blobs are not kept any more, inside the caller's transaction."""
        for digest in digests:
            self.database.execute("UPDATE blobs SET kept = 0 WHERE digest = ?", (digest,))

    def seen(self, digest: str, repository: str) -> None:
        """Note that a repository (``registry.example/team/app``) has a blob; one that no image has is not noted."""
        self.database.execute(
            "INSERT OR IGNORE INTO blob_repositories (digest, repository) SELECT digest, ? FROM blobs WHERE digest = ?",
            (repository, digest),
        )

    def unseen(self, digest: str, repository: str) -> None:
        """Forget that a repository has a blob."""
        self.database.execute("DELETE FROM blob_repositories WHERE digest = ? AND repository = ?", (digest, repository))

    def repositories(self, digest: str, host: str) -> list[str]:
        """Repositories of one registry that have been seen to have a blob, as paths without the host."""
        prefix = f"{host}/"
        rows = self.database.rows("SELECT repository FROM blob_repositories WHERE digest = ?", (digest,))
        return sorted(row[0].removeprefix(prefix) for row in rows if row[0].startswith(prefix))

    def release(self, image_id: str) -> list[str]:
        """Delete the rows of blobs that only this image has, inside the caller's transaction; returns those kept.

        The image's own row goes next.
        """
        rows = self.database.rows(
            "SELECT digest, kept FROM image_blobs AS mine JOIN blobs USING (digest) WHERE image_id = ?1 AND NOT EXISTS"
            " (SELECT 1 FROM image_blobs AS other WHERE other.digest = mine.digest AND other.image_id != ?1)",
            (image_id,),
        )
        self.database.execute("DELETE FROM image_blobs WHERE image_id = ?", (image_id,))
        for digest, _ in rows:
            self.database.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
        return [digest for digest, kept in rows if kept]

    def forget_lost(self) -> None:
        """Note which kept blobs have no file any more, or one of another size (the machine lost power)."""
        with os.scandir(self.paths.content) as entries:
            sizes = {f"sha256:{entry.name}": entry.stat(follow_symlinks=False).st_size for entry in entries}
        rows = self.database.rows("SELECT digest, size FROM blobs WHERE kept")
        self.drop([digest for digest, size in rows if digest not in sizes or size not in (0, sizes[digest])])
        for digest, size in rows:
            if not size and sizes.get(digest):
                # Of a store whose schema did not know it.
                self.database.execute("UPDATE blobs SET size = ? WHERE digest = ?", (sizes[digest], digest))

    def _rows(self, where: str, values: tuple[object, ...]) -> list[BlobRow]:
        rows = self.database.rows(f"SELECT digest, size, media_type, diff_id, kept FROM blobs {where}", values)  # noqa: S608
        return [BlobRow(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]
