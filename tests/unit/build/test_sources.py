"""What sources of COPY match, and what a match's fingerprint is made of."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from minidock.build import ignore
from minidock.build.sources import Context, fingerprint, is_pattern, matches
from minidock.errors import Conflict, InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("a.txt", "b.txt", "sub/c.txt", "sub/deep/d", "other/e.txt", "[x]"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "link").symlink_to("sub")
    return tmp_path


def context(directory: Path, rules: str = "") -> Context:
    found = ignore.read(rules.encode()) if rules else None
    return Context(str(directory), "the build context", found, None)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.txt", ["a.txt"]),
        ("./a.txt", ["a.txt"]),
        ("/a.txt", ["a.txt"]),
        ("../a.txt", ["a.txt"]),
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("[^a].txt", ["b.txt"]),
        ("*/*.txt", ["c.txt", "e.txt", "c.txt"]),
        ("nope*", []),
        ("nope", []),
        ("[[]x]", ["[x]"]),
        ("\\[x]", ["[x]"]),
        ("sub/../a.txt", ["a.txt"]),
    ],
)
def test_patterns_are_go_s(directory: Path, pattern: str, names: list[str]) -> None:
    found = [match.name for match in context(directory).match(pattern)]
    assert sorted(found) == sorted(names)


def test_a_directory_has_its_files(directory: Path) -> None:
    (match,) = context(directory).match("link")
    assert match.is_directory
    assert [found.below for found in match.files] == ["", "c.txt", "deep", "deep/d"]


def test_rules_hide(directory: Path) -> None:
    source = context(directory, "*.txt\nsub\n!sub/deep\nother\n")
    assert [found.below for found in source.match("/")[0].files] == [
        "",
        "[x]",
        "link",
        "sub",
        "sub/deep",
        "sub/deep/d",
    ]
    assert source.match("a.txt") == []
    assert [match.name for match in source.match("sub/deep/d")] == ["d"]
    assert source.match("other/e.txt") == []


def test_a_fingerprint_is_of_content_and_mode(directory: Path) -> None:
    def taken(*, times: bool = False) -> bytes:
        source = context(directory)
        return fingerprint(source, source.match("sub"), times=times)

    first, timed = taken(), taken(times=True)
    os.utime(directory / "sub/c.txt", (1, 1))
    assert taken() == first
    assert taken(times=True) != timed
    (directory / "sub/c.txt").chmod(0o600)
    changed = taken()
    assert changed != first
    (directory / "sub/deep/d").rename(directory / "sub/deep/dd")
    assert taken() not in (first, changed)


def test_a_file_that_changes_is_noticed(directory: Path) -> None:
    source = context(directory)
    (match,) = source.match("a.txt")
    (directory / "a.txt").write_text("longer than before")
    with pytest.raises(Conflict, match="changes while it is read"):
        source.open(match.files[0].node)


def test_a_directory_that_becomes_a_link_is_noticed(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    source = context(directory)
    (match,) = source.match("sub/c.txt")
    os.rename(directory / "sub", elsewhere / "sub")
    (directory / "sub").symlink_to(elsewhere / "sub")
    with pytest.raises(Conflict):
        source.open(match.files[0].node)


def test_bad_patterns() -> None:
    assert is_pattern("a*")
    assert not is_pattern("a]b")
    for pattern in ("[", "[a", "a\\"):
        with pytest.raises(InvalidArgument, match="syntax error"):
            matches(pattern, "a")
