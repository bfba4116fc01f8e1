"""Layers that work in progress relies on."""

import os
import threading
from pathlib import Path

import pytest

from minidock.errors import MinidockError
from minidock.store.layers import NewLayer
from minidock.store.store import Store
from minidock.store.workspace import Workspace
from tests.unit.store.conftest import MakeStore, add_image
from tests.unit.store.test_images import delete


def new(work: Workspace, diff_id: str) -> NewLayer:
    """An unpacked layer with one file."""
    os.makedirs(work.join(diff_id) + "/fs")
    Path(work.join(diff_id), "fs/file").write_text(diff_id)
    Path(work.join(diff_id), "tar-split.zst").write_bytes(b"split")
    return NewLayer(diff_id, 7, work.join(diff_id), 1024)


def leases(store: Store) -> int:
    return len(store.database.rows("SELECT * FROM leases"))


def test_what_nobody_takes_over_goes(store: Store) -> None:
    _ = store.database
    with Workspace(store.paths, "pull") as work:
        row = store.layers.register(work, new(work, "l1"))
        assert (row.size, row.tar_size, row.split_size) == (7, 1024, 5)
        assert Path(store.paths.layer(row.id), "fs/file").read_text() == "l1"
        assert leases(store) == 1
        store.layers.release(work)
        assert not os.path.exists(store.paths.layer(row.id))
    assert store.layers.all() == []
    assert leases(store) == 0
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.tmp) == []


def test_what_an_image_takes_over_stays(store: Store) -> None:
    _ = store.database
    with Workspace(store.paths, "pull") as work:
        row = store.layers.register(work, new(work, "l1"))
        image = add_image(store, "a", ("l1",))
        store.layers.release(work)
    assert store.images.layers(image) == [row.id]
    assert delete(store, image) == ["l1"]


def test_a_lease_outlives_the_image(store: Store) -> None:
    image = add_image(store, "a", ("l1", "l2"))
    with Workspace(store.paths, "pull") as work, Workspace(store.paths, "pull") as other:
        assert [row.diff_id for row in store.layers.lease(work, ["l2", "l2", "nope"])] == ["l2"]
        assert store.layers.lease(other, ["l2"])
        assert store.layers.lease(work, ["nope"]) == []
        assert delete(store, image) == ["l1"]
        row = store.layers.get("l2")
        assert row is not None
        assert os.path.isdir(store.paths.layer(row.id))
        store.layers.release(work)
        assert os.path.isdir(store.paths.layer(row.id)), "the other holds it"
        store.layers.release(other)
        assert store.layers.get("l2") is None
    assert os.listdir(store.paths.layers) == []


def test_two_register_the_same(store: Store, make_store: MakeStore) -> None:
    """Whoever comes second holds what is there, and keeps its own directory to throw away."""
    second = make_store()
    _ = store.database, second.database
    with Workspace(store.paths, "pull") as work, Workspace(second.paths, "pull") as other:
        one, two = new(work, "l1"), new(other, "l1")
        rows = []
        threads = [
            threading.Thread(target=lambda s=s, w=w, n=n: rows.append(s.layers.register(w, n)))  # type: ignore[misc]
            for s, w, n in ((store, work, one), (second, other, two))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rows[0] == rows[1]
        assert sorted(map(os.path.exists, (one.path, two.path))) == [False, True]
        store.layers.release(work)
        assert store.layers.get("l1")
        second.layers.release(other)
        assert store.layers.get("l1") is None
    assert os.listdir(store.paths.layers) == []


def test_a_failed_registration_gives_the_directory_back(store: Store) -> None:
    _ = store.database
    with Workspace(store.paths, "pull") as work:
        layer = new(work, "l1")

        def fail() -> None:
            with store.database.transaction():
                store.layers.register(work, layer)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert os.path.isdir(layer.path)
        assert store.layers.all() == []
        assert os.listdir(store.paths.layers) == []


def test_leases_of_the_dead_are_void(store: Store, make_store: MakeStore) -> None:
    _ = store.database
    alive, dead = Workspace(store.paths, "pull"), Workspace(store.paths, "pull")
    kept = store.layers.register(alive, new(alive, "kept"))
    store.layers.register(dead, new(dead, "lost"))
    store.layers.register(alive, new(alive, "both"))
    store.layers.lease(dead, ["both"])
    dead.abandon()
    other = make_store()
    assert {row.diff_id for row in other.layers.all()} == {"kept", "both"}
    assert other.database.rows("SELECT DISTINCT owner FROM leases") == [(alive.name,)]
    assert os.path.isdir(store.paths.layer(kept.id))
    store.layers.release(alive)
    alive.close()
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.tmp) == []


def test_a_release_that_fails_is_done_by_the_next_engine(
    store: Store, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = store.database
    with Workspace(store.paths, "pull") as work:
        store.layers.register(work, new(work, "l1"))
        with monkeypatch.context() as patch:
            patch.setattr(store.layers, "_delete_unused", lambda number: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                store.layers.release(work)
    assert len(os.listdir(store.paths.tmp)) == 1, "it is left as the work of a dead process"
    assert make_store().layers.all() == []
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.tmp) == []


def test_healing_leaves_no_lost_row(store: Store) -> None:
    """The image gets the layer anew; the row that stood for the lost one goes."""
    add_image(store, "a", ("l1", "l2"))
    (first, _) = store.images.layers("sha256:" + "a" * 64)
    os.rename(store.paths.layer(first), f"{store.paths.data}/elsewhere")
    store.repair()
    assert store.layers.get("l1") is None
    add_image(store, "a", ("l1", "l2"))
    assert [row.diff_id for row in store.layers.of_image("sha256:" + "a" * 64)] == ["l1", "l2"]
    assert {row.diff_id for row in store.layers.all()} == {"l1", "l2"}


def test_workspaces_are_made_while_others_look(store: Store, make_store: MakeStore) -> None:
    """Whoever asks if work is abandoned has its lock for a moment; that is nobody's failure."""
    from minidock.store.workspace import abandoned, is_alive

    _ = store.database
    stop, failures = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            abandoned(store.paths)
            for name in os.listdir(store.paths.tmp):
                is_alive(store.paths, name)

    def work() -> None:
        try:
            for _ in range(300):
                with Workspace(store.paths, "pull"):
                    pass
        except (MinidockError, OSError) as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)] + [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads[3:]:
        thread.join()
    stop.set()
    for thread in threads[:3]:
        thread.join()
    assert not failures
    assert os.listdir(store.paths.tmp) == []
