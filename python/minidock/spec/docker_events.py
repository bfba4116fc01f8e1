"""Docker Engine API 1.51: one line of ``GET /events``."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field


class EventActor(Struct, rename="pascal"):
    """The object that something happened to."""

    id: str = field(name="ID")
    attributes: dict[str, str]


class EventMessage(Struct, kw_only=True):
    """``GET /events``. ``status``, ``id`` and ``from`` are for clients of API 1.21: images and containers only."""

    status: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    from_: str | UnsetType = field(default=UNSET, name="from")
    type: str = field(name="Type")
    action: str = field(name="Action")
    actor: EventActor = field(name="Actor")
    scope: str
    time: int
    time_nano: int = field(name="timeNano")
