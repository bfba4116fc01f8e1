"""The containers table: names, prefixes, the hold on the image, directories."""

import os
from pathlib import Path

import pytest

from minidock.errors import Conflict, ContainerNotFound, ImageNotFound, InvalidArgument, NameInUse
from minidock.store.containers import ContainerRow
from minidock.store.store import Store
from tests.unit.store.conftest import add_container, add_image


def left(store: Store) -> list[str]:
    return os.listdir(store.paths.tmp)


def test_insert_get_list_update_remove(store: Store) -> None:
    image = add_image(store, tag="docker.io/library/x:latest")
    one = add_container(store, "1", "one", image)
    two = add_container(store, "2", "two", image)
    assert Path(store.paths.container(one), "rw").is_dir()
    assert [row.id for row in store.containers.all()] == [two, one]
    assert store.containers.get("one").id == store.containers.get("/one").id == store.containers.get("11").id == one
    assert store.containers.update(one, state="running", record=b"[]")
    assert store.containers.get(one) == ContainerRow(
        one, "one", image, store.containers.get(one).created, "running", b"[]"
    )
    assert not store.containers.update(one, state="x", expected_state="created")
    assert store.containers.get(one).state == "running"
    store.containers.update(one, name="uno")
    assert store.containers.get("uno").id == one
    store.containers.remove(one)
    assert store.containers.find("uno") is None
    assert not os.path.exists(store.paths.container(one))
    assert [row.id for row in store.containers.of_image(image)] == [two]
    assert left(store) == []


def test_names_are_unique_and_the_holder_is_named(store: Store) -> None:
    one = add_container(store, "1", "same")
    with pytest.raises(NameInUse, match=f'already in use by container "{one}"'):
        add_container(store, "2", "same")
    assert os.listdir(store.paths.containers) == [one]
    two = add_container(store, "3", "other")
    with pytest.raises(NameInUse, match=one):
        store.containers.update(two, name="same")
    assert left(store) == []


def test_keys(store: Store) -> None:
    first, second = "ab" + "1" * 62, "ab" + "2" * 62
    for container_id in (first, second):
        with store.containers.workspace(container_id) as work:
            os.mkdir(work.join(container_id))
            store.containers.insert(ContainerRow(container_id, "n" + container_id[2], None, 0, "created", b""), work)
    # a name that is also a prefix of another's id wins over the prefix
    add_container(store, "3", "ab1")
    assert store.containers.get("ab1").id == "3" * 64
    assert store.containers.get("ab11").id == first
    with pytest.raises(InvalidArgument, match="multiple containers"):
        store.containers.get("ab")
    for key in ("", "/", "zz", "ab3", "AB1", "ab%", "a" * 65, "ab\0"):
        with pytest.raises(ContainerNotFound, match="no such container"):
            store.containers.get(key)


def test_a_container_holds_its_image(store: Store) -> None:
    image = add_image(store, tag="docker.io/library/x:latest")
    one = add_container(store, "1", image_id=image)
    with store.database.transaction():
        assert store.images.delete(image, keep_for_containers=True) is None
    assert store.images.all() == []
    assert store.images.by_tag("docker.io/library/x:latest") is None
    assert store.images.layers(image) == [1]
    assert os.path.isdir(store.paths.layer(1))
    with pytest.raises(ImageNotFound, match="removed meanwhile"):
        add_container(store, "2", image_id=image)
    assert os.listdir(store.paths.containers) == [one]
    store.containers.remove(one)
    assert store.images.by_id(image) is None
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.content) == left(store) == []


def test_a_removed_image_cannot_be_used(store: Store) -> None:
    with pytest.raises(ImageNotFound):
        add_container(store, "1", image_id="sha256:" + "f" * 64)
    assert os.listdir(store.paths.containers) == left(store) == []


def test_removal_that_is_forbidden_changes_nothing(store: Store) -> None:
    one = add_container(store)

    def forbid(row: ContainerRow) -> None:
        raise Conflict(f"{row.state}: no")

    with pytest.raises(Conflict, match="created: no"):
        store.containers.remove(one, forbid)
    assert os.path.isdir(store.paths.container(one))
    with pytest.raises(ContainerNotFound):
        store.containers.remove("2" * 64)
    with pytest.raises(ContainerNotFound):
        store.containers.update("2" * 64, state="x")
    assert left(store) == []


def test_a_directory_that_is_in_the_way(store: Store) -> None:
    _ = store.database
    os.makedirs(store.paths.container("1" * 64) + "/full")
    with pytest.raises(Exception, match="not empty"):
        add_container(store, "1")
    assert store.containers.all() == []
    assert left(store) == []
