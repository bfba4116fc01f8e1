"""Points in time for ``since`` and ``until``."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.containers.parse import times
from minidock.errors import InvalidArgument

NOW = 1_700_000_000_000_000_000
SECOND = 10**9


@pytest.fixture
def east() -> Iterator[None]:
    """Local time is two hours ahead."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "EAST-2"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("2006", 2006 * SECOND),
        ("1136073600.000000001", 1136073600 * SECOND + 1),
        ("1.5", 1_500_000_000),
        ("1s", NOW - SECOND),
        ("-1s", NOW + SECOND),
        ("+1m30s", NOW - 90 * SECOND),
        ("1h1.5s", NOW - 3601 * SECOND - SECOND // 2),
        ("24h60m", NOW - 25 * 3600 * SECOND),
        (".5ms", NOW - 500_000),
        ("1us1µs1μs1ns", NOW - 3001),
        ("1970-01-01Z", 0),
        ("1970-01-01T00Z", 0),
        ("1970-01-01T00:01Z", 60 * SECOND),
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01T00:00:01.000000001Z", SECOND + 1),
        ("1970-01-01T00:00:01.5+01:30", SECOND * 3 // 2 - 5400 * SECOND),
        ("1969-12-31T23:00:00-01:00", 0),
        ("1970-01-01T02", 0),
        ("1970-01-01T02:00", 0),
        ("1970-01-01T02:00:00", 0),
        ("1970-01-01T02:00:00.25", SECOND // 4),
        ("1970-01-01", -7200 * SECOND),
        ("9999-12-31T23:59:59Z", (1 << 63) - 1),
        ("0001-01-01", -(1 << 63) + 1),
    ],
)
def test_docker_text(text: str, expected: int, east: None) -> None:
    assert times.point(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "1h2x",
        "1d",
        "h",
        "''",
        "1.5.5",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "2026-1-1",
        "2026-01-01T",
        "2026-01-01T00:00.5",
        "2026-01-01 00:00:00",
        "2026-01-01T00:00:00z",
        "\u0661s",
        "1970-01-01T00:00:00+1:00",
        "99999999999999999999",
        "1s" * 100,
    ],
)
def test_nonsense(text: str) -> None:
    with pytest.raises(InvalidArgument, match="failed to parse value as time or duration"):
        times.point(text, NOW)


def test_other_types() -> None:
    assert times.point(5) == 5 * SECOND
    assert times.point(0.25) == SECOND // 4
    assert times.point(datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.UTC)) == SECOND
    assert times.point(datetime.datetime.fromtimestamp(1000)) == 1000 * SECOND
    assert abs(times.point("0s") - time.time_ns()) < 60 * SECOND
    for bad in (True, None, b"1"):
        with pytest.raises(TypeError):
            times.point(bad)  # type: ignore[arg-type]
    for number in (float("nan"), float("inf"), 1e300):
        with pytest.raises(InvalidArgument):
            times.point(number)


@given(st.text(alphabet="0123456789-:TZ.+hms µ", max_size=40))
def test_any_text(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert isinstance(times.point(text, NOW), int)
