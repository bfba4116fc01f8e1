"""One tree goes over another, and can be gone on with after a crash."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minidock.errors import LimitExceeded
from minidock.volumes import moving


def _tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() and not path.is_symlink() else ""
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "both" / "deep").mkdir(parents=True)
    (root / "both" / "new").write_text("n")
    (root / "both" / "deep" / "file").write_text("f")
    (root / "dir-over-file").mkdir()
    (root / "dir-over-file" / "x").write_text("x")
    (root / "file-over-dir").write_text("over")
    (root / "file").write_text("new")
    (root / "link").symlink_to("/etc/passwd")
    os.chmod(root / "both", 0o2750)
    os.chmod(root, 0o1777)
    os.utime(root / "both", ns=(5, 6))
    return root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    root = tmp_path / "target"
    (root / "both").mkdir(parents=True)
    (root / "both" / "old").write_text("o")
    (root / "dir-over-file").write_text("gone")
    (root / "file-over-dir" / "below").mkdir(parents=True)
    (root / "file").write_text("old")
    (root / "only").write_text("stays")
    return root


EXPECTED = {
    "both": "", "both/deep": "", "both/deep/file": "f", "both/new": "n", "both/old": "o", "dir-over-file": "",
    "dir-over-file/x": "x", "file": "new", "file-over-dir": "over", "link": "", "only": "stays",
}  # fmt: skip


def test_trees_become_one(tmp_path: Path, source: Path, target: Path) -> None:
    moving.move(str(source), str(target), str(tmp_path / "trash"))
    assert _tree(target) == EXPECTED
    assert os.readlink(target / "link") == "/etc/passwd"
    assert stat.S_IMODE(target.stat().st_mode) == 0o1777
    assert stat.S_IMODE((target / "both").stat().st_mode) == 0o2750
    assert (target / "both").stat().st_mtime_ns == 6
    assert sorted(os.listdir(tmp_path)) == ["target"]


def test_it_can_be_gone_on_with(tmp_path: Path, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call fails after one more step than the one before."""
    steps = 0
    left = 0
    rename, rmdir = os.rename, os.rmdir

    def counted(call: object) -> object:
        def one(*args: object, **kwargs: object) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            call(*args, **kwargs)  # type: ignore[operator]

        return one

    monkeypatch.setattr(os, "rename", counted(rename))
    monkeypatch.setattr(os, "rmdir", counted(rmdir))
    while source.exists():
        steps += 1
        left = 1
        try:
            moving.move(str(source), str(target), str(tmp_path / "trash"))
        except KeyboardInterrupt:
            assert source.exists()
    assert steps > 5
    assert _tree(target) == EXPECTED
    assert sorted(os.listdir(tmp_path)) == ["target"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "source" / "dir").mkdir(parents=True)
    (tmp_path / "source" / "dir" / "file").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "dir").symlink_to(tmp_path / "elsewhere")
    moving.move(str(tmp_path / "source"), str(tmp_path / "target"), str(tmp_path / "trash"))
    assert os.listdir(tmp_path / "elsewhere") == []
    assert _tree(tmp_path / "target") == {"dir": "", "dir/file": "x"}


def test_too_deep(tmp_path: Path) -> None:
    for name in ("source", "target"):
        (tmp_path / name / "/".join(["d"] * (moving.DEEPEST + 2))).mkdir(parents=True)
    with pytest.raises(LimitExceeded, match="more than 250 directories below each other"):
        moving.move(str(tmp_path / "source"), str(tmp_path / "target"), str(tmp_path / "trash"))
