"""Filters of ``events``, as Docker defines them. Several values of one filter: any of them (``label``: all)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers import filters as common
from minidock.errors import InvalidArgument, MinidockError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from minidock.events.event import Event

KINDS = (
    "builder",
    "config",
    "container",
    "daemon",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
)
"""Docker's kinds of objects; those that minidock does not have can be asked for, and have no events."""
_OBJECTS = tuple(kind for kind in KINDS if kind not in ("builder", "image"))
NAMES = ("event", "image", "label", "scope", "type", *_OBJECTS)
"""Of the filters."""
VALUES = {"type": KINDS, "scope": ("local", "swarm")}
"""What filters can have that have not any value."""
# These actions carry a detail behind a colon: their bare name means all of them.
_DETAILED = frozenset(("health_status", "exec_create", "exec_start"))


def chooser(filters: Mapping[str, Any] | Sequence[str] | None) -> Callable[[Event], bool] | None:
    """Return whether an event passes all ``filters``, as a function; None: there are none.

    ``filters`` is a mapping (values: text or lists) or ``NAME=VALUE`` entries. Raises InvalidArgument.
    """
    wanted = common.parse(filters, NAMES)
    if not wanted:
        return None
    for name, allowed in VALUES.items():
        for value in wanted.get(name, ()):
            if value not in allowed:
                raise InvalidArgument(f"invalid filter '{name}={value}': must be one of {', '.join(allowed)}")
    labels = [label.partition("=") for label in wanted.get("label", ())]

    def passes(event: Event) -> bool:
        attributes = event.attributes
        for name, values in wanted.items():
            if name == "event":
                passed = event.action in values or (
                    not _DETAILED.isdisjoint(values) and event.action.startswith(tuple(values))
                )
            elif name == "type":
                passed = event.type in values
            elif name == "scope":
                passed = event.scope in values
            elif name == "label":
                passed = all(key in attributes and (not equals or attributes[key] == v) for key, equals, v in labels)
            elif name == "image":
                passed = _of_image(event, values)
            else:
                passed = event.id.startswith(tuple(values)) or attributes.get("name", "").startswith(tuple(values))
            if not passed:
                return False
        return True

    return passes


def _of_image(event: Event, values: Sequence[str]) -> bool:
    """Whether the image, or the container's, has one of these names or ids; a name may lack the tag."""
    name = event.attributes.get("name" if event.type == "image" else "image", "")
    return any(text in values or _untagged(text) in values for text in (event.id, name))


def _untagged(text: str) -> str:
    from minidock.images.references import parse

    try:
        return parse(text).familiar_name
    except MinidockError:
        return text
