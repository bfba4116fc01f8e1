"""Filters of ``network ls`` and ``network prune``, as Docker defines them. Several values: any of them (label: all)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.containers import filters as common
from minidock.containers.status import parse_time
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from minidock.containers.filters import Filters
    from minidock.networks.record import Record

NAMES = ("dangling", "driver", "id", "label", "name", "scope", "type")
_DANGLING = {"1": True, "true": True, "0": False, "false": False}
_TYPES = {"builtin": True, "custom": False}


def parse(filters: Mapping[str, Any] | Sequence[str] | None) -> Filters:
    """Return filters by name. Raises InvalidArgument, in Docker's words, for one that makes no sense."""
    found = common.parse(filters, NAMES)
    for value in found.get("dangling", ()):
        if value not in _DANGLING:
            raise InvalidArgument(
                'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
            )  # fmt: skip
    if len({_DANGLING[value] for value in found.get("dangling", ())}) > 1:
        raise InvalidArgument("got more than one value for filter key 'dangling'")
    for value in found.get("type", ()):
        if value not in _TYPES:
            raise InvalidArgument(f"invalid filter: 'type'='{value}'")
    return found


def select(found: Iterable[Record], filters: Filters, in_use: Callable[[], set[str]]) -> list[Record]:
    """Return the networks that pass every filter; ``in_use`` tells the ids of those that containers are on."""
    used = in_use() if "dangling" in filters else set()
    return [record for record in found if _passes(record, filters, used)]


def _passes(record: Record, filters: Filters, used: set[str]) -> bool:
    for name, values in filters.items():
        if name == "driver":
            passed = record.driver in values
        elif name == "scope":
            passed = record.scope in values
        elif name == "type":
            passed = any(_TYPES[value] == record.predefined for value in values)
        elif name == "label":
            passed = all(common.has_label(record.labels, value) for value in values)
        elif name == "dangling":
            passed = _DANGLING[values[0]] == (record.id not in used and not record.predefined)
        else:
            text = record.name if name == "name" else record.id
            passed = any(common.matches(value, text) for value in values)
        if not passed:
            return False
    return True


def prunable(filters: Mapping[str, Any] | Sequence[str] | None) -> Callable[[Record], bool]:
    """Return whether ``network prune`` may remove a network. Raises InvalidArgument for a filter that is none."""
    wanted = common.parse(filters, ("label", "label!", "until"))
    moments = [common.until(value) for value in wanted.get("until", ())]
    if len(moments) > 1:
        raise InvalidArgument("more than one until filter specified")

    def chosen(record: Record) -> bool:
        return (
            all(parse_time(record.created) < moment for moment in moments)
            and all(common.has_label(record.labels, label) for label in wanted.get("label", ()))
            and not any(common.has_label(record.labels, label) for label in wanted.get("label!", ()))
        )

    return chosen
