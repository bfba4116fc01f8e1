"""Sizes and other numbers."""

from __future__ import annotations

import re

from minidock.errors import InvalidArgument

MAX_INT64 = (1 << 63) - 1

_DECIMAL = r"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?"
_UNITS = "bkmgtp"


def size(value: int | str, *, decimal: bool = False) -> int:
    """Return bytes: a number, or text such as ``64m``, ``1.5GiB`` or ``512`` (binary units; or ``decimal`` ones).

    Raises InvalidArgument for a negative size, another unit, or one that does not fit in 63 bits.
    """
    if isinstance(value, int):
        if isinstance(value, bool) or value < 0:
            raise InvalidArgument(f"invalid size: '{value}'")
        if value > MAX_INT64:
            raise InvalidArgument(f"invalid size: '{value}': value out of range")
        return value
    if value.isascii() and value.isdigit():
        return _bounded(int(value[:20]) if len(value) < 20 else MAX_INT64 + 1, value)
    end = max((value.rfind(digit) for digit in "0123456789. "), default=-1)
    if end < 0:
        raise InvalidArgument(f"invalid size: '{value}'")
    number, suffix = (value[:end] if value[end] == " " else value[: end + 1]), value[end + 1 :].lower()
    whole, dot, fraction = number.partition(".")
    if not (whole + fraction).isascii() or not (whole + fraction).isdigit() or (dot and not fraction and not whole):
        raise InvalidArgument(f"invalid size: '{value}'")
    if len(whole) > 20 or len(fraction) > 40:
        raise InvalidArgument(f"invalid size: '{value}': value out of range")
    unit = _unit(suffix, value[end + 1 :], 1000 if decimal else 1024)
    scaled = int(whole + fraction) * unit // 10 ** len(fraction)
    return _bounded(scaled, value)


def _unit(suffix: str, shown: str, base: int) -> int:
    if suffix in ("", "b"):
        return 1
    power = _UNITS.find(suffix[0])
    if power < 1 or suffix[1:] not in ("", "b", "ib"):
        raise InvalidArgument(f"invalid suffix: '{shown}'")
    return int(base**power)


def _bounded(number: int, shown: str) -> int:
    if number > MAX_INT64:
        raise InvalidArgument(f"invalid size: '{shown}': value out of range")
    return number


def size_or_unlimited(value: int | str) -> int:
    """Return bytes as :func:`size` does, or -1 for ``-1``."""
    return -1 if value in (-1, "-1") else size(value)


def integer(value: int | str, low: int = -MAX_INT64 - 1, high: int = MAX_INT64) -> int:
    """Return a whole number from ``low`` to ``high``, given as such or as decimal text."""
    if isinstance(value, str):
        text = value.strip()
        digits = text.removeprefix("-").removeprefix("+")
        if not digits.isascii() or not digits.isdigit():
            raise InvalidArgument(f'invalid number: "{value}"')
        value = int(text) if len(digits) < 25 else high + 1
    elif isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f'invalid number: "{value}"')
    if not low <= value <= high:
        raise InvalidArgument(f"invalid number {value}: value out of range {low} to {high}")
    return value


def nano_cpus(value: float | str) -> int:
    """Return billionths of a CPU from a number of CPUs such as ``1.5``.

    Raises InvalidArgument for what is not a decimal number, and for more than nine decimals.
    """
    text = str(value).strip()
    match = re.fullmatch(_DECIMAL, text)
    if match is None:
        raise InvalidArgument(f"failed to parse {text[:100]} as a rational number")
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", match[4]
    digits = whole + fraction
    if len(digits) > 40 or len(exponent or "") > 3:
        raise InvalidArgument(f"invalid number of CPUs: {text[:100]}: value out of range")
    shift = 9 - len(fraction) + (int(exponent) if exponent else 0)
    number = int(digits or "0")
    if shift < 0:
        number, rest = divmod(number, 10**-shift)
        if rest:
            raise InvalidArgument("value is too precise")
        shift = 0
    number *= int(10**shift)
    if sign == "-":
        number = -number
    if abs(number) > MAX_INT64:
        raise InvalidArgument(f"invalid number of CPUs: {text}: value out of range")
    return number
