"""Small readers and writers of text in Go's and Docker's spelling, for flags, filters and messages."""

from __future__ import annotations

from minidock.errors import InvalidArgument

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class UsageError(InvalidArgument):
    """The command line makes no sense, or asks for what minidock does not have."""

    def __init__(self, text: str, exit_code: int = 125) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def quote(text: str) -> str:
    """``text`` in double quotes with Go's escapes, as ``%q`` prints it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if not escaped.isprintable():
        special = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
        escaped = "".join(special.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in escaped)
    return f'"{escaped}"'


def parse_bool(text: str) -> bool:
    """A boolean in Go's spelling (``1 t T TRUE true True`` and their opposites); ``ValueError`` in Go's words."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")


def pairs(texts: list[str]) -> dict[str, str]:
    """``NAME=VALUE``; the last one of a name counts."""
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def label_pairs(texts: list[str]) -> dict[str, str]:
    """What the flag ``--label`` was given. Raises UsageError for a label without a name."""
    for text in texts:
        if not text.partition("=")[0]:
            raise UsageError(f'invalid argument "{text}" for "--label" flag: invalid label \'{text}\': empty name')
    return pairs(texts)


def _integer(text: str) -> int | None:
    """A number in Go's base-0 syntax: decimal, ``0x``, ``0o``, ``0b`` or a leading ``0`` for octal."""
    body = text[1:] if text[:1] in "+-" else text
    if not body.isascii() or not body[:1].isdigit():
        return None
    try:
        if len(body) > 1 and body[0] == "0" and body[1].isdigit():
            return int(text, 8)
        return int(text, 0)
    except ValueError:
        return None


def parse_int(text: str, bits: int = 64) -> int:
    """A signed number of ``bits`` bits; ``ValueError`` in Go's words."""
    number = _integer(text)
    if number is None:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return number


def parse_uint(text: str, bits: int = 64) -> int:
    """An unsigned number of ``bits`` bits; ``ValueError`` in Go's words."""
    number = None if text[:1] in "+-" else _integer(text)
    if number is None:
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
    if number >= 1 << bits:
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: value out of range")
    return number


def parse_float(text: str) -> str:
    """A decimal number, kept as text so that ``0.1`` stays exact; ``ValueError`` if it is none."""
    digits = text.replace(".", "", 1)
    if not digits.isascii() or not digits.removeprefix("-").isdigit():
        raise ValueError(f"failed to parse {text} as a rational number")
    return text


def parse_duration(text: str, *, bare: bool = False) -> float:
    """Seconds in Go's syntax (``1h30m``, ``500ms``); a ``bare`` number is seconds. Else ValueError."""
    from minidock.containers.parse import times

    if bare and text[:1].isdigit() and text[-1:].isdigit():
        text += "s"
    nanoseconds = times.duration(text)
    if nanoseconds is None:
        problem = "missing unit in" if text.isascii() and text.isdigit() else "invalid"
        raise ValueError(f"time: {problem} duration {quote(text)}")
    return nanoseconds / times.SECOND
