"""Platforms in Go's words."""

import pytest

from minidock.errors import InvalidArgument, Unsupported
from minidock.images import platforms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("linux/aarch64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("armhf", "linux/arm/v7"),
        ("LINUX/RISCV64", "linux/riscv64"),
    ],
)
def test_good(text: str, expected: str) -> None:
    assert str(platforms.parse(text)) == expected


def test_default_is_the_hosts() -> None:
    assert platforms.parse(None) == platforms.parse("linux") == platforms.host()


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux/nope", "nope", "linux/a/b/c", "a b"])
def test_bad(text: str) -> None:
    with pytest.raises(InvalidArgument, match="platform"):
        platforms.parse(text)


def test_other_systems() -> None:
    with pytest.raises(Unsupported, match="Linux containers only"):
        platforms.parse("windows/amd64")
