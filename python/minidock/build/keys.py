"""Keys of the build cache: the digest of all that a step depends on, and of nothing else. Pure.

A step depends on the layers below (by their digests, not by how they came about), on what it says, and on the bytes,
modes and owners of what it reads; on times only where they are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

VERSION = b"minidock build 1"
"""Changed when a step of the same key would give another layer."""

Fact = bytes | str | int | None | Sequence["Fact"] | Mapping[str, "Fact"]


def key(kind: str, *facts: Fact) -> str:
    """Return the key of a step: equal for equal facts only."""
    hashed = hashlib.sha256(VERSION)
    _add(hashed, (kind, *facts))
    return hashed.hexdigest()


def chain(diff_ids: Sequence[str]) -> str:
    """Return what stands for layers, lowest first."""
    return key("chain", *diff_ids)


def _add(hashed: hashlib._Hash, fact: Fact) -> None:
    if isinstance(fact, str):
        fact = fact.encode("utf-8", "surrogateescape")
        hashed.update(b"s%d:" % len(fact) + fact)
    elif isinstance(fact, (bytes, bytearray)):
        hashed.update(b"b%d:" % len(fact) + fact)
    elif fact is None:
        hashed.update(b"n")
    elif isinstance(fact, int):
        hashed.update(b"i%d;" % fact)
    elif isinstance(fact, Mapping):
        hashed.update(b"m%d;" % len(fact))
        for name in sorted(fact):
            _add(hashed, name)
            _add(hashed, fact[name])
    else:
        hashed.update(b"l%d;" % len(fact))
        for one in fact:
            _add(hashed, one)
