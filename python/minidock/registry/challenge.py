"""``WWW-Authenticate``: what a registry asks for. Pure; the grammar of RFC 9110 section 11, bounded.

Servers bend the grammar, so a parameter's value may have any character but white space, comma and quote without being
quoted. Text that is no challenge at all ends the parsing; what came before it counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_MAX_LENGTH = 16 << 10
_MAX_CHALLENGES = 16
_MAX_PARAMETERS = 32
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_TOKEN68 = frozenset("-._~+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SPACE = " \t"


class Challenge(NamedTuple):
    """One way to authenticate: the scheme and the parameters' names in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of an answer's headers, in their order. A parameter given twice counts the first time."""
    found: list[Challenge] = []
    for header in headers:
        if len(header) <= _MAX_LENGTH:
            found += _Scanner(header).challenges()
    return found[:_MAX_CHALLENGES]


class _Scanner:
    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def challenges(self) -> list[Challenge]:
        found: list[Challenge] = []
        while len(found) < _MAX_CHALLENGES:
            self._skip(_SPACE + ",")
            scheme = self._run(_TOKEN)
            if not scheme or not (self._ended() or self.text[self.at] in _SPACE + ","):
                break
            parameters = self._parameters()
            if parameters is None:
                break
            found.append(Challenge(scheme.lower(), parameters))
        return found

    def _parameters(self) -> dict[str, str] | None:
        """What follows a scheme; None for text that is neither a parameter, nor a token, nor the next challenge."""
        found: dict[str, str] = {}
        self._skip(_SPACE)
        if self._skip_token68():
            return found
        while not self._ended():
            start = self.at
            self._skip(_SPACE + ",")
            name = self._run(_TOKEN)
            self._skip(_SPACE)
            if self._ended() or self.text[self.at] != "=":
                # the next challenge's scheme
                self.at = start
                return found
            self.at += 1
            self._skip(_SPACE)
            value = self._value()
            if not name or value is None or len(found) == _MAX_PARAMETERS:
                return None
            found.setdefault(name.lower(), value)
            self._skip(_SPACE)
            if not self._ended() and self.text[self.at] != ",":
                return None
        return found

    def _skip_token68(self) -> bool:
        """Skip the one token that schemes other than Basic and Bearer may have in place of parameters."""
        start = self.at
        if self._run(_TOKEN68):
            self._skip("=")
            self._skip(_SPACE)
            if self._ended() or self.text[self.at] == ",":
                return True
        self.at = start
        return False

    def _value(self) -> str | None:
        if self._ended() or self.text[self.at] != '"':
            start = self.at
            while not self._ended() and self.text[self.at] not in ' \t,"':
                self.at += 1
            return self.text[start : self.at]
        parts: list[str] = []
        self.at += 1
        while not self._ended():
            char = self.text[self.at]
            self.at += 1
            if char == '"':
                return "".join(parts)
            if char == "\\":
                if self._ended():
                    return None
                char = self.text[self.at]
                self.at += 1
            parts.append(char)
        return None

    def _run(self, allowed: frozenset[str]) -> str:
        start = self.at
        while not self._ended() and self.text[self.at] in allowed:
            self.at += 1
        return self.text[start : self.at]

    def _skip(self, chars: str) -> None:
        while not self._ended() and self.text[self.at] in chars:
            self.at += 1

    def _ended(self) -> bool:
        return self.at >= len(self.text)
