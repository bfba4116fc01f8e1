"""Layers looked at as one tree: the topmost has its way, and no link leads out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from minidock.build.merged import Merged
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Merged:
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    for path in (top / "d", bottom / "d/deep", bottom / "usr/bin", bottom / "only"):
        path.mkdir(parents=True)
    (bottom / "d/f").write_text("old")
    (bottom / "d/deep/x").write_text("x")
    (top / "d/f").write_text("new")
    (bottom / "bin").symlink_to("usr/bin")
    (bottom / "abs").symlink_to("/d/deep")
    (top / "out").symlink_to("../../../../../etc")
    (bottom / "loop").symlink_to("loop")
    (bottom / "file").symlink_to("d/f")
    (top / "only").write_text("a file now")
    return Merged([str(top), str(bottom)])


def test_the_topmost_counts(tree: Merged) -> None:
    assert tree.read("d/f", 10) == b"new"
    assert tree.read("d/deep/x", 10) == b"x"
    assert tree.read("d/deep", 10) is None
    assert tree.look("nope") is None
    assert tree.look("only/below") is None
    assert tree.names("d") == ["deep", "f"]
    assert tree.names("only") == []
    assert tree.names("") == ["abs", "bin", "d", "file", "loop", "only", "out", "usr"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("bin/sh", "usr/bin/sh"),
        ("/bin//./sh", "usr/bin/sh"),
        ("abs/x", "d/deep/x"),
        ("abs/../f", "d/f"),
        ("out/passwd", "etc/passwd"),
        ("../../d", "d"),
        ("new/dir/../x", "new/x"),
        ("file", "d/f"),
        ("", ""),
    ],
)
def test_links_are_followed_inside(tree: Merged, path: str, meant: str) -> None:
    assert tree.resolve(path) == meant


def test_the_last_link_may_stay(tree: Merged) -> None:
    assert tree.resolve("file", follow=False) == "file"
    assert tree.resolve("bin/../file", follow=False) == "usr/file"
    with pytest.raises(InvalidArgument, match="too many levels"):
        tree.resolve("loop/x")


def test_nothing_at_all() -> None:
    assert Merged([]).look("") is None
    assert Merged([]).names("") == []
    assert Merged([]).resolve("a/b") == "a/b"
