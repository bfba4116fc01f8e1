"""One event, typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from minidock.spec.docker_events import EventMessage


class Actor(Struct, frozen=True, rename={"id": "ID", "attributes": "Attributes"}):
    """What an event is about, as it is stored."""

    id: str
    attributes: dict[str, str]


class Event(Struct, frozen=True, rename={"type": "Type", "action": "Action", "actor": "Actor", "time_ns": "timeNano"}):
    """Something that happened on a data root; later events have later times, whatever the clock does."""

    type: str
    """``container``, ``image``, ``network``, ``volume`` or ``daemon``."""
    action: str
    """``create``, ``start``, ``die``, ``exec_create: ls -l``, ``health_status: healthy``, ``pull``, …"""
    actor: Actor
    time_ns: int
    """Nanoseconds since 1970."""
    number: int = field(name="seq")
    """Its place among all events of the data root, from 0."""

    @property
    def id(self) -> str:
        """The object: a container's id, an image's id or (of ``pull`` and ``push``) its name."""
        return self.actor.id

    @property
    def attributes(self) -> dict[str, str]:
        """Facts about the object and what happened: ``name``, ``image``, its labels, ``exitCode``, ``signal``, …"""
        return self.actor.attributes

    @property
    def time(self) -> datetime:
        """When it happened, in UTC and to the microsecond."""
        return datetime.fromtimestamp(self.time_ns // 1_000_000_000, UTC).replace(
            microsecond=self.time_ns // 1000 % 1_000_000
        )

    @property
    def scope(self) -> str:
        """``local``: there is no swarm."""
        return "local"

    def message(self) -> EventMessage:
        """Return the event in the words of Docker's API."""
        from minidock.spec.docker_events import EventActor, EventMessage

        message = EventMessage(
            type=self.type,
            action=self.action,
            actor=EventActor(self.id, self.attributes),
            scope=self.scope,
            time=self.time_ns // 1_000_000_000,
            time_nano=self.time_ns,
        )
        if self.type in ("container", "image"):
            message.status = self.action
            if self.id:
                message.id = self.id
        if self.type == "container" and self.attributes.get("image"):
            message.from_ = self.attributes["image"]
        return message
