"""``.dockerignore`` and ``NAME.dockerignore``: which files of a context a build does not see, by Docker's rules. Pure.

The last rule that says something about a path or a directory above it decides. Rules are asked from the top of the tree
down, as Docker does: one that had no say about a directory because the rule before it had said the same has none
about what is in it either, unless it matches that itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from minidock.build.dockerfile import paths
from minidock.build.dockerfile.paths import BadPattern, Characters
from minidock.build.dockerfile.text import SPACES, decode, quote
from minidock.errors import InvalidArgument, LimitExceeded

MAX_FILE = 1 << 20
MAX_RULES = 10_000
MAX_PATTERN = 4096
_CACHED = 10_000
_SHOWN = 200
_STAR, _DEEP, _ALL = "*", "**/", "**"
_FEW, _SHORT = 3, 128
"""So many stars and characters of a path take a regular expression no time; with more, it can try for minutes."""
_Part = Characters | str
_CLASSES = {
    "d": [("0", "9")],
    "w": [("0", "9"), ("A", "Z"), ("a", "z"), ("_", "_")],
    "s": [(c, c) for c in "\t\n\f\r "],
}
_CONTROLS = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}


class Rule(NamedTuple):
    """One line. ``excepts``: it begins with ``!``. ``literal`` is what every path that it matches begins with."""

    line: int
    text: str
    excepts: bool
    literal: str
    matches: Callable[[str], bool]


class Ignore:
    """The rules of one file, called ``name`` in what is said about them."""

    def __init__(self, rules: Sequence[Rule], name: str) -> None:
        self._rules = tuple(rules)
        self._name = name
        self._excepts = any(rule.excepts for rule in rules)
        self._directories: dict[str, tuple[int, int]] = {}

    def excludes(self, path: str, *, is_directory: bool) -> bool:
        """Whether a build does not see ``path``, which is relative to the context without a slash at its ends.

        What is found out about directories is kept for what is in them.
        """
        return self._deciding(path, is_directory=is_directory) is not None

    def may_include_below(self, path: str) -> bool:
        """Whether a directory that is excluded can have files in it that are not."""
        below = f"{path}/"
        return self._excepts and any(
            rule.literal.startswith(below) or below.startswith(rule.literal) for rule in self._rules if rule.excepts
        )

    def rule(self, path: str, *, is_directory: bool) -> str | None:
        """The rule that excludes ``path``, in words; None if it is not excluded."""
        found = self._deciding(path, is_directory=is_directory)
        return None if found is None else f"{quote(found.text[:_SHOWN])} in line {found.line} of {self._name}"

    def _deciding(self, path: str, *, is_directory: bool) -> Rule | None:
        if not self._rules or path in ("", "."):
            return None
        decided = self._ask(path, is_directory=is_directory)[1]
        return None if decided < 0 or self._rules[decided].excepts else self._rules[decided]

    def _ask(self, path: str, *, is_directory: bool) -> tuple[int, int]:
        """The rules that match a path or what is above it, as bits, and the number of the one that decides, or -1."""
        below: list[str] = []  # not by recursion: a path may have more parts than Python has frames
        while (known := self._directories.get(path)) is None and path:
            below.append(path)
            path = path.rpartition("/")[0]
        above, decided = known or (0, -1)
        for path in reversed(below):
            matched, decided, is_out = 0, -1, False
            for number, rule in enumerate(self._rules):
                bit = 1 << number
                if above & bit or (rule.excepts == is_out and rule.matches(path)):
                    matched |= bit
                    decided, is_out = number, not rule.excepts
            above = matched
            if is_directory or path is not below[0]:
                if len(self._directories) >= _CACHED:
                    self._directories.clear()
                self._directories[path] = matched, decided
        return above, decided


def read(data: bytes, name: str = ".dockerignore") -> Ignore:
    """The rules of a file called ``name``.

    Raises InvalidArgument for a pattern that is none, with its line, and LimitExceeded for too many.
    """
    if len(data) > MAX_FILE:
        raise LimitExceeded(f"{name} is larger than {MAX_FILE >> 10} KiB")
    rules: list[Rule] = []
    for number, text in lines(data):
        if len(text) > MAX_PATTERN:
            raise LimitExceeded(f"{name} line {number} has more than {MAX_PATTERN} characters")
        try:
            rule = _rule(number, text)
        except BadPattern as error:
            raise InvalidArgument(f"{name} line {number}: {error}: {quote(text[:_SHOWN])}") from None
        if rule is not None:
            rules.append(rule)
        if len(rules) > MAX_RULES:
            raise LimitExceeded(f"{name} has more than {MAX_RULES} rules")
    return Ignore(rules, name)


def patterns(data: bytes) -> list[str]:
    """The rules of a file that was read already, for a client of the network's other end that leaves out files."""
    cleaned = [_cleaned(number, text) for number, text in lines(data)]
    return [f"{'!' if excepts else ''}{pattern}" for excepts, pattern in cleaned if pattern]


def lines(data: bytes) -> list[tuple[int, str]]:
    """The lines of a file that are rules, with their numbers."""
    found = []
    for number, line in enumerate(decode(data.removeprefix(b"\xef\xbb\xbf")).split("\n"), 1):
        text = line.strip(SPACES)
        if text and not line.startswith("#"):
            found.append((number, text))
    return found


