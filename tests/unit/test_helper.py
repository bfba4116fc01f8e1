"""The helper is found in the package and copied once, by digest."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from minidock import helper
from minidock.store.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(helper, "_installed", {})
    store = Store(str(tmp_path / "data"), str(tmp_path / "run"))
    _ = store.database
    return store


def test_a_copy_by_digest_is_made_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = helper.installed(store.paths)
    data = Path(path).read_bytes()
    assert data == Path(helper.shipped()).read_bytes()
    assert helper.digest(path) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
    inode = os.stat(path).st_ino
    monkeypatch.setattr(helper, "_installed", {})
    assert helper.installed(store.paths) == path
    assert os.stat(path).st_ino == inode
    assert os.listdir(store.paths.tmp) == []


def test_another_version_gets_its_own_copy(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "helper"
    shipped.write_bytes(b"one")
    shipped.chmod(0o755)
    monkeypatch.setattr(helper, "shipped", lambda: str(shipped))
    first = helper.installed(store.paths)
    shipped.write_bytes(b"two")
    assert helper.installed(store.paths) == first, "a process stays with its own"
    monkeypatch.setattr(helper, "_installed", {})
    second = helper.installed(store.paths)
    assert (Path(first).read_bytes(), Path(second).read_bytes()) == (b"one", b"two")


def test_a_torn_copy_is_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = helper.installed(store.paths)
    os.truncate(path, 10)
    monkeypatch.setattr(helper, "_installed", {})
    assert helper.installed(store.paths) == path
    assert Path(path).read_bytes() == Path(helper.shipped()).read_bytes()


def test_a_removed_copy_is_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = helper.installed(store.paths)
    os.unlink(path)
    monkeypatch.setattr(helper, "_installed", {})
    assert helper.installed(store.paths) == path
    assert os.access(path, os.X_OK)


def test_a_missing_helper_names_the_places_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "__file__", str(tmp_path / "helper.py"))
    with pytest.raises(helper.HelperNotFound, match=r"searched .*/_bin/minidock-runtime"):
        helper.shipped()
    (tmp_path / "_bin").mkdir()
    (tmp_path / "_bin/minidock-runtime").touch(mode=0o644)
    with pytest.raises(helper.HelperNotFound, match="not executable"):
        helper.shipped()
