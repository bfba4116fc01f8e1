"""Which paths .dockerignore hides: literals seen with Docker, and a slow model that is plainly right."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.build.ignore import MAX_PATTERN, MAX_RULES, read
from minidock.errors import InvalidArgument, LimitExceeded

_FILES = [".dockerignore", "a/.hid", "a/b/foo.c", "a/d5", "barfoo", "top", "x/f", "x/y/f", "x/y/z/f"]


def _left(rules: str) -> str:
    found = read(rules.encode())
    return " ".join(path for path in _FILES if not found.excludes(path, is_directory=False))


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/f x/y/f x/y/z/f"),
        ("x/y\n!x\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/f"),
        ("x\n!x/y/z\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/y/z/f"),
        ("*\n!x/y\n", "x/y/f x/y/z/f"),
        ("**\n!**/f\n", "x/f x/y/f x/y/z/f"),
        ("**foo\n", ".dockerignore a/.hid a/b/foo.c a/d5 top x/f x/y/f x/y/z/f"),
        ("**foo*\n", ".dockerignore a/.hid a/d5 barfoo top x/f x/y/f x/y/z/f"),
        ("/x/\n# c\n #d\n  a  \n", ".dockerignore barfoo top"),
        ("a/\\d5\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/f x/y/f x/y/z/f"),
        ("*/*\n", ".dockerignore barfoo top"),
        ("x/**\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top"),
        ("x/**\n!x/y/f\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/y/f"),
        ("*\n!x\nx/y\n", "x/f"),
        (".\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/f x/y/f x/y/z/f"),
        ("../x\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/f x/y/f x/y/z/f"),
        ("./x\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top"),
        ("[a-x]\n", ".dockerignore barfoo top"),
        ("[^x]*\n", "x/f x/y/f x/y/z/f"),
        ("***\n", ""),
        ("x/***/f\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/f"),
        ("! x/f\nx\n!  x/f\n", ".dockerignore a/.hid a/b/foo.c a/d5 barfoo top x/f"),
        ("\ufeff*.c\r\n**/*.c\r\n", ".dockerignore a/.hid a/d5 barfoo top x/f x/y/f x/y/z/f"),
    ],
)
def test_as_docker(rules: str, left: str) -> None:
    assert _left(rules) == left


@pytest.mark.parametrize("rules", ["[\n", "a[]b\n", "\\\n", "!\n", "x\n! \n", "\\q\n"])
def test_refused(rules: str) -> None:
    with pytest.raises(InvalidArgument):
        read(rules.encode())


def test_single_characters_in_brackets() -> None:
    rules = read(b"[[]x]\n[b]/**\n**[f]oo\n")
    assert rules.excludes("[x]", is_directory=False)
    assert rules.excludes("b/c", is_directory=False)
    assert rules.excludes("a/foo", is_directory=False)
    assert not rules.excludes("a/barfoo", is_directory=False)


def test_blanks_that_cleaning_brings_to_the_ends() -> None:
    assert read(b"./ a/x/..\n").excludes("a", is_directory=False)
    assert not read(b"a\n./ !a\n").excludes("a", is_directory=False)
    assert not read(b"./ /x/..\n").excludes(" ", is_directory=False)


def test_escapes_are_those_of_a_regular_expression() -> None:
    """Docker hands them on: ``\\d`` is a digit."""
    assert read(b"a/\\d5").excludes("a/55", is_directory=False)
    assert not read(b"a/\\d5").excludes("a/d5", is_directory=False)
    assert read(b"\\*\\[").excludes("*[", is_directory=False)


def test_refusals_say_where() -> None:
    with pytest.raises(InvalidArgument, match=r'^\.dockerignore line 3: syntax error in pattern: "a\["$'):
        read(b"x\n\na[\n")


def test_limits() -> None:
    with pytest.raises(LimitExceeded):
        read(b"a\n" * (MAX_RULES + 1))
    with pytest.raises(LimitExceeded):
        read(b"a" * (MAX_PATTERN + 1))


def test_the_rule_is_named() -> None:
    rules = read(b"*.log\n!a.log\nx/\n", "web.dockerignore")
    assert rules.rule("b.log", is_directory=False) == '"*.log" in line 1 of web.dockerignore'
    assert rules.rule("x/y", is_directory=False) == '"x/" in line 3 of web.dockerignore'
    assert rules.rule("a.log", is_directory=False) is None


def test_what_can_be_below_a_hidden_directory() -> None:
    rules = read(b"*\n!a/b/*.c\n!**/z\n")
    assert rules.may_include_below("a")
    assert rules.may_include_below("a/b")
    assert rules.may_include_below("q")  # **/z is anywhere
    only = read(b"*\n!a/b/*.c\n")
    assert only.may_include_below("a/b/c")
    assert not only.may_include_below("q")
    assert not read(b"*\n").may_include_below("a")


def test_the_context_itself_stays() -> None:
    assert not read(b"**").excludes("", is_directory=True)
    assert not read(b"**").excludes(".", is_directory=True)


def _matches(pattern: str, path: str) -> bool:
    """One pattern of letters, ``?``, ``*`` and ``**``, as slowly as it says."""
    if pattern == "":
        return path == ""
    if pattern == "**":
        return True
    if pattern.startswith("**"):
        rest = pattern[2:].removeprefix("/")
        return any(_matches(rest, path[at:]) for at in range(len(path) + 1) if at == 0 or path[at - 1] == "/")
    if pattern[0] == "*":
        ends = range((path + "/").index("/") + 1)
        return any(_matches(pattern[1:], path[end:]) for end in ends)
    if path == "":
        return False
    return (path[0] != "/" if pattern[0] == "?" else path[0] == pattern[0]) and _matches(pattern[1:], path[1:])


def _hidden(rules: list[str], path: str) -> bool:
    """Docker's walk: each rule, at each level, is asked only when it would change something."""
    before = [False] * len(rules)
    out = False
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        out, now = False, [False] * len(rules)
        for number, rule in enumerate(rules):
            excepts = rule.startswith("!")
            now[number] = before[number] or (excepts == out and _matches(rule.lstrip("!"), "/".join(parts[:depth])))
            if now[number]:
                out = not excepts
        before = now
    return out


