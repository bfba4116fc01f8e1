"""The outer tar of archives, paths in it, and where archives are written to."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, MinidockError, NotFound, Unsupported
from minidock.images import archives, outputs, tars


def made(path: Path, *entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **headers: str) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.pax_headers = kind, target, headers
    return one


def scan(path: Path, start: int = 0) -> dict[str, tars.Member]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return tars.scan(fd, start, "x.tar")
    finally:
        os.close(fd)


def read(path: Path, name: str) -> bytes | None:
    member = tars.resolve(scan(path), name)
    return None if member is None else path.read_bytes()[member.offset : member.offset + member.size]


LONG = "/".join(["d" * 90] * 4)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_in_every_form(tmp_path: Path, form: int) -> None:
    long = "d" * 90 + "/" + "f" * 90 if form == tarfile.USTAR_FORMAT else LONG
    path = made(
        tmp_path / "a.tar",
        (info("./a"), b"1"),
        (info("dir/", tarfile.DIRTYPE), b""),
        (info("dir", tarfile.DIRTYPE), b""),
        (info(long), b"long" * 1000),
        (info("dir/link", tarfile.SYMTYPE, "../a"), b""),
        (info("hard", tarfile.LNKTYPE, "./dir/link"), b""),
        (info("dangling", tarfile.SYMTYPE, "nowhere"), b""),
        (info("empty"), b""),
        form=form,
    )
    assert set(scan(path)) == {"a", long, "dir/link", "hard", "dangling", "empty"}
    assert read(path, "a") == read(path, "dir/link") == read(path, "hard") == b"1"
    assert read(path, long) == b"long" * 1000
    assert read(path, "empty") == b""
    assert read(path, "dangling") is read(path, "dir") is None
    # From an offset on
    (tmp_path / "b.tar").write_bytes(b"before" + path.read_bytes())
    assert set(scan(tmp_path / "b.tar", 6)) == set(scan(path))


@pytest.mark.parametrize(
    ("entry", "error", "text"),
    [
        (info("/a"), Corrupt, "absolute"),
        (info("a/../b"), Corrupt, "leaves"),
        (info("same"), Corrupt, "comes twice"),
        (info("x/../../same", tarfile.SYMTYPE, "y"), Corrupt, "leaves"),
        (info("l", tarfile.SYMTYPE, "/etc/passwd"), Corrupt, "out of the archive"),
        (info("d/l", tarfile.SYMTYPE, "../../x"), Corrupt, "out of the archive"),
        (info("l", tarfile.LNKTYPE, "../x"), Corrupt, "leaves"),
        (info("dev", tarfile.BLKTYPE), Corrupt, "neither a file"),
        (info("fifo", tarfile.FIFOTYPE), Corrupt, "neither a file"),
        (info("."), Corrupt, "top is not a directory"),
        (info("s", size="3"), Corrupt, "extended header"),
        (info("s", size="-1"), Corrupt, "not a number"),
        (info("s", **{"GNU.sparse.major": "1"}), Unsupported, "sparse"),
        (info("p" * 5000), LimitExceeded, "path"),
        (info("s", comment="x" * (2 << 20)), LimitExceeded, "extended headers"),
    ],
)
def test_members_that_are_refused(
    tmp_path: Path, entry: tarfile.TarInfo, error: type[MinidockError], text: str
) -> None:
    path = made(tmp_path / "a.tar", (info("same"), b"1"), (entry, b"1" if entry.isreg() else b""))
    with pytest.raises(error, match=text) as caught:
        scan(path)
    assert "x.tar" in str(caught.value)


def test_links_in_a_circle(tmp_path: Path) -> None:
    path = made(tmp_path / "a.tar", (info("a", tarfile.SYMTYPE, "b"), b""), (info("b", tarfile.SYMTYPE, "./a"), b""))
    with pytest.raises(Corrupt, match="loop"):
        read(path, "a")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8))
def test_damaged_tars_are_an_error_or_nothing_worse(
    tmp_path_factory: pytest.TempPathFactory, at: int, change: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.tar"
    made(path, (info("a" * 120), b"1" * 700), (info("b", tarfile.SYMTYPE, "a"), b""), (info("c"), b"2"))
    data = bytearray(path.read_bytes())
    data[at : at + len(change)] = change
    path.write_bytes(data)
    try:
        members = scan(path)
    except MinidockError:
        return
    for member in members.values():
        assert 0 <= member.offset <= member.offset + member.size <= len(data)


@given(st.text("ab./", max_size=12), st.text("ab./", max_size=12))
def test_links_stay_inside(path: str, target: str) -> None:
    try:
        path = tars.normal(path)
        found = tars.target_of(path, target)
    except Corrupt:
        return
    assert os.path.normpath(os.path.join("/top", os.path.dirname(path), target)) == os.path.normpath(f"/top/{found}")


@pytest.mark.parametrize("size", [0, 1, 511, 512, 1 << 20, (1 << 33) - 1, 1 << 33, 1 << 40])
def test_own_headers_are_what_others_read(size: int) -> None:
    head = tars.header("blobs/sha256/" + "0" * 64, size)
    one = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
    assert (one.name, one.size, one.mode, one.uid, one.gid, one.mtime, one.type) == (
        "blobs/sha256/" + "0" * 64, size, 0o644, 0, 0, 0, tarfile.REGTYPE,
    )  # fmt: skip
    assert (size + tars.padding(size)) % 512 == 0
    directory = tarfile.TarInfo.frombuf(tars.header("blobs/", 0, directory=True), "utf-8", "strict")
    assert directory.isdir()


def test_output_takes_its_place_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with outputs.replaced(str(target)) as fd:
        os.write(fd, b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"

    def interrupted() -> None:
        with outputs.replaced(str(target)) as fd:
            os.write(fd, b"newer")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]
    (tmp_path / "link").symlink_to("elsewhere")
    with outputs.replaced(str(tmp_path / "link")) as fd:
        os.write(fd, b"1")
    assert (tmp_path / "elsewhere").read_bytes() == b"1"
    with outputs.replaced("/dev/null") as fd:
        os.write(fd, b"x")
    for path, error in ((str(tmp_path), InvalidArgument), ("/nosuch/x", NotFound), ("", InvalidArgument)):
        with pytest.raises(error), outputs.replaced(path):
            pass


def test_chunks() -> None:
    def write(data: bytes, error: BaseException | None = None) -> Callable[[int], None]:
        def run(fd: int) -> None:
            archives.write_all(fd, data)
            if error is not None:
                raise error

        return run

    assert b"".join(outputs.piped(write(b"x" * 500_000), 1000)) == b"x" * 500_000
    assert list(outputs.piped(write(b""), 1)) == []
    with pytest.raises(Corrupt, match="late"):
        list(outputs.piped(write(b"x", Corrupt("late")), 10))
    with pytest.raises(InvalidArgument):
        list(outputs.piped(write(b""), 0))
    # One who stops reading is no error.
    chunks: Any = outputs.piped(write(b"x" * 500_000), 10)
    next(chunks)
    chunks.close()
