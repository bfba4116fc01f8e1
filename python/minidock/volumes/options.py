"""What a volume may be called, and what its driver's options may be; the words of errors are Docker's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minidock.containers.parse.sizes import size as parse_size
from minidock.errors import InvalidArgument, NotFound
from minidock.volumes.record import DRIVER

if TYPE_CHECKING:
    from collections.abc import Mapping

_RULE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_LONGEST = 255
_NEEDED = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
SIZE = "size"


def check_name(name: str) -> None:
    """Raise InvalidArgument unless a volume may be called ``name``."""
    if len(name) == 1:
        raise InvalidArgument(
            f"create {_shown(name)}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _RULE.fullmatch(name):
        raise InvalidArgument(
            f'create {_shown(name)}: "{_shown(name)}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > _LONGEST:
        raise InvalidArgument(
            f"create {name[:40]}…: volume name is too long, at most {_LONGEST} characters are allowed"
        )


def check(name: str, driver: str, options: Mapping[str, str]) -> None:
    """Raise NotFound for a driver that is not there, InvalidArgument for options that make no sense."""
    if driver != DRIVER:
        raise NotFound(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found; minidock has the '
            f"driver {DRIVER}"
        )
    size(name, options)
    for key in options:
        if key not in _NEEDED and key != SIZE:
            raise InvalidArgument(f'create {name}: invalid option: "{key}"')
    for key, needed in _NEEDED.items():
        if key in options:
            for other in needed:
                if other not in options:
                    raise InvalidArgument(f'create {name}: missing required option: "{other}"')
    for key, value in options.items():
        if "\0" in value:
            raise InvalidArgument(f'create {name}: option "{key}" has a null byte')


def size(name: str, options: Mapping[str, str]) -> int:
    """The bytes that a volume may have, 0 without a limit. Raises InvalidArgument."""
    text = options.get(SIZE)
    if text is None:
        return 0
    try:
        found = parse_size(text)
    except InvalidArgument:
        found = -1
    if found < 0:
        raise InvalidArgument(f"create {name}: invalid size: '{text}'")
    return found


def _shown(name: str) -> str:
    return name[:100] if name.isprintable() else ascii(name[:100])
