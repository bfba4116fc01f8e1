"""Keys that detach a terminal: ``ctrl-p,ctrl-q``."""

from __future__ import annotations

from minidock.errors import InvalidArgument

DEFAULT = "ctrl-p,ctrl-q"
_LONGEST = 32


def detach_keys(text: str) -> str:
    """Return ``text``, keys separated by commas, after checking it; empty text means Docker's default.

    A key is one ASCII character, or ``ctrl-`` and a letter or one of ``@ [ \\ ] ^ _``. Raises InvalidArgument.
    """
    if not text:
        return DEFAULT
    keys = text.split(",")
    if len(keys) > _LONGEST:
        raise InvalidArgument(f"invalid detach keys: {len(keys)} keys are too many, {_LONGEST} is the most")
    for key in keys:
        if not (_is_character(key) or _is_control(key)):
            raise InvalidArgument(
                f"invalid detach keys ({text[:100]}): unknown character: '{key[:40]}': "
                "write single characters or ctrl-X, separated by commas"
            )
    return text


def encoded(text: str) -> bytes:
    """Return the bytes that a terminal sends for keys; empty text means Docker's default. Raises InvalidArgument."""
    keys = detach_keys(text).split(",")
    return bytes(ord(key) if _is_character(key) else ord(key.removeprefix("ctrl-").upper()) & 0x1F for key in keys)


def _is_character(key: str) -> bool:
    return len(key) == 1 and key.isascii()


def _is_control(key: str) -> bool:
    letter = key.removeprefix("ctrl-")
    return len(letter) == 1 and letter != key and letter.isascii() and (letter.isalpha() or letter in "@[\\]^_")
