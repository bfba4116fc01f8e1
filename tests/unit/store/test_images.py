"""The tables of images: tags, layers counted by rows, prefixes, failures that leave nothing."""

import os
from pathlib import Path

import pytest

from minidock.errors import ImageNotFound, InvalidArgument
from minidock.store.images import ImageRow
from minidock.store.store import Store
from minidock.store.workspace import Workspace
from tests.unit.store.conftest import add_image

TAG = "docker.io/library/x:latest"


def delete(store: Store, image_id: str) -> list[str]:
    with Workspace(store.paths, "rmi") as trash:
        with store.database.transaction():
            garbage = store.images.delete(image_id, keep_for_containers=True)
        assert garbage is not None
        store.images.discard(garbage, trash)
    return garbage.diff_ids


def test_a_tag_moves(store: Store) -> None:
    one = add_image(store, "a", ("l1",), TAG)
    two = add_image(store, "b", ("l2",), None)
    assert store.images.by_tag(TAG).id == one  # type: ignore[union-attr]
    assert store.names.set_tag(TAG, two) == one
    assert store.names.set_tag(TAG, two) is None
    assert [(tag.name, tag.image_id) for tag in store.names.tags()] == [(TAG, two)]
    assert {row.id for row in store.images.all()} == {one, two}
    with pytest.raises(ImageNotFound):
        store.names.set_tag(TAG, "sha256:" + "f" * 64)
    assert store.names.remove_tag(TAG)
    assert not store.names.remove_tag(TAG)


def test_layers_are_shared_and_counted(store: Store) -> None:
    one = add_image(store, "a", ("l1", "l2"))
    two = add_image(store, "b", ("l1", "l3"))
    assert store.images.layers(one) == [1, 2]
    assert store.images.layers(two) == [1, 3]
    assert store.images.layer_diff_ids(two) == ["l1", "l3"]
    assert delete(store, one) == ["l2"]
    assert sorted(os.listdir(store.paths.layers)) == ["1", "3"]
    assert delete(store, two) == ["l3", "l1"], "highest first"
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.content) == os.listdir(store.paths.tmp) == []
    assert store.images.layers(add_image(store, "c", ("l1",))) == [4], "a number is never used twice"


def test_a_layer_twice_in_one_image(store: Store) -> None:
    image = add_image(store, "a", ("l1", "l2"))
    with store.database.transaction():
        store.database.execute("INSERT INTO image_layers VALUES (?, 2, 1)", (image,))
    assert store.images.layers(image) == [1, 2, 1]
    assert sorted(delete(store, image)) == ["l1", "l2"]


def test_the_same_image_again(store: Store) -> None:
    one = add_image(store, "a", ("l1",), TAG)
    assert add_image(store, "a", ("l1",), "docker.io/library/y:1") == one
    assert len(store.images.all()) == 1
    assert len(store.names.tags(one)) == 2
    assert os.listdir(store.paths.layers) == ["1"]
    assert os.listdir(store.paths.tmp) == []


def test_prefixes(store: Store) -> None:
    one = add_image(store, "a")
    assert store.images.by_prefix("aaa").id == one  # type: ignore[union-attr]
    assert store.images.by_prefix("ab") is None
    assert store.images.by_prefix("") is None
    assert store.images.by_prefix("%") is None
    with store.database.transaction():
        row = ImageRow("sha256:aab" + "0" * 61, b"", None, 0, 0)
        store.images.add(row, ["one"])
    with pytest.raises(InvalidArgument, match="multiple images"):
        store.images.by_prefix("aa")


def test_an_image_whose_layer_is_missing_leaves_nothing(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="not in the store"):
        store.images.add(ImageRow("sha256:" + "a" * 64, b"{}", None, 0, 0), ["gone"], tag=TAG)
    assert store.images.all() == []
    assert store.names.tags() == []


def test_a_failure_moves_everything_back(store: Store) -> None:
    from minidock.store.blobs import NewBlob
    from minidock.store.layers import NewLayer

    _ = store.database
    with Workspace(store.paths, "test") as work:
        os.mkdir(work.join("l1"))
        Path(work.join("blob")).touch()
        with pytest.raises(InvalidArgument):
            store.images.add(
                ImageRow("sha256:" + "a" * 64, b"{}", None, 0, 0),
                ["l1", "gone"],
                layers=[NewLayer("l1", 1, work.join("l1"))],
                blobs=[NewBlob("sha256:" + "a" * 64, 0, "", work.join("blob"))],
            )
        assert sorted(os.listdir(work.path)) == ["blob", "l1"]
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.content) == []


def test_a_directory_left_by_a_dead_process_is_replaced(store: Store) -> None:
    _ = store.database
    os.makedirs(store.paths.layer(1) + "/fs/stale")
    add_image(store, "a")
    assert os.listdir(store.paths.layer(1) + "/fs") == ["file"]
    assert os.listdir(store.paths.tmp) == []
