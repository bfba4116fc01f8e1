"""Flags of instructions: ``--name=value`` and ``--name``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from minidock.build.dockerfile.text import suggestion

Kind = Literal["bool", "text", "texts"]


class FlagError(Exception):
    """The text says what is wrong with a flag."""


class Flags:
    """The flags of one instruction, once each but for those that are ``texts``."""

    def __init__(self, written: Sequence[str], known: Mapping[str, Kind]) -> None:
        """Raises FlagError."""
        self._texts: dict[str, list[str]] = {}
        for word in written:
            name, equals, value = word[2:].partition("=")
            kind = known.get(name)
            if kind is None:
                raise FlagError(f"unknown flag: --{name}{suggestion(name, known)}")
            if name in self._texts and kind != "texts":
                raise FlagError(f"duplicate flag specified: --{name}")
            if kind == "bool":
                value = _bool(name, equals, value)
            elif not equals:
                raise FlagError(f"missing a value on flag: --{name}")
            self._texts.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """The value; empty without the flag."""
        return self._texts.get(name, [""])[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """All values."""
        return tuple(self._texts.get(name, ()))

    def given(self, name: str) -> bool | None:
        """The value of a flag that is true or false; None without the flag."""
        return self._texts[name][0] == "true" if name in self._texts else None


def _bool(name: str, equals: str, value: str) -> str:
    if equals and not value:
        raise FlagError(f"missing a value on flag: --{name}")
    lower = value.lower() or "true"
    if lower not in ("true", "false"):
        raise FlagError(f"expecting boolean value for flag --{name}, not: {value}")
    return lower
