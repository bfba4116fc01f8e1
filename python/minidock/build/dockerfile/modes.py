"""``--chmod``: octal, or symbolic as chmod(1) takes it, but for the sticky bit (``u=rwX,go-w``)."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_STICKY = 0o1000
_BITS = {"r": 4, "w": 2, "x": 1}


class ModeError(Exception):
    """The text says what is wrong."""


def check(text: str) -> None:
    """Raises ModeError for what is no mode, in BuildKit's words."""
    if re.fullmatch("[0-9]+", text, re.ASCII):
        if not re.fullmatch("0*[0-7]{1,4}", text, re.ASCII):
            raise ModeError(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
    elif not all(_CLAUSE.fullmatch(clause) for clause in text.strip().split(",")):
        raise ModeError(f"invalid chmod parameter: '{text}': invalid syntax")


def apply(text: str, mode: int, *, is_directory: bool) -> int:
    """What becomes of the twelve bits of a file's mode; ``text`` is one that :func:`check` takes."""
    if text[0].isdigit():
        return int(text, 8)
    for clause in text.strip().split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ModeError(f"invalid chmod parameter: '{text}': invalid syntax")
        who = "ugo" if "a" in match[1] else match[1]
        for operator, what in _ACTION.findall(match[2]):
            mode = _changed(mode, who, operator, what, is_directory)
    return mode


def _changed(mode: int, who: str, operator: str, what: str, is_directory: bool) -> int:
    """One action, with BuildKit's notion of ``t``: without ``who`` nothing beside it counts, ``o`` alone has none."""
    if not who and "t" in what:
        return mode & ~_STICKY if operator == "-" else mode | _STICKY
    bits = cleared = 0
    for one in set(who or "ugo"):
        shift = _SHIFTS[one]
        cleared |= 7 << shift
        if what in _SHIFTS:
            bits |= (mode >> _SHIFTS[what] & 7) << shift
            continue
        special = {"u": 0o4000, "g": 0o2000, "o": 0}[one]
        cleared |= special
        for letter in what:
            if letter == "X":
                bits |= (is_directory or mode & 0o111 != 0) << shift
            elif letter == "s":
                bits |= special
            elif letter == "t":
                bits |= _STICKY if special else 0
            else:
                bits |= _BITS[letter] << shift
    if operator == "=":
        return mode & ~cleared | bits
    return mode | bits if operator == "+" else mode & ~bits
