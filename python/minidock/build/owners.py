"""``--chown``: numbers, or names of the image's own user files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.build.merged import Merged

_MAX_FILE = 10 << 20
_MAX_ID = 2**31 - 1


def owner(tree: Merged, spec: str, unknown: Callable[[str], None]) -> tuple[int, int]:
    """Return uid and gid of ``user[:group]`` by the tree's passwd and group files.

    A number without a group is its own group's, too, and an empty text is root's. As in Docker a user whom the files
    do not have is root, and of such a group nothing comes: ``unknown`` is told. Raises InvalidArgument for a number
    that is none.
    """
    user, colon, group = spec.partition(":")
    found = _user(tree, user)
    if found is None:
        unknown(f"the image has no user {user[:100]!r} in /etc/passwd: root is taken, as Docker does")
        found = (0, 0)
    uid, gid = found
    if not colon:
        return uid, gid
    other = _group(tree, group)
    if other is None:
        unknown(f"the image has no group {group[:100]!r} in /etc/group: {gid} is taken, as Docker does")
        other = gid
    return uid, other


def process(tree: Merged, spec: str) -> tuple[int, int]:
    """Return uid and gid of a process whose USER this is; a user whom the files do not have is nobody's affair here."""
    user, colon, group = spec.partition(":")
    uid, gid = 0, 0
    for fields in _records(tree, "etc/passwd") if user else ():
        if len(fields) > 3 and user in (fields[0], fields[2]):
            uid, gid = _number(fields[2], "user"), _number(fields[3], "group")
            break
    else:
        uid = int(user) if user.isascii() and user.isdigit() else 0
    if colon:
        other = _group(tree, group)
        gid = gid if other is None else other
    return uid, gid


def _user(tree: Merged, user: str) -> tuple[int, int] | None:
    if not user:
        return 0, 0
    if user.isascii() and user.isdigit():
        return _number(user, "user"), _number(user, "user")
    for fields in _records(tree, "etc/passwd"):
        if len(fields) > 3 and fields[0] == user:
            return _number(fields[2], "user"), _number(fields[3], "group")
    return None


def _group(tree: Merged, group: str) -> int | None:
    if not group:
        return 0
    if group.isascii() and group.isdigit():
        return _number(group, "group")
    for fields in _records(tree, "etc/group"):
        if len(fields) > 2 and fields[0] == group:
            return _number(fields[2], "group")
    return None


def _records(tree: Merged, path: str) -> list[list[str]]:
    data = tree.read(path, _MAX_FILE + 1) or b""
    if len(data) > _MAX_FILE:
        raise InvalidArgument(f"/{path}: larger than {_MAX_FILE} bytes")
    return [line.split(":") for line in data.decode("utf-8", "surrogateescape").split("\n")]


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _MAX_ID:
        raise InvalidArgument(f"{what} {text[:40]!r}: not a number from 0 to {_MAX_ID}")
    return int(text)
