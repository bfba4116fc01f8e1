"""Rows and directories of volumes agree, whatever dies in between."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from minidock.errors import VolumeNotFound
from minidock.store.store import Store
from minidock.store.volumes import Hold, VolumeRow
from minidock.store.workspace import Workspace
from tests.unit.store.conftest import MakeStore, add_container

RECORD = b'{"name":"%s","created":7,"labels":{"a":"b"},"version":1}'


def add_volume(store: Store, name: str, *, anonymous: bool = False) -> bool:
    record = RECORD % name.encode()
    work = store.volumes.workspace()
    try:
        os.makedirs(work.join(name) + "/_data")
        Path(work.join(name), "volume.json").write_bytes(record)
        return store.volumes.insert(VolumeRow(name, 7, anonymous, record), work)
    finally:
        store.database.afterwards(work.close)


def names(store: Store) -> list[str]:
    return [row.name for row in store.volumes.all()]


def test_a_name_is_given_once(store: Store) -> None:
    assert add_volume(store, "one")
    assert not add_volume(store, "one")
    assert names(store) == ["one"]
    assert os.listdir(store.paths.tmp) == []
    with pytest.raises(VolumeNotFound, match=r"^get two: no such volume$"):
        store.volumes.get("two")
    assert store.volumes.some(["one", "two"])[0].record == RECORD % b"one"


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    with contextlib.suppress(ZeroDivisionError), store.database.transaction():
        add_volume(store, "one")
        assert os.path.exists(store.paths.volume("one"))
        assert len(os.listdir(store.paths.tmp)) == 1  # whoever dies now is noticed
        _ = 1 / 0
    assert names(store) == []
    assert os.listdir(store.paths.tmp) == []
    assert os.listdir(store.paths.volumes) == []


def test_volumes_that_containers_have_stay(store: Store) -> None:
    add_volume(store, "one")
    add_volume(store, "two")
    container = add_container(store)
    store.volumes.use(container, ["one", "one"])
    assert store.volumes.links() == {"one": 1}
    with Workspace(store.paths, "trash") as trash:
        assert store.volumes.remove(["one", "two", "three"], trash) == (["two"], {"one": [container]})
        assert os.listdir(trash.path) == ["two"]
    assert os.listdir(store.paths.volumes) == ["one"]
    store.containers.remove(container)
    assert store.volumes.users("one") == []


def test_a_removal_that_fails_brings_all_back(store: Store) -> None:
    add_volume(store, "one")
    with Workspace(store.paths, "trash") as trash:
        with contextlib.suppress(ZeroDivisionError), store.database.transaction():
            store.volumes.remove(["one"], trash)
            _ = 1 / 0
        assert os.path.isdir(store.paths.volume("one") + "/_data")
    assert names(store) == ["one"]


def test_a_lost_row_comes_back(store: Store) -> None:
    for name in ("one", "two", "three", "four"):
        add_volume(store, name)
    store.database.execute("DELETE FROM volumes")
    Path(store.paths.volume("two"), "volume.json").write_bytes(b"\0\0")  # as a power cut leaves it
    Path(store.paths.volume("two"), "_data", "file").touch()
    Path(store.paths.volume("three"), "volume.json").write_bytes(b"")  # and nothing is in it
    os.rename(store.paths.volume("four"), store.paths.volume("five"))  # not its record, nor any data
    Path(store.paths.volumes, "stray").touch()
    os.mkdir(store.paths.volumes + "/.hidden")
    store.repair()
    assert names(store) == ["one", "two"]
    assert store.volumes.get("one").record == RECORD % b"one"
    assert b"two" in store.volumes.get("two").record
    assert os.path.exists(store.paths.volume("two") + "/_data/file")
    assert not os.path.exists(store.paths.volume("three"))
    assert not os.path.exists(store.paths.volume("five"))
    assert os.path.exists(store.paths.volumes + "/.hidden")


def test_a_directory_without_a_row_is_found_by_who_makes_it(store: Store) -> None:
    add_volume(store, "one")
    Path(store.paths.volume("one"), "_data", "file").touch()
    store.database.execute("DELETE FROM volumes")
    assert not add_volume(store, "one")
    assert names(store) == ["one"]
    assert os.path.exists(store.paths.volume("one") + "/_data/file")


def test_a_row_without_a_directory(store: Store) -> None:
    container = add_container(store)
    for name in ("one", "two"):
        add_volume(store, name)
        shutil.rmtree(store.paths.volume(name))
    store.volumes.use(container, ["one"])
    assert add_volume(store, "two")
    shutil.rmtree(store.paths.volume("two"))
    store.repair()
    assert names(store) == ["one"]


def test_what_dead_processes_began_goes(store: Store) -> None:
    add_volume(store, "one")
    with Workspace(store.paths, "fill") as mine:
        for owner in (mine.name, "fill-dead"):
            os.mkdir(f"{store.paths.volume('one')}/fill-{owner}")
        store.repair()
        assert sorted(os.listdir(store.paths.volume("one"))) == ["_data", f"fill-{mine.name}", "volume.json"]


def test_uses_of_no_container_go(store: Store, make_store: MakeStore) -> None:
    add_volume(store, "one")
    store.volumes.use("f" * 64, ["one"])
    store.repair()
    assert make_store().volumes.links() == {}


def test_holds_go_with_the_volume(store: Store) -> None:
    add_volume(store, "one")
    store.volumes.hold(Hold("one", "c", "boot", 0))
    store.volumes.hold(Hold("one", "c", "boot", 5))
    assert store.volumes.holds("one") == store.volumes.held_by("c") == [Hold("one", "c", "boot", 5)]
    with Workspace(store.paths, "trash") as trash:
        store.volumes.remove(["one"], trash)
    assert store.volumes.every_hold() == []
