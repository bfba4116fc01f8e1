"""Sets of CPUs and memory nodes as the kernel writes them: ``0-3,8``."""

from __future__ import annotations

from minidock.errors import InvalidArgument

MAXIMUM = 8192
"""Docker's bound; checked before anything is allocated (SECURITY.md, CVE-2018-20699)."""


def cpuset(text: str, what: str = "cpus") -> set[int]:
    """Return the numbers that ``text`` lists; empty text is the empty set.

    ``what`` is ``cpus`` or ``mems``, for the error. Raises InvalidArgument.
    """
    numbers: set[int] = set()
    if not text:
        return numbers
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_number(first) or (dash and not _is_number(last)):
            raise InvalidArgument(f"invalid value {text[:100]} for cpuset {what}: invalid format: {part[:100]}")
        low, high = int(first), int(last) if dash else int(first)
        if high > MAXIMUM:
            raise InvalidArgument(
                f"invalid value {text[:100]} for cpuset {what}: value out of range, maximum is {MAXIMUM}"
            )
        if low > high:
            raise InvalidArgument(f"invalid value {text[:100]} for cpuset {what}: invalid range: {part}")
        numbers.update(range(low, high + 1))
    return numbers


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def check_available(requested: str, available: str, what: str = "cpus") -> None:
    """Raise InvalidArgument unless every number of ``requested`` is in ``available``, in Docker's words."""
    if requested and not cpuset(requested, what) <= cpuset(available, what):
        noun = "CPUs" if what == "cpus" else "memory nodes"
        raise InvalidArgument(f"requested {noun} are not available - requested {requested}, available: {available}")
