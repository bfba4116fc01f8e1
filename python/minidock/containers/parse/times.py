"""Points in time, as Docker's ``--since`` and ``--until`` say them."""

from __future__ import annotations

import datetime
import re
import time

from minidock.errors import InvalidArgument

Time = int | float | str | datetime.datetime
"""Seconds since 1970, Docker's text, or a datetime (without a time zone: local)."""

SECOND = 1_000_000_000
_MAX = (1 << 63) - 1
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_DATE = r"(\d{4})-(\d{2})-(\d{2})(?:T(\d{2})(?::(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?)?(Z|[+-]\d{2}:\d{2})?"


def duration(text: str) -> int | None:
    """Return the nanoseconds of a duration in Go's notation (``1h30m``); None if it is none."""
    if text in ("0", "+0", "-0"):
        return 0
    if len(text) > 100 or not re.fullmatch(f"[+-]?(?:{_PART})+", text, re.ASCII):
        return None
    total = 0
    for number, unit in re.findall(_PART, text, re.ASCII):
        whole, _, fraction = number.partition(".")
        total += int((whole or "0") + fraction) * _UNITS[unit] // 10 ** len(fraction)
    return -total if text[0] == "-" else total


def point(value: Time, now: int | None = None) -> int:
    """Return nanoseconds since 1970. Durations count back from ``now``; dates without a zone are local, as in Docker.

    Raises InvalidArgument for text that is neither a time nor a duration, TypeError for another type.
    """
    if isinstance(value, datetime.datetime):
        return _bounded(round(value.timestamp() * 1_000_000) * 1000)
    if isinstance(value, str):
        return _bounded(_text(value, time.time_ns() if now is None else now))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"a time is a number, text or a datetime, not {type(value).__name__}")
    if not abs(value) <= _MAX / SECOND:  # NaN is no number either
        raise InvalidArgument(f"{value} is not a time")
    return int(value * SECOND)


def _text(text: str, now: int) -> int:
    back = duration(text) if text != "0" else None
    if back is not None:
        return now - back
    if re.fullmatch(r"[0-9]{1,18}(?:\.[0-9]{1,9})?", text, re.ASCII):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * SECOND + int(fraction.ljust(9, "0"))
    match = re.fullmatch(_DATE, text, re.ASCII)
    if match is not None and _is_zone(match[8]):
        year, month, day, hour, minute, second = (int(match[group] or 0) for group in range(1, 7))
        try:
            date = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
        except ValueError:
            pass
        else:
            whole = (date - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(seconds=1)
            nanos = int((match[7] or "0")[:9].ljust(9, "0"))
            return (whole - _offset(match[8], now)) * SECOND + nanos
    raise InvalidArgument(f'failed to parse value as time or duration: "{text[:100]}"')


def _is_zone(zone: str | None) -> bool:
    """Whether a zone is within a day, as Go wants it."""
    return zone in (None, "Z") or (int(zone[1:3]) <= 24 and int(zone[4:6]) <= 60)


def _offset(zone: str | None, now: int) -> int:
    """Return the seconds by which a zone is ahead of UTC; without one that of local time now."""
    if zone is None:
        return time.localtime(now // SECOND).tm_gmtoff
    if zone == "Z":
        return 0
    away = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
    return -away if zone[0] == "-" else away


def _bounded(time_ns: int) -> int:
    return max(-_MAX, min(_MAX, time_ns))
