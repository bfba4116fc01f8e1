"""States and times as ``ps`` shows them."""

from __future__ import annotations

import pytest

from minidock.containers import filters, states
from minidock.containers.status import duration, parse_time, rfc3339, status
from minidock.errors import Conflict, InvalidArgument
from minidock.spec.docker import ContainerState, Health


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
        (3 * 365 * 86400 - 1, "2 years"),  # hours are rounded, but not where years are told
        (3 * 365 * 86400, "3 years"),
    ],
)
def test_spans_of_time(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times() -> None:
    assert rfc3339(1_700_000_000_120_000_000) == "2023-11-14T22:13:20.12Z"
    assert rfc3339(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert parse_time("2023-11-14T22:13:20.12Z") == pytest.approx(1_700_000_000.12)
    assert parse_time("2023-11-14T23:13:20+01:00") == 1_700_000_000
    assert parse_time("2023-11-14T21:13:20-01:00") == 1_700_000_000
    assert parse_time("2023-11-14T21:13:20.5-01") == 1_700_000_000.5
    assert parse_time("0001-01-01T00:00:00Z") < 0
    for bad in ("", "x", "2023-11-14", "2023-11-14T", "2023-13-14T22:13:20Z", "2023-11-14T22:13:20.xZ"):
        with pytest.raises(ValueError, match=r"time|iso|month|float"):
            parse_time(bad)


def test_status() -> None:
    at = parse_time("2026-01-01T00:00:10Z")
    assert status(ContainerState(), at) == "Created"
    running = ContainerState(status="running", started_at="2026-01-01T00:00:07Z")
    assert status(running, at) == "Up 3 seconds"
    exited = ContainerState(status="exited", exit_code=3, finished_at="2025-12-31T23:58:00Z")
    assert status(exited, at) == "Exited (3) 2 minutes ago"
    running.health = Health(status="starting")
    assert status(running, at) == "Up 3 seconds (health: starting)"
    for word in ("healthy", "unhealthy"):
        running.health = Health(status=word)
        assert status(running, at) == f"Up 3 seconds ({word})"
    running.health = Health(status="none")
    assert status(running, at) == "Up 3 seconds"
    paused = ContainerState(status="paused", paused=True, started_at="2026-01-01T00:00:07Z")
    assert status(paused, at) == "Up 3 seconds (Paused)"
    again = ContainerState(status="restarting", exit_code=1, finished_at="2026-01-01T00:00:08Z")
    assert status(again, at) == "Restarting (1) 2 seconds ago"
    assert status(ContainerState(status="removing"), at) == "Removal In Progress"
    assert status(ContainerState(status="dead"), at) == "Dead"


def test_transitions() -> None:
    for operation, state in (("start", "created"), ("start", "exited"), ("kill", "running"), ("remove", "created")):
        states.require(operation, state, "x")
    for operation, state, message in (
        ("start", "running", "already running"),
        ("kill", "created", "is not running"),
        ("kill", "exited", "is not running"),
        ("remove", "running", "stop the container before removing or force remove"),
    ):
        with pytest.raises(Conflict, match=message):
            states.require(operation, state, "x")


def test_until() -> None:
    assert filters.until("1h30m", now=10_000.0) == 10_000.0 - 5400
    assert filters.until("1700000000") == 1_700_000_000
    assert filters.until("2023-11-14T22:13:20Z") == 1_700_000_000
    assert filters.until("2023-11-14") == 1_699_920_000
    for bad in ("", "x", "5 minutes", "-1h"):
        with pytest.raises(InvalidArgument, match="until"):
            filters.until(bad)
