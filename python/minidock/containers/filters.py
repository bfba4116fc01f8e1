"""Filters of ``ps`` and ``container prune``, as Docker defines them. Several values of one filter: any of them."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

from minidock.containers.status import parse_time
from minidock.errors import ImageNotFound, InvalidArgument
from minidock.spec.docker import ZERO_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from minidock.containers.listing import AnyRecord
    from minidock.engine import Engine
    from minidock.spec.docker import ContainerState, ContainerSummary, Port

Filters = dict[str, list[str]]

STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
HEALTH = ("none", "starting", "healthy", "unhealthy")
NAMES = (
    *("ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network"),
    *("publish", "since", "status", "volume"),
)


def parse(filters: Mapping[str, Any] | Sequence[str] | None, names: tuple[str, ...] = NAMES) -> Filters:
    """Return filters by name, from a mapping (values: text, True, or lists) or from ``NAME=VALUE`` entries.

    Raises InvalidArgument for a filter that does not exist or has a bad value, in Docker's words.
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
        if name not in names:
            raise InvalidArgument(f"invalid filter '{name}'")
        if name in _CHECKS:
            _CHECKS[name](name, value)
        values = parsed.setdefault(name, [])
        if value not in values:
            values.append(value)
    tasks = parsed.get("is-task", [])
    if len({_boolean(value) for value in tasks}) > 1 or None in map(_boolean, tasks):
        raise InvalidArgument(f"invalid filter 'is-task=[{' '.join(sorted(tasks))}]'")
    return parsed


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(text: str) -> bool | None:
    return {"1": True, "true": True, "0": False, "false": False}.get(text)


def _check_word(words: tuple[str, ...], kind: str) -> Callable[[str, str], None]:
    def check(name: str, value: str) -> None:
        if value not in words:
            listed = ", ".join(words)
            raise InvalidArgument(
                f"invalid filter '{name}={value}': invalid value for {kind} ({value}): must be one of {listed}"
            )

    return check


def _check_code(name: str, value: str) -> None:
    if re.fullmatch("[+-]?[0-9]+", value, re.ASCII) is None:
        raise InvalidArgument(
            f"invalid filter '{name}={value}': strconv.Atoi: parsing \"{value}\": invalid syntax"
        )  # fmt: skip


def _check_ports(name: str, value: str) -> None:
    ports(name, value)


_CHECKS: dict[str, Callable[[str, str], None]] = {
    "status": _check_word(STATES, "state"),
    "health": _check_word(HEALTH, "health"),
    "exited": _check_code,
    "expose": _check_ports,
    "publish": _check_ports,
}


def ports(name: str, text: str) -> tuple[range, str]:
    """Return the ports and the protocol of ``PORT[-PORT][/PROTOCOL]``. Raises InvalidArgument, in Docker's words."""
    if ":" in text:
        raise InvalidArgument(f"filter for '{name}' should not contain ':': {text}")
    numbers, slash, protocol = text.partition("/")
    wrong = f"error while looking up for {name} {text}: "
    if not numbers:
        raise InvalidArgument(f"{wrong}empty string specified for ports")
    first, dash, last = numbers.partition("-")
    found = []
    for part in (first, last if dash else first):
        if not part.isascii() or not part.isdigit():
            raise InvalidArgument(f'{wrong}strconv.ParseUint: parsing "{part}": invalid syntax')
        if int(part) > 65535:
            raise InvalidArgument(f'{wrong}strconv.ParseUint: parsing "{part}": value out of range')
        found.append(int(part))
    if found[1] < found[0]:
        raise InvalidArgument(f"{wrong}invalid range specified for the port: {numbers}")
    return range(found[0], found[1] + 1), (protocol if slash else "tcp").lower()


