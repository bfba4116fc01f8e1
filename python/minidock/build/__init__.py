"""Dockerfiles to images, and the same builds written in Python: :class:`Image`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.build.python.image import Image
    from minidock.build.python.mounts import Mount
    from minidock.build.python.words import literal

__all__ = ["Image", "Mount", "literal"]

_HOMES = {"Image": "image", "Mount": "mounts", "literal": "words"}


def __getattr__(name: str) -> object:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'minidock.build' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"minidock.build.python.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
