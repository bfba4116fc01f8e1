"""The functions of text/template and those that Docker adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidock.cli.gotemplate.printf import sprint, sprintf
from minidock.cli.gotemplate.values import (
    MISSING,
    Function,
    Missing,
    NilMap,
    Struct,
    show,
    to_json,
    truth,
    type_name,
)


class CallError(Exception):
    """A function refuses its arguments; the text is Go's."""


def _and(first: Callable[[], Any], *rest: Callable[[], Any]) -> Any:
    value = first()
    for thunk in rest:
        if not truth(value):
            return value
        value = thunk()
    return value


def _or(first: Callable[[], Any], *rest: Callable[[], Any]) -> Any:
    value = first()
    for thunk in rest:
        if truth(value):
            return value
        value = thunk()
    return value


_KINDS: tuple[tuple[str, type], ...] = (("bool", bool), ("int", int), ("float64", float), ("string", str))


def _kind(value: Any) -> str:
    """The kind that comparisons look at."""
    for kind, wanted in _KINDS:
        if isinstance(value, wanted):
            return kind
    return "nil" if value is None or isinstance(value, Missing) else "other"


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise CallError("missing argument for comparison")
    kind = _kind(first)
    for other in others:
        if kind != (against := _kind(other)) and "nil" not in (kind, against):
            if "other" in (kind, against):
                raise CallError(f"incompatible types for comparison: {type_name(first)} and {type_name(other)}")
            raise CallError(f"incompatible types for comparison: {kind} and {against}")
        if kind == "other" and isinstance(first, (list, dict)):
            kinds = "[]interface {}" if isinstance(first, list) else "map[string]interface {}"
            raise CallError(f"non-comparable type {show(first)}: {kinds}")
        if kind == against and (kind == "nil" or first == other):
            return True
    return False


def _not_equal(first: Any, other: Any) -> bool:
    return not _equal(first, other)


def _less(first: Any, other: Any) -> bool:
    kind, against = _kind(first), _kind(other)
    if kind in ("bool", "nil", "other") or against in ("bool", "nil", "other"):
        raise CallError("invalid type for comparison")
    if kind != against:
        raise CallError(f"incompatible types for comparison: {kind} and {against}")
    return bool(first < other)


def _less_or_equal(first: Any, other: Any) -> bool:
    return _less(first, other) or first == other


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, (list, str)):
            if isinstance(key, bool) or not isinstance(key, int):
                raise CallError(f"cannot index slice/array with type {type_name(key)}")
            if not 0 <= key < len(value):
                raise CallError(f"index out of range: {key}")
            value = value[key] if isinstance(value, list) else value.encode()[key]
        elif isinstance(value, dict) and not isinstance(value, Struct):
            if not isinstance(key, str):
                raise CallError(f"value has type {type_name(key)}; should be string")
            value = value[key] if key in value else _zero(value)
        elif value is None or isinstance(value, Missing):
            raise CallError("index of untyped nil" if value is None else "index of nil pointer")
        else:
            raise CallError(f"can't index item of type {type_name(value)}")
    return value


def _zero(mapping: dict[str, Any]) -> Any:
    """What indexing a map with a key that it lacks gives: the zero of its values."""
    values = list(mapping.values())
    if isinstance(mapping, NilMap) or not values or all(isinstance(value, str) for value in values):
        return ""
    return [] if all(isinstance(value, list) for value in values) else MISSING


def _slice(value: Any, *bounds: int) -> Any:
    if not isinstance(value, (list, str)):
        raise CallError(f"can't slice item of type {type_name(value)}")
    data = value if isinstance(value, list) else value.encode()
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise CallError(f"cannot index slice/array with type {type_name(bound)}")
        if not 0 <= bound <= len(data):
            raise CallError(f"index out of range: {bound}")
    if len(bounds) > (2 if isinstance(value, str) else 3):
        raise CallError("cannot 3-index slice a string" if isinstance(value, str) else "too many slice indexes: 4")
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(data)
    if low > high:
        raise CallError(f"invalid slice index: {low} > {high}")
    part = data[low:high]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (list, dict)) and not isinstance(value, Struct):
        return len(value)
    if value is None or isinstance(value, Missing):
        raise CallError("reflect: call of reflect.Value.Type on zero Value")
    raise CallError(f"len of type {type_name(value)}")


def _call(value: Any, *arguments: Any) -> Any:
    if not isinstance(value, Function):
        raise CallError(f"non-function of type {type_name(value)}")
    return value.call(*arguments)


_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"}
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _html(*values: Any) -> str:
    return "".join(_HTML.get(char, char) for char in sprint(values))


def _js(*values: Any) -> str:
    text = sprint(values)
    return "".join(_JS.get(char) or (char if char.isprintable() else f"\\u{ord(char):04X}") for char in text)


def _query(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(sprint(values))


def _title(text: str) -> str:
    out, start = [], True
    for char in text:
        out.append(char.upper() if start else char)
        start = not (char.isalnum() or char in "_'")
    return "".join(out)


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _truncate(text: str, length: int) -> str:
    data = text.encode()
    return data[: max(length, 0)].decode(errors="replace") if len(data) > length else text


def _join(items: list[Any], separator: str) -> str:
    return separator.join(item if isinstance(item, str) else show(item) for item in items)


BUILTINS: dict[str, Function] = {
    "and": Function(_and, 1, None, lazy=True),
    "or": Function(_or, 1, None, lazy=True),
    "not": Function(lambda value: not truth(value), 1, 1),
    "eq": Function(_equal, 1, None),
    "ne": Function(_not_equal, 2, 2),
    "lt": Function(_less, 2, 2),
    "le": Function(_less_or_equal, 2, 2),
    "gt": Function(lambda first, other: not _less_or_equal(first, other), 2, 2),
    "ge": Function(lambda first, other: not _less(first, other), 2, 2),
    "index": Function(_index, 1, None),
    "slice": Function(_slice, 1, None),
    "len": Function(_length, 1, 1),
    "call": Function(_call, 1, None),
    "print": Function(lambda *values: sprint(values), 0, None),
    "println": Function(lambda *values: " ".join(map(show, values)) + "\n", 0, None),
    "printf": Function(lambda text, *values: sprintf(text, values), 1, None, ("string", "any")),
    "html": Function(_html, 0, None),
    "js": Function(_js, 0, None),
    "urlquery": Function(_query, 0, None),
    # Docker's
    "json": Function(to_json, 1, 1),
    "split": Function(lambda text, separator: text.split(separator) if separator else list(text), 2, 2, ("string",)),
    "join": Function(_join, 2, 2, ("[]string", "string")),
    "title": Function(_title, 1, 1, ("string",)),
    "lower": Function(lambda text: text.lower(), 1, 1, ("string",)),
    "upper": Function(lambda text: text.upper(), 1, 1, ("string",)),
    "pad": Function(_pad, 3, 3, ("string", "int")),
    "truncate": Function(_truncate, 2, 2, ("string", "int")),
}
