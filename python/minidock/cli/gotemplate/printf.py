"""``print`` and ``printf`` as Go's fmt package has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidock.cli.gotemplate.values import Missing, show, sorted_items, type_name
from minidock.cli.words import quote

_FLAGS = "+-# 0"


def sprint(values: Sequence[Any]) -> str:
    """The values one after another, with a space between two that are both not text."""
    out: list[str] = []
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            out.append(" ")
        out.append(show(value, nested=True))
    return "".join(out)


def sprintf(template: str, values: Sequence[Any]) -> str:
    """``values`` through the verbs of ``template``; mistakes show in the text as Go shows them."""
    out: list[str] = []
    used, at, end = 0, 0, len(template)
    while at < end:
        percent = template.find("%", at)
        if percent < 0:
            out.append(template[at:])
            break
        out.append(template[at:percent])
        at = percent + 1
        flags = ""
        while at < end and template[at] in _FLAGS:
            flags += template[at]
            at += 1
        width, at, used = _number(template, at, values, used)
        precision = -1
        if at < end and template[at] == ".":
            precision, at, used = _number(template, at + 1, values, used)
            precision = max(precision, 0)
        if width < -1:
            flags, width = flags + "-", -width
        if at >= end:
            out.append("%!(NOVERB)")
            break
        verb = template[at]
        at += 1
        if verb == "%":
            out.append("%")
        elif used >= len(values):
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_pad(_verb(verb, values[used], flags, precision, width), verb, flags, width))
            used += 1
    if used < len(values):
        extra = ", ".join(f"{type_name(v)}={show(v)}" if v is not None else "<nil>" for v in values[used:])
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _number(template: str, at: int, values: Sequence[Any], used: int) -> tuple[int, int, int]:
    """A width or precision at ``at``, -1 if there is none."""
    if template[at : at + 1] == "*":
        value = values[used] if used < len(values) else None
        return (value if isinstance(value, int) else -1), at + 1, used + 1
    start = at
    while template[at : at + 1].isdigit():
        at += 1
    return (min(int(template[start:at]), 1_000_000) if at > start else -1), at, used


def _pad(text: str, verb: str, flags: str, width: int) -> str:
    if width <= len(text):
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and verb in "dxXobeEfFgGstv":
        return text[:1] + text[1:].rjust(width - 1, "0") if text[:1] in ("-", "+") else text.rjust(width, "0")
    return text.rjust(width)


def _verb(verb: str, value: Any, flags: str, precision: int, width: int) -> str:
    if verb == "v":
        return _go_syntax(value) if "#" in flags else show(value, plus="+" in flags, nested=True)
    if verb == "T":
        return type_name(value)
    if isinstance(value, list) and verb not in "p":
        return "[" + " ".join(_verb(verb, item, flags, precision, width) for item in value) + "]"
    if isinstance(value, dict):
        inner = " ".join(
            f"{_verb(verb, key, flags, precision, width)}:{_verb(verb, item, flags, precision, width)}"
            for key, item in sorted_items(value)
        )
        return f"map[{inner}]"
    text: str | None = None
    if isinstance(value, bool):
        text = ("true" if value else "false") if verb == "t" else None
    elif isinstance(value, int):
        text = _integer(verb, value, flags, precision)
    elif isinstance(value, float):
        text = _float(verb, value, flags, precision)
    elif isinstance(value, str):
        text = _string(verb, value, flags, precision)
    elif value is not None and not isinstance(value, Missing) and verb == "s":
        text = str(value)
    if text is not None:
        return text
    if value is None or isinstance(value, Missing):
        return f"%!{verb}(<nil>)"
    return f"%!{verb}({type_name(value)}={show(value)})"


def _sign(flags: str, value: float) -> str:
    return "-" if value < 0 else "+" if "+" in flags else " " if " " in flags else ""


def _integer(verb: str, value: int, flags: str, precision: int) -> str | None:
    bases = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X", "O": "o"}
    if verb in bases:
        prefix = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(verb, "") if "#" in flags else ""
        prefix = "0o" if verb == "O" else prefix
        return _sign(flags, value) + prefix + format(abs(value), bases[verb]).rjust(max(precision, 0), "0")
    if verb == "c":
        return chr(value) if 0 <= value < 0x110000 else "\ufffd"
    if verb == "U":
        return f"U+{value:04X}"
    if verb == "q":
        return f"'{chr(value)}'" if 0 <= value < 0x110000 else "'\ufffd'"
    return None


def _float(verb: str, value: float, flags: str, precision: int) -> str | None:
    sign, value = _sign(flags, value), abs(value)
    if verb in "fF":
        return sign + format(value, f".{6 if precision < 0 else precision}f")
    if verb in "eE":
        return sign + format(value, f".{6 if precision < 0 else precision}{verb}")
    if verb in "gG":
        return sign + (show(value) if precision < 0 else format(value, f".{precision}g"))
    return None


def _string(verb: str, value: str, flags: str, precision: int) -> str | None:
    if precision >= 0 and verb in "sqxX":
        value = value[:precision]
    if verb == "s":
        return value
    if verb == "q":
        if "#" in flags and "`" not in value and value.isprintable():
            return f"`{value}`"
        return quote(value) if "+" not in flags else quote(value).encode("ascii", "backslashreplace").decode()
    if verb in "xX":
        text = value.encode().hex(" ") if " " in flags else value.encode().hex()
        return text.upper() if verb == "X" else text
    return None


def _go_syntax(value: Any) -> str:
    """``%#v``."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return f"{type_name(value)}{{" + ", ".join(_go_syntax(item) for item in value) + "}"
    if isinstance(value, dict):
        items = ", ".join(f"{_go_syntax(key)}:{_go_syntax(item)}" for key, item in sorted_items(value))
        return f"{type_name(value)}{{{items}}}"
    return show(value, nested=True)
