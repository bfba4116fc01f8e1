"""Roots are made private, and nobody's directory is taken over."""

import os
import stat
from pathlib import Path

import pytest

from minidock.errors import Denied, InvalidArgument
from minidock.store.paths import Paths
from minidock.store.store import Store


def test_nothing_is_made_before_the_first_use(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "data"), str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []
    _ = store.database
    store.close()


def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = Store(str(tmp_path / "a/b/data"), str(tmp_path / "run"))
        store.database.rows("SELECT 1")
        store.database.execute("INSERT INTO meta VALUES ('x', 'y')")
    finally:
        os.umask(old)
    for path in (tmp_path / "a/b/data", tmp_path / "run"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (tmp_path / "a/b/data").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert {path.name for path in (tmp_path / "a/b/data").iterdir()} >= {"minidock.db", "layers", "containers", "tmp"}
    store.close()


def test_an_open_but_empty_directory_is_closed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    Paths(str(tmp_path / "data"), str(tmp_path / "run")).prepare()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_directory_of_others_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home").chmod(0o755)
    (tmp_path / "home/file").touch()
    with pytest.raises(Denied, match="open to other users"):
        Paths(str(tmp_path / "home"), str(tmp_path / "run")).prepare()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o755


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(InvalidArgument, match="not a directory"):
        Paths(str(tmp_path / "data"), str(tmp_path / "run")).prepare()


def test_a_link_to_another_disk_works(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to("disk")
    store = Store(str(tmp_path / "data"), str(tmp_path / "run"))
    assert store.containers.all() == []
    store.close()


@pytest.mark.parametrize("root", ["relative", "", "/a\0b", "/a\udcff"])
def test_impossible_roots(root: str) -> None:
    with pytest.raises(InvalidArgument, match="data root"):
        Paths(root, "/run/x")


def test_another_users_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", 1234, 1234)
    with pytest.raises(Denied, match="belongs to uid 1234"):
        Paths(str(tmp_path / "data"), str(tmp_path / "run")).prepare()
