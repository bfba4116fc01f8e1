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
    """Return the seconds since 1970 of an RFC 3339 time. Raises ValueError."""
    from datetime import datetime

    # Lists parse two of them for each line, and strptime takes ten times as long.
    if text[10:11] != "T" or text[13:14] != ":":
        raise ValueError(f"not an RFC 3339 time: {text[:40]!r}")
    whole = datetime.fromisoformat(f"{text[:19]}+00:00").timestamp()
    rest = text[19:].rstrip("Z")
    for sign, factor in (("+", -1), ("-", 1)):
        if sign in rest:
            rest, _, zone = rest.partition(sign)
            hours, _, minutes = zone.partition(":")
            whole += factor * (int(hours) * 3600 + int(minutes or 0) * 60)
    return whole + float(f"0{rest}") if rest else whole


def duration(seconds: float) -> str:
    """Return a span of time in Docker's words, rounded as Docker rounds: ``About an hour``, ``3 weeks``."""
    whole = int(seconds)
    if whole < 60:
        return "Less than a second" if whole < 1 else "1 second" if whole == 1 else f"{whole} seconds"
    if whole < 3600:
        return "About a minute" if whole < 120 else f"{whole // 60} minutes"
    hours = int(seconds / 3600 + 0.5)
    for limit, unit, size in (
        (48, "hours", 1),
        (24 * 14, "days", 24),
        (24 * 60, "weeks", 168),
        (24 * 730, "months", 720),
    ):
        if hours < limit:
            return "About an hour" if hours == 1 else f"{hours // size} {unit}"
    return f"{int(seconds / 3600) // 24 // 365} years"


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