_NAMES = st.text("ab", min_size=1, max_size=2)
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)
_WILD = st.one_of(_NAMES, st.text("ab*?", min_size=1, max_size=4).filter(lambda t: "**" not in t), st.just("**"))
_PATTERNS = st.lists(_WILD, min_size=1, max_size=4).map("/".join)
_RULES = st.lists(st.tuples(st.booleans(), _PATTERNS).map(lambda t: "!" * t[0] + t[1]), max_size=5)


@settings(max_examples=300, deadline=None)
@given(_RULES, st.lists(_PATHS, min_size=1, max_size=4))
def test_the_slow_model_agrees(rules: list[str], paths: list[str]) -> None:
    found = read("\n".join(rules).encode())
    for path in paths:
        assert found.excludes(path, is_directory=False) == _hidden(rules, path)
        assert found.excludes(path, is_directory=True) == _hidden(rules, path)


@settings(max_examples=200, deadline=None)
@given(st.lists(_WILD, min_size=5, max_size=9).map("/".join), _PATHS)
def test_patterns_with_many_stars_agree(pattern: str, path: str) -> None:
    path = f"{path}/{path}/{path}"
    assert read(pattern.encode()).excludes(path, is_directory=False) == _hidden([pattern], path)


@given(_RULES, _PATHS, _PATHS)
def test_nothing_is_lost_below_what_is_skipped(rules: list[str], directory: str, below: str) -> None:
    found = read("\n".join(rules).encode())
    if found.excludes(directory, is_directory=True) and not found.may_include_below(directory):
        assert found.excludes(f"{directory}/{below}", is_directory=False)


def test_hard_patterns_are_not_slow() -> None:
    began = time.process_time()
    rules = read(("*a" * 40 + "b\n" + "**/a/" * 40 + "b\n").encode())
    assert not rules.excludes("a/" * 40 + "a" * 200, is_directory=False)
    for few, path in (("*a*a*ac", "a" * 4000), ("**/a**/a**/ac", "a/" * 200 + "b")):
        rules = read(few.encode())
        assert not rules.excludes(path, is_directory=False)
        assert rules.excludes(f"{path}{'' if path[-1] == 'a' else '/a'}c", is_directory=False)
    assert time.process_time() - began < 60


def test_deep_paths() -> None:
    deep = "a/" * 3000 + "b"
    assert not read(b"x\n!y\n").excludes(deep, is_directory=False)
    assert read(b"a/a\n").excludes(deep, is_directory=False)
    assert read(b"a/a\n!**/b\n").excludes(deep, is_directory=True) is False
