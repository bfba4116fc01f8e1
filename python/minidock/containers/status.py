"""What ``ps`` says of a container: ``Up 3 seconds``, ``Exited (0) 2 minutes ago``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidock.spec.docker import ContainerState


def now() -> str:
    """Return the time as RFC 3339 with nanoseconds, as Docker writes it."""
    return rfc3339(time.time_ns())


def rfc3339(nanoseconds: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339; zeros at the end of the fraction are dropped, as Go does."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = time.gmtime(seconds)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}{fraction}Z"


def parse_time(text: str) -> float:
    """Return the seconds since 1970 of an RFC 3339 time."""
    from datetime import UTC, datetime

    date, _, rest = text.partition("T")
    clock = rest.rstrip("Z")
    offset = 0
    for sign, factor in (("+", -1), ("-", 1)):
        if sign in clock:
            clock, _, zone = clock.partition(sign)
            hours, _, minutes = zone.partition(":")
            offset = factor * (int(hours) * 3600 + int(minutes or 0) * 60)
    whole, _, fraction = clock.partition(".")
    moment = datetime.strptime(f"{date}T{whole}", "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return moment.timestamp() + offset + (float(f"0.{fraction}") if fraction else 0.0)


def duration(seconds: float) -> str:
    """Return a span of time in Docker's words: ``Less than a second``, ``About an hour``, ``3 weeks``."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    for limit, text in (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    ):
        if limit:
            return text
    return f"{hours // 24 // 365} years"


def status(state: ContainerState, at: float | None = None) -> str:
    """Return what ``ps`` shows in its column STATUS."""
    moment = time.time() if at is None else at
    if state.status in ("running", "paused"):
        return f"Up {duration(moment - parse_time(state.started_at))}{_more(state)}"
    if state.status in ("restarting", "exited"):
        return f"{state.status.capitalize()} ({state.exit_code}) {duration(moment - parse_time(state.finished_at))} ago"
    return "Removal In Progress" if state.status == "removing" else state.status.capitalize()


def _more(state: ContainerState) -> str:
    """What follows the time in Docker's words: ``(Paused)``, ``(healthy)``, ``(health: starting)``."""
    if state.paused:
        return " (Paused)"
    health = getattr(state.health, "status", "none")
    if health in ("", "none"):
        return ""
    return " (health: starting)" if health == "starting" else f" ({health})"
