"""A store that an older minidock wrote is brought up, with all that is in it."""

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from minidock.store import schema
from minidock.store.recovery import boot_id
from minidock.store.store import Store
from tests.unit.store.conftest import MakeStore
from tests.unit.store.test_images import delete

CONFIG, MANIFEST = b'{"a":1}', b'{"config":2}'
TAGS = ["docker.io/library/x:latest", "localhost:5000/y/z:1"]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


IMAGE = digest_of(CONFIG)


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A data root as the first schema had it: two images that share a layer, two tags, a container."""
    data = tmp_path / "data"
    for folder in ("content/sha256", "layers", "containers", "tmp"):
        (data / folder).mkdir(mode=0o700, parents=True)
    data.chmod(0o700)
    connection = sqlite3.connect(data / "minidock.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    for statement in schema.MIGRATIONS[0].split(";"):
        connection.execute(statement)
    connection.execute("PRAGMA user_version=1")
    connection.execute("INSERT INTO meta VALUES ('boot_id', ?)", (boot_id(),))
    for number in (1, 2):
        connection.execute("INSERT INTO layers VALUES (?, ?, 100, 5)", (number, f"sha256:{number:064x}"))
        (data / f"layers/{number}/fs").mkdir(parents=True)
    other = digest_of(b"{}")
    for image, config, manifest in ((IMAGE, CONFIG, digest_of(MANIFEST)), (other, b"{}", None)):
        connection.execute("INSERT INTO images VALUES (?, ?, ?, 200, 7, 0)", (image, config, manifest))
        (data / "content/sha256" / image[7:]).write_bytes(config)
    (data / "content/sha256" / digest_of(MANIFEST)[7:]).write_bytes(MANIFEST)
    connection.executemany(
        "INSERT INTO image_layers VALUES (?, ?, ?)", [(IMAGE, 0, 1), (IMAGE, 1, 2), (IMAGE, 2, 1), (other, 0, 1)]
    )
    connection.executemany("INSERT INTO tags VALUES (?, ?, 9)", [(tag, IMAGE) for tag in TAGS])
    container = "c" * 64
    connection.execute("INSERT INTO containers VALUES (?, 'name', ?, 0, 'created', ?)", (container, IMAGE, b"{}"))
    (data / "containers" / container / "rw").mkdir(parents=True)
    connection.close()
    return data


def check(store: Store) -> None:
    row = store.images.by_tag(TAGS[0])
    assert row is not None
    assert (row.id, row.config, row.manifest, row.size) == (IMAGE, CONFIG, digest_of(MANIFEST), 200)
    assert store.images.layers(IMAGE) == [1, 2, 1]
    assert [(layer.tar_size, layer.split_size) for layer in store.layers.all()] == [(None, 0), (None, 0)]
    assert [(tag.name, tag.image_id, tag.target) for tag in store.names.tags()] == [(tag, IMAGE, None) for tag in TAGS]
    assert store.names.images(TAGS[1]) == [IMAGE]
    blobs = {row.digest: (row.size, row.kept) for row in store.blobs.of_image(IMAGE)}
    assert blobs == {IMAGE: (len(CONFIG), True), digest_of(MANIFEST): (len(MANIFEST), True)}
    assert store.images.is_whole(IMAGE)
    assert store.blobs.kept_size() == len(CONFIG) + len(MANIFEST) + 2
    assert [row.id for row in store.containers.all()] == ["c" * 64]
    assert store.database.row("PRAGMA user_version") == (len(schema.MIGRATIONS),)
    assert not store.database.rows("PRAGMA foreign_key_check")
    assert os.path.isdir(store.paths.downloads)


def test_all_is_there(version_1: Path, make_store: MakeStore) -> None:
    store = make_store()
    check(store)
    store.close()
    check(make_store())


def test_removing_gives_all_back(version_1: Path, make_store: MakeStore) -> None:
    store = make_store()
    store.database.execute("DELETE FROM containers")
    assert delete(store, digest_of(b"{}")) == []
    assert len(delete(store, IMAGE)) == 2
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.content) == []


def test_two_at_once(version_1: Path, make_store: MakeStore) -> None:
    import threading

    stores = [make_store() for _ in range(4)]
    threads = [threading.Thread(target=lambda one=one: one.database) for one in stores]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        check(store)


def test_a_failure_leaves_the_old_version(
    version_1: Path, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        broken = (*schema.MIGRATIONS[:1], schema.MIGRATIONS[1] + ";CREATE TABLE nonsense", *schema.MIGRATIONS[2:])
        patch.setattr("minidock.store.database.MIGRATIONS", broken)
        with pytest.raises(Exception, match=r"incomplete input|syntax"):
            _ = make_store().database
    connection = sqlite3.connect(version_1 / "minidock.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    check(make_store())
