"""Filters of ``volume ls`` and ``volume prune``, as Docker defines them. Several values: any of them (label: all)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.containers import filters as common
from minidock.errors import InvalidArgument
from minidock.volumes.record import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from minidock.containers.filters import Filters
    from minidock.volumes.record import Record

NAMES = ("dangling", "driver", "label", "name")
_DANGLING = {"1": True, "true": True, "0": False, "false": False}
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def parse(filters: Mapping[str, Any] | Sequence[str] | None) -> Filters:
    """Return filters by name. Raises InvalidArgument, in Docker's words, for one that makes no sense."""
    found = common.parse(filters, NAMES)
    values = found.get("dangling", [])
    if values and (not _DANGLING.keys() >= set(values) or len({_DANGLING[value] for value in values}) > 1):
        raise InvalidArgument(f"invalid filter 'dangling=[{' '.join(sorted(values))}]'")
    return found


def select(found: Iterable[Record], filters: Filters, used: Container[str]) -> list[Record]:
    """Return the volumes that pass every filter; containers have those that are ``used``."""
    return [record for record in found if _passes(record, filters, used)]


def _passes(record: Record, filters: Filters, used: Container[str]) -> bool:
    for name, values in filters.items():
        if name == "driver":
            passed = record.driver in values
        elif name == "label":
            passed = all(common.has_label(record.labels, value) for value in values)
        elif name == "dangling":
            passed = _DANGLING[values[0]] == (record.name not in used)
        else:
            passed = any(common.matches(value, record.name) for value in values)
        if not passed:
            return False
    return True


def prunable(filters: Mapping[str, Any] | Sequence[str] | None, *, all: bool = False) -> Callable[[Record], bool]:
    """Return whether ``volume prune`` may remove a volume that no container has.

    Volumes with driver options never go: what they show may be somebody else's. Raises InvalidArgument for a filter
    that is none.
    """
    wanted = common.parse(filters, ("all", "label", "label!"))
    values = wanted.get("all", [])
    for value in values:
        if value not in _BOOLEANS:
            raise InvalidArgument(f"invalid filter 'all': strconv.ParseBool: parsing \"{value}\": invalid syntax")
    if len(values) > 1:
        raise InvalidArgument(f"invalid filter 'all=[{' '.join(sorted(values))}]'")
    named = all or any(_BOOLEANS[value] for value in values)

    def chosen(record: Record) -> bool:
        return (
            not record.options
            and (named or ANONYMOUS in (record.labels or {}))
            and _passes(record, {"label": wanted.get("label", [])}, ())
            and not any(common.has_label(record.labels, label) for label in wanted.get("label!", ()))
        )

    return chosen
