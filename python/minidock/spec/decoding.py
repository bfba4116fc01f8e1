"""Typed JSON decoders, made when they are first needed, by one thread at a time.

msgspec reads a struct's annotations when the first decoder of it is made, and calls back into Python meanwhile: two
threads that do so at once for the same struct crash the interpreter (seen with msgspec 0.22, Python 3.11).
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_lock = threading.Lock()
_made: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return the process's decoder of JSON into ``kind``."""
    made = _made.get(kind)
    if made is None:
        with _lock:
            made = _made.get(kind)
            if made is None:
                made = _made[kind] = msgspec.json.Decoder(kind)
    return made


def decode(text: bytes | str, kind: type[T]) -> T:
    """Return the ``kind`` that the JSON ``text`` holds. Raises msgspec.DecodeError, msgspec.ValidationError."""
    return decoder(kind).decode(text)


def convert(value: object, kind: type[T]) -> T:
    """Return the ``kind`` that a decoded value is. Raises msgspec.ValidationError."""
    decoder(kind)
    return msgspec.convert(value, kind)
