"""Sizes, CPUs, sets of CPUs, resource limits, signals."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.containers.parse import cpuset, signals, sizes, ulimits
from minidock.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("1k", 1024),
        ("1kb", 1024),
        ("1KiB", 1024),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64 mb", 64 << 20),
        ("1.5g", 3 << 29),
        (".5k", 512),
        ("2t", 2 << 40),
        ("1p", 1 << 50),
        ("9223372036854775807", (1 << 63) - 1),
        (7, 7),
    ],
)
def test_sizes(text: str | int, expected: int) -> None:
    assert sizes.size(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "-1",
        "-1m",
        "1x",
        "1mm",
        "1mib ",
        "1 0 m",
        "1.5.5m",
        "0x10",
        "1e3",
        "\u0661m",
        "1m\0",
        "--1",
        "nan",
        "inf",
    ],
)
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid (size|suffix)"):
        sizes.size(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "8192p", "9" * 5000, "9" * 19 + "g", "0." + "1" * 100 + "g"])
def test_sizes_that_do_not_fit(text: str) -> None:
    with pytest.raises(InvalidArgument, match="out of range"):
        sizes.size(text)


@pytest.mark.parametrize("value", [-1, True, 1 << 63])
def test_bad_numbers_as_sizes(value: int) -> None:
    with pytest.raises(InvalidArgument):
        sizes.size(value)


@given(st.integers(0, (1 << 63) - 1))
def test_a_number_of_bytes_is_itself(number: int) -> None:
    assert sizes.size(number) == sizes.size(str(number)) == number


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_an_error(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert 0 <= sizes.size(text) < 1 << 63


def test_unlimited_swap() -> None:
    assert sizes.size_or_unlimited("-1") == sizes.size_or_unlimited(-1) == -1
    with pytest.raises(InvalidArgument):
        sizes.size_or_unlimited("-2")


@pytest.mark.parametrize(
    ("value", "nano"),
    [
        ("1", 10**9),
        ("0.5", 5 * 10**8),
        (1.5, 15 * 10**8),
        (".25", 25 * 10**7),
        ("1e-3", 10**6),
        ("-1", -(10**9)),
        (2, 2 * 10**9),
    ],
)
def test_cpus(value: float | str, nano: int) -> None:
    assert sizes.nano_cpus(value) == nano


@pytest.mark.parametrize("value", ["", "x", "1.2.3", "nan", "inf", "1e999", "0.0000000001", "9" * 50, "1e", "--1 "])
def test_bad_cpus(value: str) -> None:
    with pytest.raises(InvalidArgument):
        sizes.nano_cpus(value)


def test_integers() -> None:
    assert sizes.integer("-5") == -5
    assert sizes.integer(" 7 ") == 7
    for bad in ("", "1.5", "x", "9" * 40, True):
        with pytest.raises(InvalidArgument):
            sizes.integer(bad)
    with pytest.raises(InvalidArgument, match="out of range"):
        sizes.integer(11, 0, 10)


def test_sets() -> None:
    assert cpuset.cpuset("") == set()
    assert cpuset.cpuset("0-2,5") == {0, 1, 2, 5}
    cpuset.check_available("0,1", "0-1")
    with pytest.raises(InvalidArgument, match="requested CPUs are not available - requested 9, available: 0-1"):
        cpuset.check_available("9", "0-1")
    with pytest.raises(InvalidArgument, match="memory nodes"):
        cpuset.check_available("1", "0", "mems")


@pytest.mark.parametrize("text", ["x", "1-", "-1", "1-x", "3-1", "1,,2", "0-4294967295", "9" * 100, "8193", "1 2"])
def test_bad_sets(text: str) -> None:
    with pytest.raises(InvalidArgument, match="cpuset"):
        cpuset.cpuset(text)


def test_a_huge_set_is_refused_before_it_is_built() -> None:
    # CVE-2018-20699: 4 GiB of bits, and more.
    with pytest.raises(InvalidArgument, match="maximum is 8192"):
        cpuset.cpuset("0-4294967295")


def test_limits() -> None:
    limit = ulimits.ulimit("nofile=1024:2048")
    assert (limit.name, limit.soft, limit.hard) == ("nofile", 1024, 2048)
    assert (ulimits.ulimit("core=0").hard, ulimits.ulimit("memlock=-1:-1").soft) == (0, -1)
    assert ulimits.ulimit("nproc=5:-1").hard == -1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nofile", "invalid ulimit argument: nofile"),
        ("foo=1", "invalid ulimit type: foo"),
        ("nofile=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
        ("nofile=-1:5", "ulimit soft limit must be less"),
        ("nofile=1:2:3", "too many limit value arguments"),
        ("nofile=x", "invalid ulimit argument"),
        ("nofile=-2", "invalid ulimit argument"),
        ("nofile=99999999999999999999", "invalid ulimit argument"),
    ],
)
def test_bad_limits(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ulimits.ulimit(text)


@pytest.mark.parametrize(
    ("value", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("sigterm", 15), ("9", 9), (9, 9), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("64", 64)],
)
def test_signals(value: str | int, number: int) -> None:
    assert signals.signal(value) == number


@pytest.mark.parametrize("value", ["", "0", "65", "FOO", "SIG", "-9", "9999999999", "SIGSIGTERM", 0])
def test_bad_signals(value: str | int) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid signal|does not support signal"):
        signals.signal(value)


def test_signal_numbers_are_the_kernels() -> None:
    import signal

    for name, number in signals.NUMBERS.items():
        known = getattr(signal, f"SIG{name}", None)
        assert known is None or known == number
    assert signals.name(15) == "SIGTERM"
