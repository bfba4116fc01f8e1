"""Filters of ``ps`` and ``container prune``, as Docker defines them. Several values of one filter: any of them."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from minidock.containers.parse.sizes import integer
from minidock.containers.status import parse_time
from minidock.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from minidock.containers.record import Record
    from minidock.spec.docker import ContainerState

Filters = dict[str, list[str]]

STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
_NAMES = ("ancestor", "before", "exited", "id", "label", "name", "network", "since", "status")
_LATER = ("expose", "health", "is-task", "isolation", "publish", "volume")


def parse(filters: Mapping[str, Any] | Sequence[str] | None, names: tuple[str, ...] = _NAMES) -> Filters:
    """Return filters by name, from a mapping (values: text, True, or lists) or from ``NAME=VALUE`` entries.

    Raises InvalidArgument for a filter that does not exist or has a bad value.
    """
    parsed: Filters = {}
    if filters is None:
        return parsed
    if isinstance(filters, str):
        filters = [filters]
    if hasattr(filters, "items"):
        pairs = [
            (name, _text(value))
            for name, values in filters.items()
            for value in (values if isinstance(values, (list, tuple, set, frozenset)) else [values])
        ]
    else:
        pairs = []
        for entry in filters:
            name, equals, value = entry.partition("=")
            if not equals:
                raise InvalidArgument(f"invalid argument {entry!r} for filter: must be NAME=VALUE")
            pairs.append((name.strip().lower(), value.strip()))
    for name, value in pairs:
        if name in _LATER and names is _NAMES:
            raise Unsupported(f"filter {name}: this version of minidock keeps nothing to compare it with")
        if name not in names:
            raise InvalidArgument(f"invalid filter '{name}'")
        if name == "status" and value not in STATES:
            raise InvalidArgument(f"invalid filter 'status={value}': must be one of {', '.join(STATES)}")
        if name == "exited":
            integer(value)
        parsed.setdefault(name, []).append(value)
    return parsed


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def matches(
    filters: Filters,
    record: Record,
    state: ContainerState,
    created_of: Callable[[str], float],
    descends: Callable[[Record, str], bool],
) -> bool:
    """Whether a container passes every filter.

    ``created_of`` gives the time of creation of the container that ``before`` and ``since`` name; ``descends`` whether
    a container was made from an image or from one that has it below.
    """
    for name, values in filters.items():
        if name == "before":
            passed = all(parse_time(record.created) < created_of(value) for value in values)
        elif name == "since":
            passed = all(parse_time(record.created) > created_of(value) for value in values)
        elif name == "label":
            passed = all(has_label(record, value) for value in values)
        elif name == "label!":
            passed = not any(has_label(record, value) for value in values)
        else:
            passed = any(_one(name, value, record, state, descends) for value in values)
        if not passed:
            return False
    return True


def created(record: Record) -> float:
    """Return when a container was created, in seconds since 1970."""
    return parse_time(record.created)


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "ns": 1e-9}


def until(text: str, now: float | None = None) -> float:
    """Return a moment in seconds since 1970: RFC 3339, seconds since 1970, or a Go duration such as ``1h30m`` ago."""
    try:
        if "T" in text:
            return parse_time(text)
        if "-" in text:
            return parse_time(f"{text}T00:00:00Z")
        return float(text)
    except ValueError:
        pass
    pieces = re.findall(r"([0-9]+(?:\.[0-9]+)?)(h|ms|us|ns|m|s)", text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        raise InvalidArgument(f"invalid filter 'until={text}': use a time or a duration such as 24h")
    return (time.time() if now is None else now) - sum(float(number) * _UNITS[unit] for number, unit in pieces)


def has_label(record: Record, wanted: str) -> bool:
    """Whether a container has the label ``NAME``, or ``NAME=VALUE``."""
    name, equals, value = wanted.partition("=")
    labels = record.config.labels or {}
    return name in labels and (not equals or labels[name] == value)


def _one(name: str, value: str, record: Record, state: ContainerState, descends: Callable[[Record, str], bool]) -> bool:
    if name == "id":
        return record.id.startswith(value)
    if name == "name":
        return _fits(value, record.name)
    if name == "status":
        return state.status == value
    if name == "exited":
        return state.status == "exited" and state.exit_code == int(value)
    if name == "network":
        return record.host_config.network_mode == value
    if name == "ancestor":
        return descends(record, value)
    raise AssertionError(name)


def _fits(pattern: str, name: str) -> bool:
    """Docker: a regular expression that may match anywhere, in the name with or without its slash."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidArgument(f"invalid filter 'name={pattern}': {error}") from error
    return compiled.search(name) is not None or compiled.search(f"/{name}") is not None
