"""The tables of names: tags, the images of each by platform, and the digests that registries gave to images.

Names in them are canonical, ``docker.io/library/busybox:latest``; repositories ``docker.io/library/busybox``.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from minidock.errors import ImageNotFound
from minidock.store.database import Database


class Tag(NamedTuple):
    """A name of an image: when it was given, in ns since 1970, and the manifest or index that it stands for, if any."""

    name: str
    image_id: str
    tagged: int
    target: str | None


class RepoDigest(NamedTuple):
    """The digest of a manifest or index of an image in a repository."""

    repository: str
    digest: str
    image_id: str


class NameTable:
    """Rows of tags and digests."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def set_tag(self, name: str, image_id: str, target: str | None = None, *, join: bool = False) -> str | None:
        """Point a canonical name at an image; returns the id of the image that had the name, if it is another.

        ``target`` is the digest of the manifest or index that the name stands for. With ``join``, a name that stands
        for the same target keeps its other images (other platforms); the new one becomes what the bare name means.
        Raises ImageNotFound when the image is gone.
        """
        with self.database.transaction():
            if not self.database.row("SELECT 1 FROM images WHERE id = ? AND NOT hidden", (image_id,)):
                raise ImageNotFound(f"no such image: {image_id}")
            before = self.database.row("SELECT image_id, target FROM tags WHERE name = ?", (name,))
            if before is not None and not (join and target is not None and before[1] == target):
                self.database.execute("DELETE FROM tag_images WHERE name = ?", (name,))
            self.database.execute(
                "INSERT INTO tags (name, image_id, tagged, target) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE"
                " SET image_id = excluded.image_id, tagged = excluded.tagged, target = excluded.target",
                (name, image_id, time.time_ns(), target),
            )
            self.database.execute("INSERT OR IGNORE INTO tag_images (name, image_id) VALUES (?, ?)", (name, image_id))
        return before[0] if before is not None and before[0] != image_id else None

    def get(self, name: str) -> Tag | None:
        """A name, with the image that it means without a platform."""
        row = self.database.row("SELECT name, image_id, tagged, target FROM tags WHERE name = ?", (name,))
        return None if row is None else Tag(*row)

    def images(self, name: str) -> list[str]:
        """Ids of all images of a name, the one that the bare name means first."""
        rows = self.database.rows(
            "SELECT tag_images.image_id FROM tag_images JOIN tags USING (name) WHERE name = ?"
            " ORDER BY tag_images.image_id != tags.image_id, tag_images.image_id",
            (name,),
        )
        return [row[0] for row in rows]

    def remove_tag(self, name: str, image_id: str | None = None) -> bool:
        """Forget a name, or that it is a name of one image; returns whether it was there.

        When the image that the bare name means goes, another image of the name takes its place.
        """
        with self.database.transaction():
            if image_id is None:
                return bool(self.database.execute("DELETE FROM tags WHERE name = ?", (name,)))
            gone = self.database.execute("DELETE FROM tag_images WHERE name = ? AND image_id = ?", (name, image_id))
            left = self.database.row("SELECT image_id FROM tag_images WHERE name = ?", (name,))
            if left is None:
                self.database.execute("DELETE FROM tags WHERE name = ?", (name,))
            else:
                self.database.execute(
                    "UPDATE tags SET image_id = ? WHERE name = ? AND image_id = ?", (left[0], name, image_id)
                )
            return bool(gone)

    def remove_image(self, image_id: str) -> None:
        """Forget all names of an image, inside the caller's transaction."""
        for tag in self.tags(image_id):
            self.remove_tag(tag.name, image_id)
        self.database.execute("DELETE FROM digests WHERE image_id = ?", (image_id,))

    def tags(self, image_id: str | None = None) -> list[Tag]:
        """The names of one image or of all, by name; a name of several images comes once for each."""
        where = "" if image_id is None else "WHERE tag_images.image_id = ?"
        rows = self.database.rows(
            "SELECT name, tag_images.image_id, tagged, target FROM tag_images JOIN tags USING (name)"  # noqa: S608
            f" {where} ORDER BY name, tag_images.image_id",
            () if image_id is None else (image_id,),
        )
        return [Tag(*row) for row in rows]

    def add_digest(self, repository: str, digest: str, image_id: str) -> None:
        """Note that a repository has an image under a digest."""
        self.database.execute(
            "INSERT OR IGNORE INTO digests (repository, digest, image_id) VALUES (?, ?, ?)",
            (repository, digest, image_id),
        )

    def remove_digests(self, image_id: str, repository: str, digest: str | None = None) -> list[str]:
        """Forget one digest or all of an image in a repository; returns those that were there."""
        with self.database.transaction():
            found = [
                row[0]
                for row in self.database.rows(
                    "SELECT digest FROM digests WHERE image_id = ?1 AND repository = ?2"
                    " AND digest = coalesce(?3, digest) ORDER BY digest",
                    (image_id, repository, digest),
                )
            ]
            for one in found:
                self.database.execute(
                    "DELETE FROM digests WHERE image_id = ? AND repository = ? AND digest = ?",
                    (image_id, repository, one),
                )
        return found

    def digests(self, image_id: str | None = None) -> list[RepoDigest]:
        """The digests of one image or of all."""
        where, values = ("", ()) if image_id is None else ("WHERE image_id = ?", (image_id,))
        rows = self.database.rows(
            f"SELECT repository, digest, image_id FROM digests {where} ORDER BY repository, digest, image_id",  # noqa: S608
            values,
        )
        return [RepoDigest(*row) for row in rows]

    def by_digest(self, repository: str, digest: str) -> list[str]:
        """Ids of the images that a repository has under a digest."""
        rows = self.database.rows(
            "SELECT image_id FROM digests JOIN images ON images.id = image_id"
            " WHERE repository = ? AND digest = ? AND NOT hidden ORDER BY image_id",
            (repository, digest),
        )
        return [row[0] for row in rows]
