"""Volumes that have a directory and no row: a power cut may take the row, the data of a volume is never lost."""

from __future__ import annotations

import os
import re

import msgspec

from minidock.spec import decoding
from minidock.store.volumes import DATA, RECORD, VolumeRow

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LIMIT = 1 << 20


class _Facts(msgspec.Struct):
    """What the store itself needs of a record."""

    name: str
    created: int
    anonymous: bool = False


class _Plain(msgspec.Struct):
    """The record of a volume that has lost its own."""

    name: str
    created: int
    version: int = 1


def row_of(directory: str, name: str) -> VolumeRow | None:
    """The row for a volume's directory; None for what holds no volume's data. Raises OSError."""
    record = _read(f"{directory}/{RECORD}")
    if record is not None:
        try:
            facts = decoding.decode(record, _Facts)
        except msgspec.DecodeError:
            pass
        else:
            if facts.name == name and os.path.isdir(f"{directory}/{DATA}"):
                return VolumeRow(name, facts.created, facts.anonymous, record)
    try:
        found = os.listdir(f"{directory}/{DATA}")
    except (FileNotFoundError, NotADirectoryError):
        found = []
    if not found:
        return None
    created = os.stat(f"{directory}/{DATA}").st_mtime_ns
    return VolumeRow(name, created, anonymous=False, record=msgspec.json.encode(_Plain(name, created)))


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(_LIMIT)
