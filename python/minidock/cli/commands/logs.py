"""``logs``."""

from __future__ import annotations

import os

from minidock.cli.flags import Command, Flag
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _logs(session: Session, values: Values, arguments: list[str]) -> int:
    """Write a container's log to standard output and standard error; a record's own stream decides which."""
    container = session.engine.containers.get(arguments[0])
    with container.logs(
        stream=True,
        follow=values["follow"],
        since=_time("since", values["since"]),
        until=_time("until", values["until"]),
        tail=_tail(values["tail"]),
    ) as log:
        for stream, part in log.text(timestamps=values["timestamps"], details=values["details"]):
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(stream, rest) :]
    return 0


def _time(name: str, text: str) -> str | None:
    """Return the text of a time, None without one. Raises UsageError in Docker's words."""
    from minidock.containers.parse import times
    from minidock.errors import InvalidArgument

    if not text:
        return None
    try:
        times.point(text)
    except InvalidArgument as error:
        raise UsageError(f'invalid value for "{name}": {error}', 1) from None
    return text


def _tail(text: str) -> int | None:
    """Return a number of records; what is no number, or a negative one, means all of them, as in Docker."""
    digits = text.removeprefix("+")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


LOGS = Command(
    "[OPTIONS] CONTAINER",
    "Show what a container has written. With --follow, until it ends.",
    [
        Flag("details", "bool", "Show the attributes that the log's options choose"),
        Flag("follow", "bool", "Go on until the container ends", short="f"),
        Flag("since", "string", "Nothing older than this time (2006-01-02T15:04:05Z) or duration (42m)", default=""),
        Flag("tail", "string", "Only so many lines from the end", short="n", default="all"),
        Flag("timestamps", "bool", "Show when each line came", short="t"),
        Flag("until", "string", "Nothing newer than this time or duration", default=""),
    ],
    _logs,
    minimum=1,
    maximum=1,
    complete="containers",
)
