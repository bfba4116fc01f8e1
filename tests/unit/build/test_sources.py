"""What sources of COPY match, and what a match's fingerprint is made of."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from minidock.build import ignore, owners
from minidock.build.merged import Merged
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


def test_a_file_that_changes_behind_its_time_is_noticed(directory: Path) -> None:
    source = context(directory)
    node = source.match("a.txt")[0].files[0].node
    fd = source.open(node)
    try:
        source.settle(node, fd)
        (directory / "a.txt").write_text("A.txt")
        os.utime(directory / "a.txt", ns=(0, node.status.st_mtime_ns))
        with pytest.raises(Conflict, match="changes while it is read"):
            source.settle(node, fd)
    finally:
        os.close(fd)


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


def test_a_context_may_be_everything(directory: Path) -> None:
    source = Context("/", "the build context", None, None)
    (match,) = source.match(f"{directory}/a.txt")
    os.close(source.open(match.files[0].node))
    assert match.name == "a.txt"


@pytest.mark.parametrize(("age", "changed_ns", "kept"), [(1, 0, False), (3, 0, True), (1, 1, True), (0, 1, False)])
def test_digests_are_kept_of_what_has_settled(directory: Path, age: int, changed_ns: int, kept: bool) -> None:
    """Where a file system keeps whole seconds only, a file may change within one: its digest is read again."""
    source = context(directory)
    node = source.match("a.txt")[0].files[0].node
    now = time.time_ns()
    changed = now if not age else (now // 10**9 - age) * 10**9 + changed_ns
    facts = node.status
    status = os.stat_result(
        facts[:10], {"st_mtime_ns": changed, "st_ctime_ns": changed, "st_rdev": 0, "st_nlink": facts.st_nlink}
    )
    source.open = lambda _: os.open(node.place, os.O_RDONLY)  # type: ignore[method-assign]
    source.digest(node._replace(status=status))
    assert (node.path in source._seen) is kept


def test_lines_of_user_files_end_with_newlines_only(directory: Path) -> None:
    (directory / "etc").mkdir()
    (directory / "etc/passwd").write_text("root:x:0:0:Root\u2028evil:x:7:7::/:\na:x:3:4:A\x85:/:\n")
    told: list[str] = []
    tree = Merged([str(directory)])
    assert owners.owner(tree, "a", told.append) == (3, 4)
    assert not told
    assert owners.owner(tree, "evil", told.append) == (0, 0)
    assert told
