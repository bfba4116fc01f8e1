"""JSON from strangers: what two readers could understand differently, or nobody could write again, is refused."""

from __future__ import annotations

import json
from typing import Any

from minidock.errors import Corrupt, LimitExceeded


def loads(data: bytes, what: str) -> Any:
    """The JSON value in ``data``, UTF-8, which is ``what`` in messages; its size is bounded by the caller.

    Raises Corrupt for what is no JSON, for a key that comes twice in an object, NaN and the like, and half a surrogate
    pair; LimitExceeded for values nested too deep.
    """
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        if b"\\u" in data:
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise LimitExceeded(f"{what}: nested too deep") from error
    except UnicodeEncodeError as error:
        raise Corrupt(f"{what}: half a surrogate pair, which is no character") from error
    except ValueError as error:
        text = str(error)
        raise Corrupt(f"{what}: {text[:1].lower()}{text[1:200]}") from error
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"the number {name} is not JSON")
