"""What changes, as it changes: rows of containers, events, and what containers use."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from minidock.errors import MinidockError
from minidock.server.failures import Vanished, message_of
from minidock.ui.channel import Channel

if TYPE_CHECKING:
    from minidock.containers.stats import Sampler
    from minidock.engine import Engine
    from minidock.events.event import Event
    from minidock.server.http import Request
    from minidock.spec.docker import ContainerSummary

_MEASURE = 2.0
"""Seconds between two looks at what containers use."""
_ROWS = 5
"""Looks after which rows are compared even if nothing has happened: ``Up 5 seconds`` becomes 15."""
_GATHER = 0.1
"""Seconds in which events are gathered for one look at all rows."""
_encode = msgspec.json.Encoder().encode


class Row(msgspec.Struct):
    """What the page knows of a container without asking for it."""

    id: str
    name: str
    image: str
    image_id: str
    command: str
    created: int
    state: str
    status: str
    ports: list[tuple[str, int, int, str]]
    """Address and port of the host (0: not published), port of the container, protocol."""
    networks: list[tuple[str, str, str]]
    """Name, id, address."""
    mounts: list[tuple[str, str, str]]
    """Type, volume or path of the host, path in the container."""
    labels: dict[str, str]


def row(summary: ContainerSummary) -> Row:
    """Return a container's row."""
    return Row(
        summary.id,
        summary.names[0].removeprefix("/") if summary.names else summary.id[:12],
        summary.image,
        summary.image_id,
        summary.command,
        summary.created,
        summary.state,
        summary.status,
        [(one.ip or "", one.public_port or 0, one.private_port, one.type) for one in summary.ports],
        [(name, one.network_id, one.ip_address or one.global_ipv6_address)
         for name, one in summary.network_settings.networks.items()],
        [(one.type, one.name or one.source, one.destination) for one in summary.mounts],
        summary.labels,
    )  # fmt: skip


def shown(event: Event) -> dict[str, Any]:
    """Return an event for the page."""
    return {
        "type": event.type,
        "action": event.action,
        "id": event.id,
        "time": event.time_ns // 1_000_000,
        "attributes": event.attributes,
    }


def follow(request: Request) -> None:
    """``GET /live``, a websocket: all rows, then what changes. The client sends ``quiet`` and ``loud``."""
    with Channel(request) as channel, request.engine.events(follow=True) as events:
        feed = Feed(request.engine, channel)
        feed.refresh()

        def end() -> None:
            feed.ended.set()
            events.close()

        channel.listen(feed.hear, end)
        threading.Thread(target=feed.measure, name="minidock-measure", daemon=True).start()
        try:
            while True:
                batch = events.batch()
                channel.json({"type": "events", "events": [shown(event) for event in batch]})
                feed.refresh()
                time.sleep(_GATHER)
        except StopIteration:
            return
        finally:
            feed.ended.set()


class Feed:
    """What one client has been told, and tells it the rest."""

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self._channel = channel
        self._lock = threading.Lock()
        self._told: dict[str, bytes] = {}
        self._whole = True
        """The client has to be told of all rows."""
        self._quiet = False
        self.ended = threading.Event()

    def hear(self, message: str | bytes) -> None:
        """Take a message of the client: nothing is measured for a page that nobody looks at."""
        self._quiet = message == "quiet"

    def refresh(self) -> None:
        """Look at all containers, and send the rows that are not as they were. Raises Vanished."""
        with self._lock:
            try:
                rows = [row(one) for one in self._engine.containers.summaries(all=True)]
            except MinidockError as error:
                self._told, self._whole = {}, True
                self._channel.json({"type": "trouble", "message": message_of(error)})
                return
            now = {one.id: _encode(one) for one in rows}
            changed = [msgspec.Raw(data) for name, data in now.items() if self._told.get(name) != data]
            gone = [name for name in self._told if name not in now]
            self._told = now
            if changed or gone or self._whole:
                self._channel.json({"type": "rows", "all": self._whole, "changed": changed, "gone": gone})
                self._whole = False

    def measure(self) -> None:
        """Send what running containers use, again and again."""
        from minidock.containers.stats import Sampler

        sampler = Sampler()
        looks = 0
        try:
            while True:
                if not self._quiet:
                    self._measure(sampler)
                if self.ended.wait(_MEASURE):
                    return
                looks += 1
                if looks % _ROWS == 0:
                    self.refresh()
        except Vanished:
            self._channel.close()

    def _measure(self, sampler: Sampler) -> None:
        try:
            found = sampler.look(self._engine.containers.list())
        except MinidockError:
            return  # a look that fails is one that is missing; rows tell of lasting trouble
        of = {
            one.container_id: (
                one.cpu_percent,
                one.memory.used,
                one.memory_limit,
                one.received_bytes,
                one.sent_bytes,
                one.read_bytes,
                one.write_bytes,
                one.pids.current,
            )
            for one in found
            if one.running
        }
        self._channel.json({"type": "stats", "time": time.time_ns() // 1_000_000, "of": of})
