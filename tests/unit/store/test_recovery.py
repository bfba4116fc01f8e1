"""What a crash leaves is found cheaply and removed; what lives is left alone."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from minidock.errors import ImageNotFound, SystemFailure
from minidock.store import recovery, workspace
from minidock.store.containers import ContainerRow
from minidock.store.locks import lock
from minidock.store.store import Store
from minidock.store.workspace import Workspace
from tests.unit.store.conftest import MakeStore, add_container, add_image

DIE = """
import os, sys
from minidock.store.locks import lock
from minidock.store.store import Store
from minidock.store.workspace import Workspace
store = Store(sys.argv[1], sys.argv[2])
_ = store.database
work = Workspace(store.paths, "container-x")
os.makedirs(work.join("deep/er"))
open(work.join("deep/er/file"), "w").close()
os.symlink("/etc", work.join("link"))
os.makedirs(store.paths.container("f" * 64) + "/rw")
os.makedirs(store.paths.layer(77) + "/fs")
open(store.paths.blob("sha256:" + "e" * 64), "w").close()
os.kill(os.getpid(), 9)
"""


def die(store: Store) -> None:
    """A process that is killed with work in progress."""
    done = subprocess.run([sys.executable, "-c", DIE, store.paths.data, store.paths.run], check=False)
    assert done.returncode == -9


def test_nothing_to_do_is_cheap_to_see(store: Store) -> None:
    assert not recovery.needs_repair(store.database)


def test_a_killed_process_is_cleaned_up_after(store: Store, make_store: MakeStore) -> None:
    image = add_image(store)
    container = add_container(store, image_id=image)
    die(store)
    assert recovery.needs_repair(store.database)
    again = make_store()
    assert [row.id for row in again.containers.all()] == [container]
    assert os.listdir(again.paths.tmp) == []
    assert os.listdir(again.paths.containers) == [container]
    assert os.listdir(again.paths.layers) == ["1"]
    assert os.listdir(again.paths.content) == ["a" * 64]
    assert os.path.isdir("/etc")
    assert not recovery.needs_repair(again.database)


def test_work_of_the_living_is_left_alone(store: Store, make_store: MakeStore) -> None:
    _ = store.database
    with Workspace(store.paths, "mine") as work:
        Path(work.join("file")).touch()
        assert not workspace.abandoned(store.paths)
        die(store)
        make_store().containers.all()
        assert os.path.exists(work.join("file"))
    assert os.listdir(store.paths.tmp) == []


def test_rows_whose_directory_is_gone(store: Store) -> None:
    one, two = add_container(store, "1"), add_container(store, "2")
    os.rmdir(store.paths.container(one) + "/rw")
    os.rmdir(store.paths.container(one))
    store.repair()
    assert [row.id for row in store.containers.all()] == [two]


def test_a_lost_layer_is_healed_by_importing_it_again(store: Store) -> None:
    image = add_image(store, "a", ("l1",))
    os.rename(store.paths.layer(1), store.paths.tmp + "/../gone")
    store.repair()
    assert store.images.layer_table.get("l1") is None
    assert store.images.by_id(image) is not None
    add_image(store, "a", ("l1",))
    assert store.images.layers(image) == [2]
    store.repair()
    assert store.database.rows("SELECT id FROM layers") == [(2,)]


def test_a_boot_triggers_a_repair(store: Store, make_store: MakeStore) -> None:
    container = add_container(store)
    seen: list[list[str]] = []

    def hook(rows: Sequence[ContainerRow]) -> None:
        seen.append([row.id for row in rows])

    store.database.execute("UPDATE meta SET value = 'another' WHERE key = 'boot_id'")
    os.symlink("yes", store.paths.run + "/overlay-1")
    again = make_store()
    again.hooks.append(hook)
    _ = again.database
    assert seen == [[container]]
    assert os.listdir(store.paths.run) == ["containers"]
    _ = make_store().database
    assert len(seen) == 1


def test_a_hook_may_use_the_store_and_may_fail(store: Store) -> None:
    add_container(store)
    done: list[int] = []

    def bad(rows: Sequence[ContainerRow]) -> None:
        raise SystemFailure("kill cgroup x: busy")

    def good(rows: Sequence[ContainerRow]) -> None:
        store.containers.update(rows[0].id, state="exited")
        done.append(1)

    store.hooks += [bad, good]
    with pytest.raises(SystemFailure, match="busy"):
        store.repair()
    assert done == [1]
    assert store.containers.all()[0].state == "exited"


def test_strange_things_in_tmp(store: Store, make_store: MakeStore) -> None:
    _ = store.database
    os.symlink("/etc", store.paths.tmp + "/link")
    os.mkfifo(store.paths.tmp + "/fifo")
    Path(store.paths.tmp, "file").touch()
    make_store().containers.all()
    assert os.listdir(store.paths.tmp) == []
    assert os.path.isdir("/etc")


def test_a_hidden_image_goes_when_its_last_container_is_lost(store: Store) -> None:
    image = add_image(store)
    container = add_container(store, image_id=image)
    with store.database.transaction():
        store.images.delete(image, keep_for_containers=True)
    os.rmdir(store.paths.container(container) + "/rw")
    os.rmdir(store.paths.container(container))
    store.repair()
    assert store.images.by_id(image) is None
    assert os.listdir(store.paths.layers) == []
    with pytest.raises(ImageNotFound):
        add_container(store, image_id=image)


def test_an_interrupted_removal_is_finished_by_the_next(store: Store, make_store: MakeStore) -> None:
    image = add_image(store, tag="docker.io/library/x:latest")

    def interrupted() -> None:
        with Workspace(store.paths, "rmi", repair=True):
            with store.database.transaction():
                store.images.delete(image, keep_for_containers=True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(store.paths.layers) == ["1"]
    assert make_store().images.all() == []
    assert os.listdir(store.paths.layers) == os.listdir(store.paths.tmp) == os.listdir(store.paths.content) == []


def test_what_killed_builds_leave(store: Store) -> None:
    """Locks, secrets and cache mounts that are half made go; those of a build that goes on stay."""
    _ = store.database
    build, secrets = Path(store.paths.data, "build"), Path(store.paths.run, "build")
    for name in ("locks", "mounts/known/data", "mounts/known/data-1.new/x", "mounts/used/data-2.new", "mounts/unknown"):
        (build / name).mkdir(parents=True)
    for name in ("held", "free"):
        (build / "locks" / name).touch()
    store.build_cache.note_mount("known", "/c")
    with Workspace(store.paths, "build") as work, lock(str(build / "locks/held")), lock(str(build / "mounts/used")):
        for name in (f"{work.name}.1", "build-dead.2"):
            (secrets / name).mkdir(parents=True)
            (secrets / name / "secret").touch()
        store.repair()
        assert os.listdir(build / "locks") == ["held"]
        assert os.listdir(secrets) == [f"{work.name}.1"]
        assert sorted(os.listdir(build / "mounts")) == ["known", "used"]
        assert os.listdir(build / "mounts/known") == ["data"]
        assert os.listdir(build / "mounts/used") == ["data-2.new"]
    store.repair()
    assert os.listdir(build / "locks") == os.listdir(secrets) == []
    assert os.listdir(build / "mounts") == ["known"]
