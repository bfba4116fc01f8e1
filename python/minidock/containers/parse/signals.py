"""Signals by name or number."""

from __future__ import annotations

import re

from minidock.errors import InvalidArgument

_NAMES = """
HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU
XFSZ VTALRM PROF WINCH IO PWR SYS
"""
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(_NAMES.split(), 1)}
NUMBERS |= {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31, "RTMIN": 34, "RTMAX": 64}
NUMBERS |= {f"RTMIN+{step}": 34 + step for step in range(1, 16)}
NUMBERS |= {f"RTMAX-{step}": 64 - step for step in range(1, 15)}


def signal(value: str | int) -> int:
    """Return the number of a signal: ``TERM``, ``SIGTERM``, ``15``, ``RTMIN+3``.

    Raises InvalidArgument for a name that Linux does not have and for a number out of 1 to 64.
    """
    text = str(value)
    number = NUMBERS.get(text.upper().removeprefix("SIG"), 0)
    if text.isascii() and text.isdigit():
        number = int(text[:4])
    if not 1 <= number <= 64:
        if re.fullmatch("-?[0-9]{1,9}", text, re.ASCII) and int(text) != 0:
            raise InvalidArgument(f"the linux daemon does not support signal {value}")
        raise InvalidArgument(f"invalid signal: {value}")
    return number


def name(number: int) -> str:
    """Return ``SIGTERM`` for 15; the number itself for one without a name."""
    for known, value in NUMBERS.items():
        if value == number:
            return f"SIG{known}"
    return str(number)
