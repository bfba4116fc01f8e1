"""Go's paths and patterns, and modes."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.build.dockerfile import modes, paths, remotes
from minidock.build.dockerfile.paths import BadPattern


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("", "."),
        ("/", "/"),
        ("//", "/"),
        ("a//b/./c/", "a/b/c"),
        ("../a/..", ".."),
        ("/../a", "/a"),
        ("a/../..", ".."),
        ("./a", "a"),
        ("a/..", "."),
    ],
)
def test_clean(path: str, clean: str) -> None:
    assert paths.clean(path) == clean


@given(st.text("/.ab", max_size=12))
def test_clean_is_normpath_but_for_two_slashes(path: str) -> None:
    expected = posixpath.normpath(path)
    assert paths.clean(path) == ("/" + expected.lstrip("/") if path.startswith("/") else expected)


def test_joining() -> None:
    assert paths.join("", "") == ""
    assert paths.join("/a", "", "../b") == "/b"
    assert paths.working_directory("/a", "b/") == "/a/b"
    assert paths.working_directory("/a", "/c/../d/") == "/c/../d/"
    assert paths.working_directory("", "b") == "/b"
    assert paths.destination("/w", ".") == "/w/"
    assert paths.destination("/w", "b/") == "/w/b/"
    assert paths.destination("/w", "b") == "/w/b"
    assert paths.destination("/w", "/") == "/"
    assert paths.destination("", "../../x") == "/x"


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a?b", "a\u263ab", True),
        ("a[^a]b", "a\u263ab", True),
        ("a???b", "a\u263ab", False),
        ("[a-\u03b6]*", "\u03b1", True),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[x\\-]", "-", True),
        ("*x", "xxx", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_match(pattern: str, name: str, matches: bool) -> None:
    assert paths.match(pattern, name) is matches


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "a\\", "[a-b-c]", "[\\"])
def test_malformed(pattern: str) -> None:
    with pytest.raises(BadPattern):
        paths.match(pattern, "a")


@pytest.mark.parametrize(
    ("text", "mode", "is_directory", "expected"),
    [
        ("0755", 0o600, False, 0o755),
        ("00644", 0o777, False, 0o644),
        ("u+x", 0o644, False, 0o744),
        ("+x", 0o644, False, 0o755),
        ("go-rwx", 0o777, False, 0o700),
        ("a=r,u+w", 0o777, False, 0o644),
        ("+X", 0o644, False, 0o644),
        ("+X", 0o644, True, 0o755),
        ("+X", 0o744, False, 0o755),
        ("g=u", 0o740, False, 0o770),
        ("u+s,o+t", 0o755, False, 0o4755),
        ("ug+st", 0o755, False, 0o7755),
        ("+st", 0o755, False, 0o1755),
        ("=rt", 0o755, False, 0o1755),
        ("a=r", 0o7755, False, 0o1444),
        ("u=g", 0o4755, False, 0o4555),
        ("u=rw-x", 0o777, False, 0o677),
        ("u=", 0o4777, False, 0o077),
    ],
)
def test_modes(text: str, mode: int, is_directory: bool, expected: int) -> None:
    modes.check(text)
    assert modes.apply(text, mode, is_directory=is_directory) == expected


@pytest.mark.parametrize("text", ["9", "17777", "foo", "u", "u+x,", "u+q", "", "+x;"])
def test_no_modes(text: str) -> None:
    with pytest.raises(modes.ModeError):
        modes.check(text)


def test_what_is_fetched() -> None:
    assert remotes.kind("https://a/b.tar") == "http"
    assert remotes.kind("https://a/b.git#main:dir") == "git"
    assert remotes.kind("git@a.b:c/d") == "git"
    assert remotes.kind("ssh://git@a/b") == "git"
    assert remotes.kind("github.com/a/b") is None
    assert remotes.kind("a@b") is None
    assert remotes.kind("ftp://a/b") is None
