"""Subordinate ids: userns-remap's values and /etc/subuid."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minidock import errors
from minidock.security import subids
from minidock.security.subids import Range, remap


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbob:x:1001:50::/:/bin/sh\n\n# note\n"
    )
    (tmp_path / "group").write_text("root:x:0:\nann:x:1000:\nstaff:x:50:bob\n")
    (tmp_path / "subuid").write_text("# ranges\nann:100000:65536\n1001:300000:10\nbob:200000:65536\n")
    (tmp_path / "subgid").write_text("ann:100000:65536\nstaff:500000:65536\nbob:600000:5\n")
    return tmp_path


def test_user(etc: Path) -> None:
    maps = remap("ann", str(etc))
    assert maps.uid == maps.gid == (Range(0, 100000, 65536),)
    assert maps.root == (100000, 100000)
    assert remap("1000", str(etc)) == maps
    assert remap("1000:1000", str(etc)) == maps


def test_ranges_follow_one_another(etc: Path) -> None:
    maps = remap("bob:staff", str(etc))
    assert maps.uid == (Range(0, 200000, 65536), Range(65536, 300000, 10))
    assert maps.gid == (Range(0, 500000, 65536),)
    assert subids.to_host(maps.uid, 65540) == 300004
    with pytest.raises(errors.InvalidArgument, match="id 65546 is not mapped"):
        subids.to_host(maps.uid, 65546)


def test_users_group_is_the_one_of_its_name(etc: Path) -> None:
    (etc / "group").write_text("bob:x:70:\n")
    assert remap("bob", str(etc)).gid == (Range(0, 600000, 5),)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "use default, user"),
        (":ann", "use default, user"),
        ("ann:", "use default, user"),
        ("a:b:c", "use default, user"),
        ("root", "root cannot be remapped"),
        ("0:0", "root cannot be remapped"),
        ("ann:root", "root cannot be remapped"),
        ("nobody", 'no user "nobody"'),
        ("ann:nobody", 'no group "nobody"'),
    ],
)
def test_values_that_name_nobody(etc: Path, value: str, why: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=why):
        remap(value, str(etc))


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("", "has no range"),
        ("ann:0:65536", "is not usable"),
        ("ann:100000:0", "is not usable"),
        ("ann:4294967290:10", "is not usable"),
        ("ann:100000:10\nann:100005:10", "overlap"),
        ("ann:100000", "is damaged"),
        ("ann:-1:5", "is damaged"),
        ("ann:1e5:5", "is damaged"),
        ("ann:99999999999:5", "is damaged"),
        ("\n".join(f"ann:{1000 + i * 10}:5" for i in range(341)), "the kernel takes 340"),
    ],
)
def test_ranges_that_are_no_use(etc: Path, lines: str, why: str) -> None:
    (etc / "subuid").write_text(lines + "\n")
    with pytest.raises(errors.InvalidArgument, match=why):
        remap("ann", str(etc))


def test_default_gets_a_free_range_once(etc: Path) -> None:
    os.chmod(etc / "subuid", 0o640)
    maps = remap("default", str(etc))
    assert maps.uid == maps.gid == (Range(0, 600005, 65536),), "above every range of both files"
    assert (etc / "subuid").read_text().endswith("bob:200000:65536\ndockremap:600005:65536\n")
    assert stat.S_IMODE((etc / "subuid").stat().st_mode) == 0o640
    before = (etc / "subuid").read_bytes()
    assert remap("default", str(etc)) == remap("dockremap", str(etc)) == maps
    assert (etc / "subuid").read_bytes() == before
    assert {p.name for p in etc.iterdir()} == {"passwd", "group", "subuid", "subgid", ".pwd.lock"}


def test_default_without_any_files(tmp_path: Path) -> None:
    assert remap("default", str(tmp_path)).root == (100000, 100000)
    assert stat.S_IMODE((tmp_path / "subuid").stat().st_mode) == 0o644


def test_default_avoids_users_own_ids(etc: Path) -> None:
    (etc / "passwd").write_text("big:x:610000:610000::/:/bin/sh\n")
    (etc / "group").write_text("huge:x:640000:\n")
    assert remap("default", str(etc)).uid == (Range(0, 640001, 65536),)


def test_default_where_no_ids_are_free(etc: Path) -> None:
    (etc / "subuid").write_text("ann:4294900000:60000\n")
    with pytest.raises(errors.LimitExceeded, match="no 65536 ids are free"):
        remap("default", str(etc))


def test_default_where_the_files_cannot_be_changed(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(errors.SystemFailure, match="read-only file system: add a line such as dockremap:100000:65536"):
        remap("default", str(etc))
    assert not list(etc.glob("*minidock*"))


def test_default_by_many_processes_at_once(etc: Path) -> None:
    code = f"from minidock.security.subids import remap; print(remap('default', {str(etc)!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    assert len({p.communicate()[0] for p in processes}) == 1
    assert (etc / "subuid").read_text().count("dockremap") == 1
