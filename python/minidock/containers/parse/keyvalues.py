"""Environment, labels, annotations, and the files that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_FILE = 16 << 20
"""An env or label file may not be larger than this, in bytes (R6)."""


def environment(values: Mapping[str, str] | Iterable[str], host: Mapping[str, str]) -> list[str]:
    """Return ``NAME=VALUE`` entries, and bare names that remove a variable of the image.

    ``NAME`` alone takes the value of ``host`` (this process's environment) when it has one.
    """
    if isinstance(values, str):
        raise InvalidArgument("environment: a list of NAME=VALUE or a mapping is needed, not text")
    if not hasattr(values, "items"):
        return [_variable(text, host) for text in values]
    entries = []
    for name, value in values.items():
        _check_name(name)
        entries.append(_clean(name if value is None else f"{name}={value}"))
    return entries


def _check_name(name: str) -> None:
    if not name or "=" in name:
        raise InvalidArgument(f"invalid environment variable: {name}=" if name else "invalid environment variable: =")


def _variable(text: str, host: Mapping[str, str]) -> str:
    name, equals, _ = text.partition("=")
    if not name:
        raise InvalidArgument(f"invalid environment variable: {text}")
    if equals:
        return _clean(text)
    return _clean(f"{name}={host[name]}") if name in host else _clean(name)


def _clean(text: str) -> str:
    if "\0" in text:
        raise InvalidArgument(f"invalid environment variable: {text.partition('=')[0]!a}: contains a NUL byte")
    return text


def env_file(text: bytes, name: str, host: Mapping[str, str]) -> list[str]:
    """Return the entries of an env file: ``NAME=VALUE`` lines, ``NAME`` to copy from ``host``, ``#`` comments."""
    entries = []
    for key, equals, value in _lines(text, name):
        if equals:
            entries.append(_clean(f"{key}={value}"))
        elif key in host:
            entries.append(_clean(f"{key}={host[key]}"))
    return entries


def label_file(text: bytes, name: str) -> dict[str, str]:
    """Return the labels of a label file: ``NAME=VALUE`` or ``NAME`` lines, ``#`` comments."""
    return {key: value for key, _, value in _lines(text, name)}


def _lines(text: bytes, name: str) -> Iterable[tuple[str, str, str]]:
    if len(text) > MAX_FILE:
        raise InvalidArgument(f"{name}: larger than {MAX_FILE >> 20} MiB")
    for number, raw in enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"{name}: invalid utf8 bytes at line {number}: {raw[:60]!a}") from error
        line = line.lstrip(" \t\v\f")
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key:
            raise InvalidArgument(f"{name}: no variable name on line '{line}'")
        if any(character.isspace() for character in key):
            raise InvalidArgument(f"{name}: variable '{key}' contains whitespaces")
        yield key, equals, value


def labels(values: Mapping[str, str] | Iterable[str], noun: str = "label") -> dict[str, str]:
    """Return labels (or annotations, by ``noun``) from ``NAME=VALUE`` or ``NAME`` entries or a mapping."""
    if isinstance(values, str):
        raise InvalidArgument(f"{noun}: a list of NAME=VALUE or a mapping is needed, not text")
    if hasattr(values, "items"):
        pairs = [(str(name), str(value)) for name, value in values.items()]
    else:
        pairs = [(name, value) for name, _, value in (text.partition("=") for text in values)]
    for name, value in pairs:
        if not name:
            raise InvalidArgument(f"invalid {noun} '={value}': empty name")
        if "\0" in name or "\0" in value:
            raise InvalidArgument(f"invalid {noun} '{name!a}': contains a NUL byte")
    return dict(pairs)


def merge_environment(base: Iterable[str], entries: Iterable[str]) -> list[str]:
    """Return ``base`` with ``entries`` put over it: same names replaced in place, bare names removed."""
    merged = {}
    for entry in base:
        merged[entry.partition("=")[0]] = entry
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if equals:
            merged[name] = entry
        else:
            merged.pop(name, None)
    return list(merged.values())
