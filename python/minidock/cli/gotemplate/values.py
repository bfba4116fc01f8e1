"""What a template computes with: Go's kinds of values on Python's, and their printed forms."""

from __future__ import annotations

from math import isfinite
from typing import Any

from minidock.errors import InvalidArgument


class TemplateError(InvalidArgument):
    """A template is malformed or cannot be evaluated; the text is Go's."""


class Struct(dict[str, Any]):
    """A Go struct: prints as ``{a b}``, has only its own fields. ``optional`` fields are nil when they are absent."""

    __slots__ = ()
    optional: frozenset[str] = frozenset()

    def template_alias(self, name: str) -> str:
        """The key of the field that a template calls ``name``."""
        return name


class NilMap(dict[str, Any]):
    """A nil map: empty, prints as ``map[]``, is ``null`` in JSON."""


class NilList(list[Any]):
    """A nil slice: empty, prints as ``[]``, is ``null`` in JSON."""


class Missing:
    """The absent value of a map: prints as ``<no value>``."""

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


class Function:
    """A function or method: ``call`` gets the arguments; between ``least`` and ``most`` (None: any number) of them.

    ``kinds`` are the Go types of the parameters, the last one repeating; ``lazy`` functions (and, or) get thunks.
    """

    __slots__ = ("call", "kinds", "lazy", "least", "most")

    def __init__(
        self, call: Any, least: int, most: int | None, kinds: tuple[str, ...] = (), *, lazy: bool = False
    ) -> None:
        self.call = call
        self.least = least
        self.most = most
        self.kinds = kinds
        self.lazy = lazy


def truth(value: Any) -> bool:
    """Go templates' truth: the zero of every kind is false, a struct is true."""
    if isinstance(value, Struct):
        return True
    if value is None or isinstance(value, (bool, int, float, str, list, dict, Missing)):
        return bool(value)
    return True


def type_name(value: Any) -> str:
    """The Go type that ``%T`` and error messages name."""
    if value is None or isinstance(value, Missing):
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "[]string" if value and all(isinstance(item, str) for item in value) else "[]interface {}"
    if isinstance(value, Struct):
        return "struct"
    if isinstance(value, dict):
        texts = value and all(isinstance(item, str) for item in value.values())
        return "map[string]string" if texts else "map[string]interface {}"
    return str(getattr(value, "template_type", type(value).__name__))


def sorted_items(mapping: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """The items of a map in the order in which Go's templates visit and print them."""
    return sorted(mapping.items(), key=lambda item: (str(type(item[0])), item[0]))


def format_float(value: float) -> str:
    """``%v`` of a float64: the shortest text that reads back, exponents from 1e21 on and below 1e-4."""
    if not isfinite(value):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    if value == 0 or 1e-4 <= abs(value) < 1e21:
        text = f"{value:f}" if value == int(value) and abs(value) >= 1e16 else repr(value)
        return text.removesuffix(".0") if "e" not in text else f"{value:.0f}"
    mantissa, _, exponent = repr(value).partition("e") if "e" in repr(value) else f"{value:e}".partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    number = int(exponent)
    return f"{mantissa}e{'-' if number < 0 else '+'}{abs(number):02d}"


def show(value: Any, plus: bool = False, nested: bool = False) -> str:
    """``value`` as ``%v`` (``plus``: ``%+v``, with field names) prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, Missing):
        return "<nil>" if nested else "<no value>"
    if isinstance(value, list):
        return "[" + " ".join(show(item, plus, nested=True) for item in value) + "]"
    if isinstance(value, Struct):
        if plus:
            return "{" + " ".join(f"{key}:{show(item, plus, nested=True)}" for key, item in value.items()) + "}"
        return "{" + " ".join(show(item, plus, nested=True) for item in value.values()) + "}"
    if isinstance(value, dict):
        items = (f"{show(key, nested=True)}:{show(item, plus, nested=True)}" for key, item in sorted_items(value))
        return "map[" + " ".join(items) + "]"
    return str(value)


def to_json(value: Any) -> str:
    """``value`` as Docker's ``json`` function prints it: compact, maps sorted, ``<`` and ``&`` as they are."""
    import json

    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, (NilMap, NilList, Missing)):
        return None
    if isinstance(value, Struct):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in sorted_items(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value == int(value):
        return int(value)
    if hasattr(value, "template_json"):
        return _plain(value.template_json())
    return value
