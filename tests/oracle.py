"""An oracle for stores, as fsck for file systems: rows, files and digests of a data root are compared, with no code of
the store itself. Nobody may work on the data root meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from minidock import _native


def assert_sound(data: Path | str, *, downloads: int | None = 0) -> None:
    """Fail with all that is wrong. ``downloads`` is how many interrupted downloads there may be; None: any number."""
    found = problems(Path(data), downloads=downloads)
    assert not found, "; ".join(found)


def problems(data: Path, *, downloads: int | None = 0) -> list[str]:
    """What is wrong with a data root on which nobody works."""
    with contextlib.closing(sqlite3.connect(data / "minidock.db")) as connection:
        return _Check(data, connection).run(downloads)


def digest_of_file(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


class _Check:
    def __init__(self, data: Path, connection: sqlite3.Connection) -> None:
        self.data = data
        self.connection = connection
        self.found: list[str] = []

    def run(self, downloads: int | None) -> list[str]:
        sound = self.rows("PRAGMA integrity_check")
        assert sound == [("ok",)], sound
        self.expect(not self.rows("PRAGMA foreign_key_check"), "foreign keys")
        self.expect(not self.names("tmp"), f"tmp has {self.names('tmp')}")
        self.expect(not self.rows("SELECT * FROM leases"), f"leases {self.rows('SELECT * FROM leases')}")
        if downloads is not None:
            self.expect(len(self.names("downloads")) <= downloads, f"downloads has {self.names('downloads')}")
        self.blobs()
        self.layers()
        for row in self.rows("SELECT id, config, manifest, size FROM images"):
            self.image(*row)
        self.tags()
        return self.found

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    def names(self, folder: str) -> set[str]:
        return set(os.listdir(self.data / folder))

    def expect(self, condition: object, problem: str) -> None:
        if not condition:
            self.found.append(problem)

    def blobs(self) -> None:
        rows = self.rows("SELECT digest, size, kept, diff_id FROM blobs")
        kept = {digest.removeprefix("sha256:"): size for digest, size, is_kept, _ in rows if is_kept}
        there = self.names("content/sha256")
        self.expect(there == kept.keys(), f"content: without a row {there - kept.keys()}, lost {kept.keys() - there}")
        for name in there & kept.keys():
            path = self.data / "content/sha256" / name
            self.expect(digest_of_file(path) == f"sha256:{name}", f"blob {name} has another digest")
            self.expect(
                kept[name] == path.stat().st_size, f"blob {name}: {path.stat().st_size} bytes, not {kept[name]}"
            )
            self.expect(path.stat().st_mode & 0o7777 == 0o600, f"blob {name}: mode {path.stat().st_mode:o}")
        used = {row[0] for row in self.rows("SELECT digest FROM image_blobs")}
        self.expect(used == {row[0] for row in rows}, f"blobs of no image: { {row[0] for row in rows} - used }")

    def layers(self) -> None:
        rows = self.rows("SELECT id, diff_id, tar_size, split_size FROM layers")
        numbers = {str(row[0]) for row in rows}
        there = self.names("layers")
        self.expect(there == numbers, f"layers: without a row {there - numbers}, lost {numbers - there}")
        used = {str(row[0]) for row in self.rows("SELECT layer_id FROM image_layers")}
        self.expect(used == numbers, f"layers of no image: {numbers - used}")
        for number, diff_id, tar_size, split_size in rows:
            folder = self.data / "layers" / str(number)
            if not folder.is_dir():
                continue
            split = folder / "tar-split.zst"
            self.expect(split.stat().st_size == split_size, f"layer {number}: size of its tar-split")
            with open("/dev/null", "wb") as out:
                try:
                    result = _native.reassemble_layer(folder / "fs", split, out.fileno())
                except _native.NativeError as error:
                    self.found.append(f"layer {number} ({diff_id}): {error}")
                    continue
            self.expect(result.diff_id == diff_id, f"layer {number}: its tar has {result.diff_id}, not {diff_id}")
            self.expect(tar_size in (None, result.tar_size), f"layer {number}: size of its tar")

    def image(self, image_id: str, config: bytes, manifest: str | None, size: int) -> None:
        self.expect(f"sha256:{hashlib.sha256(config).hexdigest()}" == image_id, f"image {image_id}: its configuration")
        layers = self.rows(
            "SELECT position, diff_id, size FROM image_layers JOIN layers ON layers.id = layer_id WHERE image_id = ?"
            " ORDER BY position",
            image_id,
        )
        wanted = json.loads(config)["rootfs"]["diff_ids"] or []
        self.expect([row[0] for row in layers] == list(range(len(wanted))), f"image {image_id}: positions {layers}")
        self.expect([row[1] for row in layers] == wanted, f"image {image_id}: layers {layers}, not {wanted}")
        self.expect(size == sum(row[2] for row in layers), f"image {image_id}: size {size}")
        documents = {
            row[0]
            for row in self.rows(
                "SELECT digest FROM image_blobs JOIN blobs USING (digest) WHERE image_id = ? AND kept", image_id
            )
        }
        self.expect(image_id in documents, f"image {image_id}: its configuration is not kept")
        self.expect(manifest in documents, f"image {image_id}: its manifest {manifest} is not kept")
        path = self.data / "content/sha256" / (manifest or "").removeprefix("sha256:")
        if manifest in documents and digest_of_file(path) == manifest:
            text = json.loads(path.read_bytes())
            self.expect(text["config"]["digest"] == image_id, f"image {image_id}: its manifest is another's")
            self.expect(len(text["layers"] or []) == len(wanted), f"image {image_id}: layers of its manifest")

    def tags(self) -> None:
        for name, image_id, target in self.rows("SELECT name, image_id, target FROM tags"):
            images = [row[0] for row in self.rows("SELECT image_id FROM tag_images WHERE name = ?", name)]
            self.expect(image_id in images, f"tag {name}: means {image_id}, and has {images}")
            for one in images:
                self.expect(self.rows("SELECT 1 FROM images WHERE id = ? AND NOT hidden", one), f"tag {name}: {one}")
                if target is not None and target.startswith("sha256:"):
                    there = self.rows(
                        "SELECT 1 FROM image_blobs JOIN blobs USING (digest)"
                        " WHERE image_id = ? AND digest = ? AND kept",
                        one,
                        target,
                    )
                    self.expect(there, f"tag {name}: its target {target} is not kept by {one}")
