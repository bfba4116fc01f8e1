"""Sizes and times as Docker prints them."""

from __future__ import annotations

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def decimal_size(size: float, precision: int = 3) -> str:
    """Bytes in powers of 1000 with ``precision`` significant digits: ``1.98MB``."""
    return _scale(size, 1000.0, _DECIMAL, precision)


def binary_size(size: float) -> str:
    """Bytes in powers of 1024 with four significant digits: ``15.62GiB``."""
    return _scale(size, 1024.0, _BINARY, 4)


def _scale(size: float, base: float, units: tuple[str, ...], precision: int) -> str:
    number, unit = float(size), 0
    while number >= base and unit < len(units) - 1:
        number /= base
        unit += 1
    return f"{number:.{precision}g}{units[unit]}"


def timestamp(text: str) -> float:
    """The Unix time of an RFC 3339 text such as Docker's documents hold; 0 for Go's zero time or no text."""
    if not text or text.startswith("0001-"):
        return 0.0
    from datetime import datetime

    stamp, fraction, zone = text, "", ""
    for mark in ("Z", "+", "-"):
        place = text.find(mark, 19)
        if place >= 0:
            stamp, zone = text[:place], text[place:]
            break
    stamp, _, fraction = stamp.partition(".")
    whole = datetime.fromisoformat(stamp + ("+00:00" if zone in ("Z", "") else zone)).timestamp()
    return whole + (float(f"0.{fraction}") if fraction else 0.0)


def local_time(seconds: float) -> str:
    """A Unix time as Go prints a local one: ``2026-11-24 03:29:23 +0000 UTC``."""
    import time

    local = time.localtime(seconds)
    return time.strftime("%Y-%m-%d %H:%M:%S %z ", local) + local.tm_zone


def ellipsis(text: str, width: int) -> str:
    """``text`` cut to ``width`` characters, the last of them ``…`` if something is missing."""
    return text if len(text) <= width else text[: width - 1] + "…"
