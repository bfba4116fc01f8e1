"""Options of the log: ``log_driver``, ``log_options``, and docker-py's ``log_config`` for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minidock.containers.draft.base import Handler, text
from minidock.errors import InvalidArgument
from minidock.spec.docker import LogConfig

if TYPE_CHECKING:
    from minidock.containers.draft.base import Draft


def _driver(draft: Draft, value: object) -> None:
    draft.host_config.log_config.type = text(value)


def _options(draft: Draft, value: Any) -> None:
    draft.host_config.log_config.config = _mapping(value)


def _mapping(value: Any) -> dict[str, str]:
    """Return options from a mapping, or from texts ``NAME=VALUE``; ``NAME`` alone has an empty value."""
    if isinstance(value, str):
        raise TypeError
    pairs = value.items() if isinstance(value, Mapping) else (text(entry).partition("=")[::2] for entry in value)
    return {text(name): text(content) for name, content in pairs}


def _config(draft: Draft, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError
    if unknown := set(value) - {"Type", "Config"}:
        raise InvalidArgument(f"unknown key {sorted(map(str, unknown))[0][:60]!a}")
    draft.host_config.log_config = LogConfig(text(value.get("Type") or ""), _mapping(value.get("Config") or {}))


HANDLERS: dict[str, Handler] = {"log_driver": _driver, "log_options": _options, "log_config": _config}
