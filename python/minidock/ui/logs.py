"""A container's log, as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument
from minidock.ui.channel import Channel

if TYPE_CHECKING:
    from minidock.server.http import Request

_MOST = 10_000
_AT_ONCE = 500


def follow(request: Request) -> None:
    """``GET /containers/{id}/logs``, a websocket: the last ``tail`` lines, or all after ``since``, and what follows.

    Each message has ``lines``, of [stream, nanoseconds since 1970 as text, text]; one with ``ended`` is the last.
    """
    tail = request.query.number("tail")
    since = request.query.text("since")
    container = request.engine.containers.get(request.names["id"])
    with Channel(request) as channel:
        log = container.logs(
            stream=True,
            follow=True,
            tail=min(max(tail or 0, 0), _MOST) if tail is not None else None,
            since=since or None,
        )
        with log:
            channel.listen(lambda _: None, log.close)
            try:
                for batch in log.batches():
                    for at in range(0, len(batch), _AT_ONCE):
                        lines = [
                            (line.stream, str(line.time_ns), line.data.decode(errors="replace"))
                            for line in batch[at : at + _AT_ONCE]
                        ]
                        channel.json({"lines": lines})
            except InvalidArgument:
                return  # closed: the client has gone
            channel.json({"ended": True})
