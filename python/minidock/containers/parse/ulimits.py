"""Resource limits: ``nofile=1024:2048``."""

from __future__ import annotations

from minidock.errors import InvalidArgument
from minidock.spec.docker import Ulimit

NAMES = frozenset(
    (
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    )
)


def ulimit(text: str) -> Ulimit:
    """Return the limit of ``NAME=SOFT[:HARD]``; -1 is unlimited; without HARD both are SOFT."""
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise InvalidArgument(f"invalid ulimit argument: {text}")
    if name not in NAMES:
        raise InvalidArgument(f"invalid ulimit type: {name}")
    parts = values.split(":")
    if len(parts) > 2:
        raise InvalidArgument(f"too many limit value arguments - {values}, can only have up to two, `soft[:hard]`")
    numbers = [_limit(part, text) for part in parts]
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name=name, soft=soft, hard=hard)


def _limit(text: str, whole: str) -> int:
    if text == "-1":
        return -1
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) >= 1 << 63:
        raise InvalidArgument(f"invalid ulimit argument: {whole}: {text} is not a limit")
    return int(text)