class Choice:
    """The filters of one list, with what they name looked up once.

    ``ids`` are those of all containers. Raises ContainerNotFound for one that ``before`` or ``since`` names.
    """

    def __init__(self, engine: Engine, filters: Filters, ids: Sequence[str]) -> None:
        self._engine = engine
        self._filters = filters
        self._before = [self._created(name) for name in filters.get("before", ())]
        self._since = [self._created(name) for name in filters.get("since", ())]
        self._ids = {match for value in filters.get("id", ()) if (match := _only(value, ids))}
        self._names = [(value, _pattern(value)) for value in filters.get("name", ())]
        self._codes = {int(value) for value in filters.get("exited", ())}
        self._publish = [ports("publish", value) for value in filters.get("publish", ())]
        self._expose = [ports("expose", value) for value in filters.get("expose", ())]
        self._images: dict[str, bool] = {}
        self._ancestors: list[tuple[str, list[int]]] | None = None

    def _created(self, name: str) -> float:
        from minidock.containers import record as records

        return created(records.decode(self._engine.store.containers.get(name).record))

    def passes(self, record: AnyRecord, state: ContainerState) -> bool:
        """Whether a container passes every filter."""
        return all(_TESTS[name](self, values, record, state) for name, values in self._filters.items())

    def _summary(self, record: AnyRecord, state: ContainerState) -> ContainerSummary:
        from minidock.containers.inspect import summary

        return summary(record, state, self._engine.store.paths)

    # One test for each filter

    def _passes_created(self, _values: list[str], record: AnyRecord, _state: ContainerState) -> bool:
        moment = created(record)
        return all(moment < other for other in self._before) and all(moment > other for other in self._since)

    def _passes_id(self, _values: list[str], record: AnyRecord, _state: ContainerState) -> bool:
        return record.id in self._ids

    def _passes_name(self, _values: list[str], record: AnyRecord, _state: ContainerState) -> bool:
        spellings = (record.name, f"/{record.name}")
        return any(
            value in spellings or (pattern is not None and any(map(pattern.search, spellings)))
            for value, pattern in self._names
        )

    def _passes_status(self, values: list[str], _record: AnyRecord, state: ContainerState) -> bool:
        return state.status in values

    def _passes_exited(self, _values: list[str], _record: AnyRecord, state: ContainerState) -> bool:
        return not state.running and state.started_at != ZERO_TIME and state.exit_code in self._codes

    def _passes_health(self, values: list[str], _record: AnyRecord, state: ContainerState) -> bool:
        return (getattr(state.health, "status", "") or "none") in values

    def _passes_label(self, values: list[str], record: AnyRecord, _state: ContainerState) -> bool:
        return all(has_label(record.config.labels, value) for value in values)

    def _passes_is_task(self, values: list[str], _record: AnyRecord, _state: ContainerState) -> bool:
        return _boolean(values[0]) is False  # tasks are those of a swarm

    def _passes_isolation(self, _values: list[str], _record: AnyRecord, _state: ContainerState) -> bool:
        return True  # it tells kinds of containers of Windows apart

    def _passes_network(self, values: list[str], record: AnyRecord, state: ContainerState) -> bool:
        networks = self._summary(record, state).network_settings.networks
        return any(
            value == name or one.network_id.startswith(value) for name, one in networks.items() for value in values
        )

    def _passes_volume(self, values: list[str], record: AnyRecord, state: ContainerState) -> bool:
        mounts = self._summary(record, state).mounts
        return any(value in (mount.destination, mount.name or mount.source) for mount in mounts for value in values)

    def _passes_ports(self, _values: list[str], record: AnyRecord, state: ContainerState) -> bool:
        found = self._summary(record, state).ports if state.running else []
        return any(_has(self._publish, port, port.public_port) or _has(self._expose, port, port.private_port)
                   for port in found)  # fmt: skip

    def _passes_ancestor(self, values: list[str], record: AnyRecord, _state: ContainerState) -> bool:
        """Whether it was made from one of these images, or from one that has all layers of such a one at the bottom."""
        if not record.image:
            return False
        known = self._images.get(record.image)
        if known is None:
            known = self._images[record.image] = self._descends(record.image, values)
        return known

    def _descends(self, image_id: str, names: list[str]) -> bool:
        table = self._engine.store.images
        if self._ancestors is None:
            from minidock.images.lookup import ImageLookup

            images = ImageLookup(self._engine)
            self._ancestors = []
            for name in names:
                with contextlib.suppress(ImageNotFound, InvalidArgument):
                    self._ancestors += [(row.id, table.layers(row.id)) for row in images.resolve_all(name)[0]]
        own: list[int] | None = None
        for ancestor, layers in self._ancestors:
            if ancestor == image_id:
                return True
            own = table.layers(image_id) if own is None else own
            if layers and own[: len(layers)] == layers:
                return True
        return False


_TESTS: dict[str, Callable[[Choice, list[str], AnyRecord, ContainerState], bool]] = {
    "ancestor": Choice._passes_ancestor,
    "before": Choice._passes_created,
    "exited": Choice._passes_exited,
    "expose": Choice._passes_ports,
    "health": Choice._passes_health,
    "id": Choice._passes_id,
    "is-task": Choice._passes_is_task,
    "isolation": Choice._passes_isolation,
    "label": Choice._passes_label,
    "name": Choice._passes_name,
    "network": Choice._passes_network,
    "publish": Choice._passes_ports,
    "since": Choice._passes_created,
    "status": Choice._passes_status,
    "volume": Choice._passes_volume,
}


def _has(wanted: list[tuple[range, str]], port: Port, number: object) -> bool:
    """Whether a port is wanted; ``number`` is its number inside or outside, and none is 0, as in Docker."""
    value = number if isinstance(number, int) else 0
    return any(value in numbers and protocol == port.type for numbers, protocol in wanted)


def _only(start: str, ids: Sequence[str]) -> str | None:
    """Return the one id that begins so; None when there is no one, or not one only."""
    found = [one for one in ids if one.startswith(start)] if start else []
    return start if start in found else found[0] if len(found) == 1 else None


def _pattern(text: str) -> re.Pattern[str] | None:
    """Return a name's filter as a regular expression; None when it is none, and means only itself."""
    try:
        return re.compile(text)
    except re.error:
        return None


def created(record: AnyRecord) -> float:
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


def has_label(labels: Mapping[str, str] | None, wanted: str) -> bool:
    """Whether ``NAME``, or ``NAME=VALUE``, is among labels."""
    name, equals, value = wanted.partition("=")
    return labels is not None and name in labels and (not equals or labels[name] == value)


def matches(wanted: str, text: str) -> bool:
    """Whether a name's filter, a regular expression or a name that is none, means ``text``."""
    pattern = _pattern(wanted)
    return wanted == text or (pattern is not None and pattern.search(text) is not None)
