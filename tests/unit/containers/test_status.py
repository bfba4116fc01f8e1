"""States, times and filters as ``ps`` shows them."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.containers import filters, states
from minidock.containers.record import Record
from minidock.containers.status import duration, parse_time, rfc3339, status
from minidock.errors import Conflict, InvalidArgument, Unsupported
from minidock.spec.docker import ContainerConfig, ContainerState, HostConfig


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
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
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


def test_status() -> None:
    at = parse_time("2026-01-01T00:00:10Z")
    assert status(ContainerState(), at) == "Created"
    running = ContainerState(status="running", started_at="2026-01-01T00:00:07Z")
    assert status(running, at) == "Up 3 seconds"
    exited = ContainerState(status="exited", exit_code=3, finished_at="2025-12-31T23:58:00Z")
    assert status(exited, at) == "Exited (3) 2 minutes ago"


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


def record(**changes: Any) -> Record:
    return Record(
        id="ab" * 32, name="web_1", created="2026-01-01T00:00:00Z", image="sha256:1",
        config=ContainerConfig(labels={"a": "b", "c": ""}), host_config=HostConfig(network_mode="none"), **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        ({}, True),
        ({"name": "web"}, True),
        ({"name": "^/?web_[0-9]$"}, True),
        ({"name": "db"}, False),
        ({"name": ["db", "web"]}, True),
        ({"id": "abab"}, True),
        ({"id": "ba"}, False),
        ({"label": "a"}, True),
        ({"label": "a=b"}, True),
        ({"label": "a=c"}, False),
        ({"label": ["a=b", "c"]}, True),
        ({"label": ["a=b", "d"]}, False),
        ({"status": "exited"}, True),
        ({"status": ["running", "exited"]}, True),
        ({"status": "running"}, False),
        ({"exited": "3"}, True),
        ({"exited": 0}, False),
        ({"network": "none"}, True),
        ({"network": "host"}, False),
        ({"ancestor": "busybox"}, True),
        ({"ancestor": "debian"}, False),
        ({"before": "newer"}, True),
        ({"since": "newer"}, False),
        (["name=web", "status=exited"], True),
        (["name=web", "status=running"], False),
    ],
)
def test_filters(given: Any, passes: bool) -> None:
    found = filters.matches(
        filters.parse(given),
        record(),
        ContainerState(status="exited", exit_code=3),
        lambda _: parse_time("2026-01-01T00:00:01Z"),
        lambda _, name: name == "busybox",
    )
    assert found is passes


@pytest.mark.parametrize("given", [{"foo": "x"}, ["foo"], {"status": "dancing"}, {"exited": "x"}, "name"])
def test_bad_filters(given: Any) -> None:
    with pytest.raises(InvalidArgument):
        filters.parse(given)
    with pytest.raises(InvalidArgument, match="invalid filter"):
        filters.matches(filters.parse({"name": "("}), record(), ContainerState(), lambda _: 0.0, lambda *_: True)


def test_filters_of_later_issues() -> None:
    with pytest.raises(Unsupported):
        filters.parse({"health": "healthy"})


def test_until() -> None:
    assert filters.until("1h30m", now=10_000.0) == 10_000.0 - 5400
    assert filters.until("1700000000") == 1_700_000_000
    assert filters.until("2023-11-14T22:13:20Z") == 1_700_000_000
    assert filters.until("2023-11-14") == 1_699_920_000
    for bad in ("", "x", "5 minutes", "-1h"):
        with pytest.raises(InvalidArgument, match="until"):
            filters.until(bad)
