"""``RUN --mount=type=…``."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from minidock.build.dockerfile.instructions import Mount
from minidock.build.dockerfile.text import csv_fields, parse_bool, parse_size, parse_uint, quote, suggestion

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")
_KEYS = (
    *("type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid"),
    *("src", "dst", "destination", "ro", "rw", "readwrite", "env"),
)
Expand = Callable[[str], str]


class MountError(Exception):
    """The text says what is wrong with a mount."""


def parse(text: str) -> Mount:
    """What can be said before variables are known: ``from``, and the words of all the rest. Raises MountError."""
    words: list[tuple[str, str]] = []
    source = ""
    fields = csv_fields(text)
    if fields is None:
        raise MountError(f"failed to parse csv mounts: {quote(text)} has a quote in the wrong place")
    if fields == [""]:
        raise MountError("failed to parse csv mounts: EOF")
    for field in fields:
        name, equals, value = field.partition("=")
        key = name.lower()
        if key == "from" and equals:
            if re.search(r"\$.", value):
                raise MountError(f"'{key}' doesn't support variable expansion, define alias stage instead")
            source = value
        words.append((name, value) if equals else (name, _BARE))
    return Mount(from_=source, words=tuple(words))


_BARE = "\0"
"""Stands for the value of a key that has none."""


def expand(mount: Mount, expanded: Expand) -> Mount:
    """The mount with everything decided. Raises MountError, and what ``expanded`` does."""
    found = _Reading()
    for name, written in mount.words:
        key = name.lower()
        if written != _BARE:
            value = expanded(written)
            found.keyed(key, value, f"{name}={written}")
        elif key in ("readonly", "ro", "readwrite", "rw"):
            found.mount = msgspec.structs.replace(found.mount, readonly=key in ("readonly", "ro"))
            found.readonly_said = True
        elif key == "required":
            found.keyed(key, "true", name)
        else:
            raise MountError(f"invalid field '{name}' must be a key=value pair")
    return found.finish()


class _Reading:
    def __init__(self) -> None:
        self.mount = Mount()
        self.readonly_said = False

    def keyed(self, key: str, value: str, field: str) -> None:
        match key:
            case "type":
                if value.lower() not in _TYPES:
                    raise MountError(f"unsupported mount type {quote(value)}{suggestion(value, _TYPES)}")
                self._set(type=value.lower())
            case "from":
                self._set(from_=value)
            case "source" | "src":
                self._set(source=value)
            case "target" | "dst" | "destination":
                self._set(target=value)
            case "readonly" | "ro" | "readwrite" | "rw":
                self._set(readonly=self._bool(key, value) == (key in ("readonly", "ro")))
                self.readonly_said = True
            case "required":
                self._only(key, "secret", "ssh")
                self._set(required=self._bool(key, value))
            case "size":
                self._only(key, "tmpfs")
                size = parse_size(value)
                if size is None:
                    raise MountError(f"invalid value for {key}: {value}")
                self._set(size=size)
            case "id":
                self._set(id=value)
            case "sharing":
                if value.lower() not in _SHARING:
                    raise MountError(f"unsupported sharing value {quote(value)}{suggestion(value, _SHARING)}")
                self._set(sharing=value.lower())
            case "mode" | "uid" | "gid":
                number = parse_uint(value, 8 if key == "mode" else 10)
                if number is None:
                    raise MountError(f"invalid value {value} for {key}")
                self._set(**{key: number})
            case "env":
                self._set(env=value)
            case _:
                raise MountError(f"unexpected key '{key}' in '{field}'{suggestion(key, _KEYS)}")

    def _set(self, **changes: object) -> None:
        self.mount = msgspec.structs.replace(self.mount, **changes)

    def _only(self, key: str, *types: str) -> None:
        if self.mount.type not in types:
            raise MountError(f"unexpected key '{key}' for mount type '{self.mount.type}'")

    def _bool(self, key: str, value: str) -> bool:
        found = parse_bool(value)
        if found is None:
            raise MountError(f"invalid value for {key}: {value}")
        return found

    def finish(self) -> Mount:
        mount = self.mount
        if mount.type in ("bind", "tmpfs"):
            for key in ("mode", "uid", "gid"):
                if getattr(mount, key) is not None:
                    raise MountError(f"{key} not allowed for {quote(mount.type)} type mounts")
        if not self.readonly_said:
            self._set(readonly=mount.type not in ("cache", "tmpfs"))
        if mount.sharing and mount.type != "cache":
            raise MountError(f"invalid cache sharing set for {mount.type} mount")
        if mount.type == "secret":
            if mount.from_:
                raise MountError("secret mount should not have a from")
            if not (mount.source or mount.target or mount.id or mount.env):
                raise MountError("invalid secret mount. one of source, target required")
            if mount.source and mount.id:
                raise MountError("both source and id can't be set")
        return self.mount
