"""Excludes and tar records of ``image from-rootfs``."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from minidock import _native
from minidock.errors import InvalidArgument
from minidock.images import rootfs_tar
from minidock.images.layer_tar import record, time_record
from minidock.images.rootfs_tar import Changed, Writer, matcher


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.pyc", ["a.pyc", "usr/lib/b.pyc"], ["a.py", "x.pyc/y"]),
        ("cache", ["cache", "var/cache", "a/b/cache"], ["caches", "var/cache/x"]),
        ("/var/cache", ["var/cache"], ["cache", "usr/var/cache"]),
        ("var/cache/*", ["var/cache/a", "var/cache/.x"], ["var/cache", "var/cache/a/b"]),
        ("/tmp/", ["tmp"], ["usr/tmp"]),
        ("home/**", ["home/a", "home/a/b"], ["home", "homes"]),
        ("**/log/*.gz", ["log/a.gz", "var/log/a.gz"], ["var/log/a", "xlog/a.gz"]),
        ("/a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a", "az"]),
        ("[a-c]?.txt", ["b1.txt", "x/c2.txt"], ["d1.txt", "b.txt", "b/.txt"]),
        ("[!a]x", ["bx"], ["ax", "a/x"]),
        (r"\*", ["*"], ["a"]),
        ("a+b(c)|d", ["a+b(c)|d"], ["aab", "d"]),
        ("[]]", ["]"], ["["]),
        ("new\nline", ["new\nline"], ["new"]),
        ("\udcff*", ["\udcffx"], ["x"]),
    ],
)
def test_excludes(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = matcher([pattern])
    assert [path for path in yes if not matches(os.fsencode(path))] == []
    assert [path for path in no if matches(os.fsencode(path))] == []


def test_several_excludes_and_none() -> None:
    matches = matcher(["a", "/b/c"])
    assert [matches(path) for path in (b"x/a", b"b/c", b"b")] == [True, True, False]
    assert not matcher([])(b"")


@pytest.mark.parametrize("pattern", ["", "/", "..", "../x", "a/../b", "./a", "[a", "[z-a]", "a\0b"])
def test_no_excludes(pattern: str) -> None:
    with pytest.raises(InvalidArgument):
        matcher([pattern])


def test_records_count_their_own_length() -> None:
    for size in [*range(120), *range(980, 1000), 9990]:
        made = record(b"path", b"v" * size)
        assert int(made.split(b" ", 1)[0]) == len(made)


def test_times() -> None:
    for moment, text in {
        (0, 0): b"0",
        (12, 500_000_000): b"12.5",
        (12, 1): b"12.000000001",
        (-1, 0): b"-1",
        (-2, 500_000_000): b"-1.5",
        (-1, 999_999_999): b"-0.000000001",
        (10, 0): b"10",
    }.items():
        assert time_record(*moment) == text


def written(top: Path, target: Path, **options: object) -> bytes:
    with open(target, "wb") as file:
        Writer(str(top), file.fileno(), **{"skip": lambda _path: False, **options}).run()  # type: ignore[arg-type]
    return target.read_bytes()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Something of everything that needs no root."""
    top = tmp_path / "tree"
    (top / "b" / ("long" * 30) / ("name" * 20)).mkdir(parents=True)
    (top / "b" / ("long" * 30) / "file").write_bytes(b"x" * 1000)
    (top / "empty").write_bytes(b"")
    (top / "big").write_bytes(os.urandom(3 << 20))
    (top / "link").symlink_to("t" * 150)
    os.link(top / "big", top / "other")
    os.mkfifo(top / "pipe")
    (top / "a-b").mkdir()
    (top / "a").mkdir()
    (top / "a" / "z").write_text("z")
    (top / "\udcff").write_text("not UTF-8")
    os.utime(top / "empty", ns=(0, -1_500_000_000))
    os.utime(top / "a", (0, 1 << 33))
    os.chmod(top / "big", 0o4755)
    return top


def test_the_bytes_are_those_of_the_native_writer(tree: Path, tmp_path: Path) -> None:
    for clamp in (None, 1_000_000_000):
        with open(tmp_path / "native.tar", "wb") as file:
            _native.tar_tree(tree, file.fileno(), clamp=clamp)
        assert written(tree, tmp_path / "ours.tar", clamp=clamp) == (tmp_path / "native.tar").read_bytes()


def test_what_is_skipped_or_mounted(tree: Path, tmp_path: Path) -> None:
    data = written(
        tree, tmp_path / "x.tar", skip=lambda path: path in (b"b", b"big"), mounts=frozenset((b"a", b"empty"))
    )
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        names = archive.getnames()
        assert archive.getmember("other").isreg()  # the first that is written, though not the first link
    assert sorted(names) == sorted([".", "a", "a-b", "link", "other", "pipe", "\udcff"])


def test_files_that_change_meanwhile(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat_of = os.stat

    def vanish(name: bytes, **options: object) -> os.stat_result:
        found = stat_of(name, **options)  # type: ignore[arg-type]
        if name == b"empty":
            os.unlink(tree / "empty")
        return found

    monkeypatch.setattr(rootfs_tar.os, "stat", vanish)
    with tarfile.open(fileobj=io.BytesIO(written(tree, tmp_path / "x.tar"))) as archive:
        assert "empty" not in archive.getnames()
    monkeypatch.undo()

    read = os.read

    def shorten(fd: int, size: int) -> bytes:
        if os.path.samestat(os.fstat(fd), os.lstat(tree / "big")):
            os.truncate(tree / "big", 10)
        return read(fd, size)

    monkeypatch.setattr(rootfs_tar.os, "read", shorten)
    with pytest.raises(Changed, match="big"):
        written(tree, tmp_path / "x.tar")


def test_a_growing_file_is_as_long_as_it_was(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.read

    def grow(fd: int, size: int) -> bytes:
        if os.path.samestat(os.fstat(fd), os.lstat(tree / "big")):
            with open(tree / "big", "ab") as file:
                file.write(b"more")
        return read(fd, size)

    monkeypatch.setattr(rootfs_tar.os, "read", grow)
    with tarfile.open(fileobj=io.BytesIO(written(tree, tmp_path / "x.tar"))) as archive:
        assert archive.getmember("big").size == 3 << 20


def test_names_that_would_be_whiteouts(tree: Path, tmp_path: Path) -> None:
    (tree / ".wh.x").write_text("")
    with pytest.raises(InvalidArgument, match=r"\.wh\.x"):
        written(tree, tmp_path / "x.tar")
