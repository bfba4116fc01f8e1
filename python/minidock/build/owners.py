"""``--chown``: numbers, or names of the image's own user files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.build.merged import Merged

_MAX_FILE = 10 << 20
_MAX_ID = 2**31 - 1


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
