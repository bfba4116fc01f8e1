"""Users and groups as Docker writes them (SECURITY.md R7). Names are resolved by the helper, inside the rootfs."""

from __future__ import annotations

import re

from minidock.errors import InvalidArgument

MAX_ID = (1 << 31) - 1
_NAME = r"[^\s:/\0-][^\s:/\0]*"


def user(text: str) -> str:
    """Return ``USER[:GROUP]`` after checking it; numbers from 0 to 2147483647 are ids and never names."""
    name, colon, group = text.partition(":")
    if name:
        _check(name, text)
    if group:
        _check(group, text)
    elif colon and not name:
        raise InvalidArgument(f'invalid user: "{text}"')
    return text


def group(value: str | int) -> str:
    """Return the name or number of a group after checking it."""
    text = str(value)
    if not text:
        raise InvalidArgument("invalid group: empty name")
    _check(text, text)
    return text


def _check(name: str, whole: str) -> None:
    if name.isascii() and name.isdigit():
        if len(name) > 10 or int(name) > MAX_ID:
            raise InvalidArgument(f"uids and gids must be in range 0-{MAX_ID}: {whole}")
        return
    if not re.fullmatch(_NAME, name) or len(name) > 256:
        raise InvalidArgument(f"invalid user or group: {whole[:100]!a}")
