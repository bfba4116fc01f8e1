"""JSON bodies as Go reads them: names in any case, ``null`` for nothing anywhere, unknown fields passed over."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from minidock.server.failures import HttpError
from minidock.spec import decoding

T = TypeVar("T")


def decode(data: bytes, kind: type[T]) -> T:
    """Return a body as a struct; an empty one, and ``null``, is ``{}``. Raises HttpError (400)."""
    try:
        value = msgspec.json.decode(data) if data.strip() else {}
        return convert({} if value is None else value, kind)
    except RecursionError:
        raise HttpError(400, "invalid JSON: too deeply nested") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpError(400, f"invalid JSON: {error}") from None


def convert(value: object, kind: type[T]) -> T:
    """Return a decoded value as a struct. Raises msgspec.ValidationError."""
    info: Any = _info(kind)  # type: ignore[arg-type]
    return decoding.convert(_fitted(value, info), kind)


@functools.cache
def _info(kind: type) -> inspect.Type:
    return inspect.type_info(kind)


@functools.cache
def _fields(kind: type) -> dict[str, inspect.Field]:
    info = _info(kind)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - only structs are asked for
    return {field.encode_name.lower(): field for field in info.fields}


def _fitted(value: object, info: inspect.Type) -> Any:
    """Return ``value`` with names as ``info`` has them, and without what is null."""
    info = _plain(info)
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        fields = _fields(info.cls)
        found = {}
        for name, content in value.items():
            field = fields.get(name.lower())
            if field is not None and content is not None:
                found[field.encode_name] = _fitted(content, field.type)
        return found
    if isinstance(info, inspect.DictType) and isinstance(value, dict):
        return {name: _one(content, info.value_type) for name, content in value.items()}
    if isinstance(info, inspect.ListType) and isinstance(value, list):
        return [_one(content, info.item_type) for content in value]
    return value


def _one(value: object, info: inspect.Type) -> Any:
    """One value of a list or map; null is Go's zero of its type."""
    if value is not None:
        return _fitted(value, info)
    plain = _plain(info)
    if plain is not info:
        return None
    if isinstance(plain, (inspect.DictType, inspect.StructType)):
        return {}
    return {inspect.ListType: list, inspect.StrType: str, inspect.IntType: int, inspect.BoolType: bool}.get(
        type(plain), lambda: None
    )()


def _plain(info: inspect.Type) -> inspect.Type:
    """The type that a union has besides None and UNSET, if that is one."""
    if isinstance(info, inspect.UnionType):
        shapes = [
            one for one in info.types if isinstance(one, (inspect.StructType, inspect.DictType, inspect.ListType))
        ]
        return shapes[0] if shapes else info.types[0]
    return info
