"""``--detach-keys``."""

from __future__ import annotations

import pytest

from minidock.containers.parse.detach_keys import DEFAULT, detach_keys
from minidock.errors import InvalidArgument


@pytest.mark.parametrize(
    "text",
    ["a", "ctrl-a", "ctrl-A", "ctrl-p,ctrl-q", "a,b,c", "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", "-", "~,."],
)
def test_keys(text: str) -> None:
    assert detach_keys(text) == text


def test_empty_is_the_default() -> None:
    assert detach_keys("") == DEFAULT


@pytest.mark.parametrize(
    "text",
    [
        *("ctrl-", "ctrl-nope", "ctrl-1", "ctrl-é", "ctrl-\U0001f600", "Ctrl-p", "ctrl-p ctrl-q"),
        *("ab", ",", "a,", ",a", "a,,b", "é", "\u0661", "a\nb", ",".join("a" * 1000)),
    ],
)
def test_nonsense(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^invalid detach keys") as caught:
        detach_keys(text)
    assert len(str(caught.value)) < 300
