"""What Go's libraries do with text, where a Dockerfile's meaning or words depend on it."""

from __future__ import annotations

import re
from collections.abc import Iterable

SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""What ``unicode.IsSpace`` says is one; Python's ``str.isspace`` has some more."""
_SPACES = frozenset(SPACES)
_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
}
_NEAR = 3
_LONGEST_NAME = 64


def is_space(character: str) -> bool:
    """Whether Go calls a character a space."""
    return character in _SPACES


def decode(data: bytes) -> str:
    """UTF-8; each byte that is none becomes a surrogate, as with ``surrogateescape``."""
    return data.decode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """``text`` with U+FFFD for every byte that was not UTF-8, as Docker's JSON has it."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", text)


def is_utf8(text: str) -> bool:
    """Whether what :func:`decode` gave was UTF-8 throughout."""
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def quote(text: str, mark: str = '"') -> str:
    """``strconv.Quote``; with ``'`` for ``mark`` ``strconv.QuoteRune`` of the one character."""
    return mark + "".join(_escaped(character, mark) for character in printable(text)) + mark


def _escaped(character: str, mark: str) -> str:
    if character == mark:
        return "\\" + mark
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote_list(words: Iterable[str]) -> str:
    """``%q`` of a list of words."""
    return "[" + " ".join(quote(word) for word in words) + "]"


def closest(word: str, options: Iterable[str], *, any_case: bool = False) -> str:
    """The option that is less than three edits away from ``word``; empty without one, and if ``word`` is an option.

    With ``any_case`` the answer has the case of ``word``.
    """
    if not word or len(word) > _LONGEST_NAME:
        return ""
    wanted = word.lower() if any_case else word
    letters = sorted(wanted)
    best, found = (_NEAR, False), ""
    for option in sorted(options):
        candidate = option.lower() if any_case else option
        if candidate == wanted:
            return ""
        away = _distance(wanted, candidate, _NEAR), sorted(candidate) != letters  # of two as near: letters swapped
        if away < best:
            best, found = away, candidate
    if any_case and word == word.upper() and word != word.lower():
        return found.upper()
    return found


def suggestion(word: str, options: Iterable[str], *, any_case: bool = False) -> str:
    """`` (did you mean X?)``, or nothing."""
    found = closest(word, options, any_case=any_case)
    return f" (did you mean {found}?)" if found else ""


def _distance(one: str, other: str, limit: int) -> int:
    """Levenshtein's distance, or ``limit`` if it is at least that."""
    if abs(len(one) - len(other)) >= limit:
        return limit
    row = list(range(len(other) + 1))
    for index, left in enumerate(one, 1):
        diagonal, row[0] = row[0], index
        for column, right in enumerate(other, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (left != right))
    return min(row[-1], limit)


def parse_bool(text: str) -> bool | None:
    """``strconv.ParseBool``; None for what it refuses."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    return False if text in ("0", "f", "F", "FALSE", "false", "False") else None


def parse_uint(text: str, base: int, bits: int = 32) -> int | None:
    """``strconv.ParseUint``; None for what it refuses."""
    digits = "01234567" if base == 8 else "0123456789"
    if not text or len(text) > 32 or text.strip(digits):
        return None
    number = int(text, base)
    return number if number < 1 << bits else None


def format_duration(nanoseconds: int) -> str:
    """``time.Duration``'s text: ``1m30s``, ``1.5s``, ``100ms``; ``0s``."""
    if nanoseconds == 0:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    rest = abs(nanoseconds)
    for size, unit in ((1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")):
        if rest < size:
            return sign + _decimal(rest, size // 1000) + unit
    hours, rest = divmod(rest, 3600 * 10**9)
    minutes, rest = divmod(rest, 60 * 10**9)
    text = _decimal(rest, 10**9) + "s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(number: int, unit: int) -> str:
    whole, fraction = divmod(number, unit)
    if not fraction:
        return str(whole)
    return f"{whole}.{str(fraction).rjust(len(str(unit)) - 1, '0').rstrip('0')}"


_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?([kmgtp])?(i?b)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int | None:
    """``units.RAMInBytes``: ``64m``, ``1.5 GiB``; None for what it refuses."""
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST_NAME else None
    if match is None or (match[3] and match[3].lower() == "ib" and not match[2]):
        return None
    whole, _, fraction = match[1].partition(".")
    power = 1024 ** " kmgtp".index((match[2] or " ").lower())
    size = int((whole or "0") + fraction) * power // 10 ** len(fraction)
    return size if size < 1 << 63 else None


def csv_fields(text: str) -> list[str] | None:
    """The fields of one record, as ``encoding/csv`` reads them; None for what it refuses."""
    fields, position = [], 0
    while True:
        if text.startswith('"', position):
            end, field = position + 1, ""
            while True:
                close = text.find('"', end)
                if close < 0:
                    return None
                field += text[end:close]
                if not text.startswith('""', close):
                    break
                field, end = field + '"', close + 2
            position = close + 1
            if position < len(text) and text[position] != ",":
                return None
        else:
            comma = text.find(",", position)
            stop = len(text) if comma < 0 else comma
            field = text[position:stop]
            if '"' in field:
                return None
            position = stop
        fields.append(field)
        if position >= len(text):
            return fields
        position += 1
