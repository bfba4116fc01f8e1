"""Blobs: kept or known by name, of several images, in several repositories, lost and found."""

import hashlib
import os
from pathlib import Path

import pytest

from minidock.errors import ImageNotFound, NotFound
from minidock.store.blobs import NewBlob
from minidock.store.images import ImageRow
from minidock.store.store import Store
from minidock.store.workspace import Workspace
from tests.unit.store.conftest import add_image
from tests.unit.store.test_images import delete

DATA = b"some bytes"
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
DIFF_ID = "sha256:" + "d" * 64


def put(store: Store, image: str, *, data: bytes | None = DATA, diff_id: str | None = DIFF_ID) -> None:
    with Workspace(store.paths, "test") as work:
        path = None
        if data is not None:
            path = work.join("b")
            Path(path).write_bytes(data)
        store.images.add_blobs(image, [NewBlob(DIGEST, len(DATA), "type", path, diff_id)])


def test_known_by_name_then_kept(store: Store) -> None:
    image = add_image(store)
    put(store, image, data=None)
    assert not store.blobs.is_kept(DIGEST)
    assert not os.path.exists(store.paths.blob(DIGEST))
    before = store.blobs.kept_size()
    put(store, image)
    assert store.blobs.is_kept(DIGEST)
    assert store.blobs.kept_size() == before + len(DATA)
    put(store, image, data=None, diff_id=None)
    row = store.blobs.get(DIGEST)
    assert row is not None
    assert (row.kept, row.size, row.media_type, row.diff_id) == (True, len(DATA), "type", DIFF_ID)
    assert [one.digest for one in store.blobs.of_layer(DIFF_ID)] == [DIGEST]
    assert {one.digest for one in store.blobs.of_image(image)} == {DIGEST, image}


def test_the_last_image_takes_it_along(store: Store) -> None:
    one, two = add_image(store, "a", ("l",)), add_image(store, "b", ("l",))
    for image in (one, two):
        put(store, image)
    delete(store, one)
    assert store.blobs.is_kept(DIGEST)
    assert os.path.exists(store.paths.blob(DIGEST))
    delete(store, two)
    assert store.blobs.get(DIGEST) is None
    assert os.listdir(store.paths.content) == []


def test_it_becomes_anothers_while_it_is_discarded(store: Store) -> None:
    """The rows go in one transaction, the files after it: what came back between them stays."""
    one = add_image(store, "a", ("l",))
    put(store, one)
    with Workspace(store.paths, "rmi") as trash:
        with store.database.transaction():
            garbage = store.images.delete(one, keep_for_containers=True)
        two = add_image(store, "b", ("m",))
        put(store, two)
        assert garbage is not None
        store.images.discard(garbage, trash)
    assert Path(store.paths.blob(DIGEST)).read_bytes() == DATA


def test_of_an_image_that_is_gone(store: Store) -> None:
    _ = store.database
    with pytest.raises(ImageNotFound):
        put(store, "sha256:" + "e" * 64)
    assert os.listdir(store.paths.content) == []


@pytest.mark.parametrize("damage", ["short", "long", "flipped", "gone"])
def test_a_damaged_file_is_replaced(store: Store, damage: str) -> None:
    """A document by its digest, a layer by its size."""
    image = add_image(store)
    put(store, image, diff_id=None)
    file = Path(store.paths.blob(DIGEST))
    {
        "short": lambda: os.truncate(file, 3),
        "long": lambda: file.write_bytes(DATA + b"x"),
        "flipped": lambda: file.write_bytes(DATA[::-1]),
        "gone": file.unlink,
    }[damage]()
    put(store, image, diff_id=None)
    assert file.read_bytes() == DATA
    assert os.listdir(store.paths.tmp) == []


def test_a_failure_puts_a_damaged_file_back(store: Store) -> None:
    """Whatever is wrong with it: after a failure all is where it was."""
    image = add_image(store)
    put(store, image, diff_id=None)
    file = Path(store.paths.blob(DIGEST))
    os.truncate(file, 3)
    with Workspace(store.paths, "test") as work:
        Path(work.join("b")).write_bytes(DATA)

        def fail() -> None:
            with store.database.transaction():
                store.images.add_blobs(image, [NewBlob(DIGEST, len(DATA), "type", work.join("b"))])
                assert file.read_bytes() == DATA
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert file.read_bytes() == DATA[:3]
        assert sorted(os.listdir(work.path)) == ["b"]


def test_what_the_disk_has_lost(store: Store) -> None:
    image = add_image(store)
    put(store, image)
    assert store.images.by_id(image)
    os.unlink(store.paths.blob(DIGEST))
    store.blobs.forget_lost()
    assert not store.blobs.is_kept(DIGEST)
    put(store, image)
    os.truncate(store.paths.blob(DIGEST), 0)
    store.repair()
    assert not store.blobs.is_kept(DIGEST)
    assert not os.path.exists(store.paths.blob(DIGEST)), "a file without a row is garbage"
    assert store.blobs.is_kept(image)


def test_whole_images(store: Store) -> None:
    image = add_image(store)
    assert not store.images.is_whole(image), "it has no manifest"
    put(store, image, diff_id=None)
    store.images.set_manifest(image, DIGEST)
    assert store.images.is_whole(image)
    os.unlink(store.paths.blob(DIGEST))
    store.repair()
    assert not store.images.is_whole(image)
    put(store, image, diff_id=None)
    assert store.images.is_whole(image)
    (layer,) = store.images.layers(image)
    os.rename(store.paths.layer(layer), f"{store.paths.data}/elsewhere")
    store.repair()
    assert not store.images.is_whole(image)
    assert not store.images.is_whole("sha256:" + "e" * 64)


def test_repositories(store: Store) -> None:
    image = add_image(store)
    put(store, image)
    for name in ("a.example/one", "a.example/two/three", "a.example:5000/one", "b.example/a.example/one"):
        store.blobs.seen(DIGEST, name)
        store.blobs.seen(DIGEST, name)
    store.blobs.seen("sha256:" + "e" * 64, "a.example/one")
    assert store.blobs.repositories(DIGEST, "a.example") == ["one", "two/three"]
    assert store.blobs.repositories(DIGEST, "a.example:5000") == ["one"]
    assert store.blobs.repositories("sha256:" + "e" * 64, "a.example") == [], "no image has it"
    store.blobs.unseen(DIGEST, "a.example/one")
    assert store.blobs.repositories(DIGEST, "a.example") == ["two/three"]
    delete(store, image)
    assert not store.database.rows("SELECT * FROM blob_repositories")


def test_a_failure_in_the_middle_takes_all_back(store: Store) -> None:
    _ = store.database
    with Workspace(store.paths, "test") as work:
        Path(work.join("b")).write_bytes(DATA)
        blobs = [NewBlob(DIGEST, len(DATA), "type", work.join("b")), NewBlob("sha256:x", 1, "", work.join("none"))]
        with pytest.raises(NotFound):
            store.images.add(ImageRow("sha256:" + "c" * 64, b"{}", None, 0, 0), [], blobs=blobs, tag="x:y")
        assert os.listdir(work.path) == ["b"]
    assert store.images.all() == []
    assert store.blobs.get(DIGEST) is None
    assert os.listdir(store.paths.content) == []
