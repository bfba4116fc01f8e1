"""Workspaces are born apart from each other; one that was never renamed is swept."""

import os
from pathlib import Path

from minidock.store import spread, workspace
from minidock.store.store import Store
from minidock.store.workspace import Workspace


def test_workspaces_end_up_in_tmp(store: Store) -> None:
    _ = store.database
    for _ in range(100):
        with Workspace(store.paths, "test") as work:
            assert os.path.dirname(work.path) == store.paths.tmp
            assert os.stat(work.path).st_mode & 0o777 == 0o700
            assert spread.left(store.paths) == []
    assert os.stat(store.paths.spread).st_mode & 0o777 == 0o700
    assert 1 < len(os.listdir(store.paths.spread)) <= 32


def test_one_that_was_never_renamed_is_swept(store: Store) -> None:
    _ = store.database
    path = Path(spread.make(store.paths, "x"))
    (path / "file").touch()
    assert spread.left(store.paths) == [str(path)]
    assert workspace.sweep(store.paths) == 1
    assert spread.left(store.paths) == []


def test_a_lost_directory_is_made_again(store: Store) -> None:
    _ = store.database
    assert spread.left(store.paths) == []
    for parent in [spread.make(store.paths, str(n)).rpartition("/")[0] for n in range(40)]:
        for left in spread.left(store.paths):
            os.rmdir(left)
        if os.path.isdir(parent):
            os.rmdir(parent)
    Workspace(store.paths, "again").close()
