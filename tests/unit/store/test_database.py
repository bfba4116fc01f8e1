"""Transactions, threads, forks, versions and damage."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.errors import Corrupt, Timeout, Unsupported
from minidock.store.schema import MIGRATIONS
from minidock.store.store import Store
from minidock.store.workspace import Workspace
from tests.unit.store.conftest import MakeStore


def value(store: Store, key: str) -> str | None:
    row = store.database.row("SELECT value FROM meta WHERE key = ?", (key,))
    return None if row is None else row[0]


def put(store: Store, key: str, text: str) -> None:
    store.database.execute("INSERT INTO meta VALUES (?, ?)", (key, text))


def test_transactions_commit_roll_back_and_nest(store: Store, make_store: MakeStore) -> None:
    other = make_store()
    with store.database.transaction():
        put(store, "a", "1")
        with store.database.transaction():
            put(store, "b", "2")
        assert value(other, "a") is None
    assert value(other, "a") == "1"
    assert value(other, "b") == "2"

    def fail() -> None:
        with store.database.transaction():
            put(store, "c", "3")
            with store.database.transaction():
                raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert value(store, "c") is None
    with store.database.transaction():
        put(store, "d", "4")
    assert value(other, "d") == "4"


def test_files_are_taken_back_before_others_may_write(store: Store, make_store: MakeStore) -> None:
    other = make_store()
    done: list[str] = []

    def undo(name: str) -> Callable[[], None]:
        def it() -> None:
            other.database.execute("PRAGMA busy_timeout=0")
            with pytest.raises(Timeout):
                other.database.execute("INSERT INTO meta VALUES ('z', 'z')")
            done.append(name)

        return it

    def fail(error: type[BaseException]) -> None:
        with store.database.transaction(undo("outer")):
            put(store, "a", "1")
            with store.database.transaction(undo("inner")):
                put(store, "b", "1")
            raise error

    _ = other.database
    for error in (KeyError, KeyboardInterrupt):
        done.clear()
        with pytest.raises(error):
            fail(error)
        assert done == ["inner", "outer"]
        assert value(store, "a") is None
    with store.database.transaction(undo("never")):
        put(store, "c", "1")
    assert done == ["inner", "outer"]


def test_a_snapshot_does_not_move(store: Store, make_store: MakeStore) -> None:
    other = make_store()
    with store.database.snapshot():
        assert value(store, "a") is None
        put(other, "a", "1")
        assert value(store, "a") is None
    assert value(store, "a") == "1"


def test_many_threads_and_stores_write_at_once(store: Store, make_store: MakeStore) -> None:
    stores = [store, make_store(), make_store()]
    put(store, "count", "0")
    failures: list[BaseException] = []

    def work(mine: Store) -> None:
        try:
            for _ in range(20):
                with mine.database.transaction():
                    now = int(value(mine, "count") or 0)
                    mine.database.execute("UPDATE meta SET value = ? WHERE key = 'count'", (str(now + 1),))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(stores[i % 3],)) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert value(store, "count") == "180"


def test_first_use_by_many_threads_of_one_store(store: Store) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        try:
            with Workspace(store.database.paths, "x"):
                assert store.containers.all() == []
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_first_use_by_many_at_once(tmp_path: Path) -> None:
    stores = [Store(str(tmp_path / "data"), str(tmp_path / "run")) for _ in range(8)]
    failures: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work(mine: Store, key: str) -> None:
        barrier.wait()
        try:
            put(mine, key, "x")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(mine, str(i))) for i, mine in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert all(value(stores[0], str(i)) == "x" for i in range(8))
    for mine in stores:
        mine.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(store: Store) -> None:
    put(store, "parent", "1")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            put(store, "child", value(store, "parent") or "")
            store.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert value(store, "child") == "1"
    put(store, "after", "1")


def test_a_newer_schema_is_refused_in_one_line(store: Store, make_store: MakeStore) -> None:
    store.database.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    store.close()
    with pytest.raises(Unsupported, match="newer minidock") as caught:
        make_store().containers.all()
    assert "\n" not in str(caught.value)


def test_an_older_schema_is_brought_up(make_store: MakeStore, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    sqlite3.connect(data / "minidock.db").close()
    (data / "minidock.db").touch()
    store = make_store()
    assert store.containers.all() == []
    assert store.database.row("PRAGMA user_version") == (len(MIGRATIONS),)
    assert store.database.row("PRAGMA journal_mode") == ("wal",)


def test_damage_is_told(make_store: MakeStore, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "minidock.db").write_bytes(b"this is not a database, it is a text" * 100)
    with pytest.raises(Corrupt, match=r"minidock\.db"):
        make_store().containers.all()


def test_closing_and_going_on(store: Store) -> None:
    put(store, "a", "1")
    store.close()
    assert value(store, "a") == "1"
    assert store.database.row("PRAGMA foreign_keys") == (1,)