def of(patterns: Sequence[str], name: str) -> Ignore:
    """The rules of a flag called ``name``; one with a slash at its beginning finds nothing, as in Docker.

    Raises InvalidArgument for a pattern that is none.
    """
    rules = []
    for number, text in enumerate(patterns, 1):
        try:
            rule = _rule(number, text)
        except BadPattern as error:
            raise InvalidArgument(f"{name} {quote(text[:_SHOWN])}: {error}") from None
        if rule is not None and not text.strip(SPACES).lstrip("!").startswith("/"):
            rules.append(rule)
    return Ignore(rules, name)


def _rule(number: int, text: str) -> Rule | None:
    """A line; None for one of which nothing is left."""
    excepts, pattern = _cleaned(number, text)
    if not pattern:
        return None
    paths.parse_pattern(pattern)
    parts = _parts(pattern)
    literal = []
    for part in parts:
        if isinstance(part, str) or part.negated or part.ranges[0][0] != part.ranges[0][1] or len(part.ranges) > 1:
            break
        literal.append(part.ranges[0][0])
    return Rule(number, text, excepts, "".join(literal), _matcher(pattern, parts))


def _cleaned(number: int, text: str) -> tuple[bool, str]:
    """Whether a line begins with ``!``, and its pattern. Docker cleans twice, which can bring blanks to the ends."""
    mark = "!" * text.startswith("!")
    pattern = text.removeprefix(mark).strip(SPACES)
    if pattern:
        pattern = paths.clean(pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
    again = (mark + pattern).strip(SPACES)
    pattern = paths.clean(again) if again else ""
    if pattern == "!":
        raise InvalidArgument(f'illegal exclusion pattern: "!" in line {number}')
    return pattern.startswith("!"), pattern.removeprefix("!")


def _parts(pattern: str) -> list[_Part]:
    """The parts of a pattern: characters, ``*``, ``**/`` (also nothing) and a ``**`` at the end (anything)."""
    parts: list[_Part] = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**", position):
            position += 2
            position += pattern.startswith("/", position)
            parts.append(_ALL if position >= len(pattern) else _DEEP)
        elif pattern[position] == "*":
            position += 1
            parts.append(_STAR)
        else:
            found, position = _characters(pattern, position)
            parts.append(found)
    return parts


def _characters(pattern: str, position: int) -> tuple[Characters, int]:
    character = pattern[position]
    if character == "?":
        return Characters([("/", "/")], True), position + 1
    if character == "[":
        return paths.character_class(pattern, position + 1)
    if character != "\\":
        return Characters([(character, character)], False), position + 1
    escaped = pattern[position + 1]
    kind = _CLASSES.get(escaped.lower())
    if kind is not None:  # Docker hands escapes on to a regular expression
        return Characters(kind, escaped.isupper()), position + 2
    escaped = _CONTROLS.get(escaped, escaped)
    if escaped.isascii() and escaped.isalnum():
        raise BadPattern
    return Characters([(escaped, escaped)], False), position + 2


def _matcher(pattern: str, parts: list[_Part]) -> Callable[[str], bool]:
    wild = [part for part in parts if isinstance(part, str)]
    if not re.search(r"[\\\[\]?]", pattern):
        if not wild:
            return pattern.__eq__
        if wild == [_ALL] and len(parts) > 1:
            return _Prefix(pattern.removesuffix("/")[:-2])
        if wild == [_DEEP] and pattern.startswith("**"):
            return _Suffix(pattern[2:])
    linear = _Linear(parts)
    if len(wild) > _FEW:
        return linear
    fullmatch = re.compile("".join(map(_expression, parts)), re.DOTALL).fullmatch
    return lambda path: fullmatch(path) is not None if len(path) <= _SHORT else linear(path)


class _Prefix:
    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, path: str) -> bool:
        return path.startswith(self._text)


class _Suffix:
    """``**/name``; ``**name`` is any path that ends so."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, path: str) -> bool:
        return path.endswith(self._text) or (self._text[0] == "/" and path == self._text[1:])


def _expression(part: _Part) -> str:
    if isinstance(part, str):
        return {_STAR: "[^/]*", _DEEP: "(?:.*/)?", _ALL: ".*"}[part]
    ranges = [(low, high) for low, high in part.ranges if low <= high]
    if not ranges:
        return "." if part.negated else r"(?!)"
    body = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges)
    return f"[{'^' * part.negated}{body}]"


class _Linear:
    """For many stars and long paths: never takes longer than the pattern's length times the path's."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = parts

    def __call__(self, path: str) -> bool:
        size = len(path)
        reached = {0}
        for part in self._parts:
            lowest = min(reached)
            if not isinstance(part, str):
                reached = {at + 1 for at in reached if at < size and part.matches(path[at])}
            elif part == _STAR:
                reached = paths.star(path, reached)
            elif part == _DEEP:
                reached = reached | {at + 1 for at in range(lowest, size) if path[at] == "/"}
            else:
                return True
            if not reached:
                return False
        return size in reached
