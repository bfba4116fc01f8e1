"""``--chown`` and ``--chmod``: numbers, or names of the image's own user files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.build.merged import Merged

_MAX_FILE = 10 << 20
_MAX_ID = 2**31 - 1
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*)+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*)")


def owner(tree: Merged, spec: str) -> tuple[int, int]:
    """Return uid and gid of ``user[:group]`` by the tree's passwd and group files.

    A number without a group is its own group's, too. Raises InvalidArgument for a name that they do not have.
    """
    user, colon, group = spec.partition(":")
    uid, primary = _user(tree, user)
    if not colon or not group:
        return uid, primary
    return uid, _group(tree, group)


def _user(tree: Merged, user: str) -> tuple[int, int]:
    if user.isascii() and user.isdigit():
        return _number(user, "user"), _number(user, "user")
    for fields in _records(tree, "etc/passwd"):
        if len(fields) > 3 and fields[0] == user:
            return _number(fields[2], "user"), _number(fields[3], "group")
    raise InvalidArgument(f"invalid user index: -1: the image has no user {user!r} in /etc/passwd")


def _group(tree: Merged, group: str) -> int:
    if group.isascii() and group.isdigit():
        return _number(group, "group")
    for fields in _records(tree, "etc/group"):
        if len(fields) > 2 and fields[0] == group:
            return _number(fields[2], "group")
    raise InvalidArgument(f"invalid group index: -1: the image has no group {group!r} in /etc/group")


def _records(tree: Merged, path: str) -> list[list[str]]:
    data = tree.read(path, _MAX_FILE + 1) or b""
    if len(data) > _MAX_FILE:
        raise InvalidArgument(f"/{path}: larger than {_MAX_FILE} bytes")
    return [line.split(":") for line in data.decode("utf-8", "surrogateescape").splitlines()]


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _MAX_ID:
        raise InvalidArgument(f"{what} {text[:40]!r}: not a number from 0 to {_MAX_ID}")
    return int(text)


def mode(text: str) -> Callable[[int], int]:
    """Return what ``--chmod`` makes of a mode: octal, or symbolic as of chmod(1). Raises InvalidArgument."""
    if re.fullmatch(r"[0-7]{1,4}", text):
        fixed = int(text, 8)
        return lambda _mode: fixed
    clauses = text.split(",")
    for clause in clauses:
        if not _CLAUSE.fullmatch(clause):
            raise InvalidArgument(
                f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            )

    def change(before: int) -> int:
        now = before
        for clause in clauses:
            found = _CLAUSE.fullmatch(clause)
            assert found is not None  # noqa: S101 - checked above
            who = found[1] or "a"
            who = "ugo" if "a" in who else who
            for operator, letters in _ACTION.findall(found[2]):
                now = _apply(now, who, operator, letters)
        return now

    return change


def _apply(mode: int, who: str, operator: str, letters: str) -> int:
    bits = mask = 0
    for person, shift in (("u", 6), ("g", 3), ("o", 0)):
        if person not in who:
            continue
        mask |= 0o7 << shift
        for letter in letters:
            if letter in "rwx":
                bits |= {"r": 4, "w": 2, "x": 1}[letter] << shift
            elif letter == "X" and mode & 0o111:
                bits |= 1 << shift
            elif letter == "s" and person != "o":
                bits |= 0o4000 if person == "u" else 0o2000
    if "t" in letters:
        bits |= 0o1000
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    return (mode & ~mask) | bits
