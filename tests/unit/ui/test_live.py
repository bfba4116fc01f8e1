"""What a client of the live feed is told, and what it is not told again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from minidock.errors import NoSpace
from minidock.spec.docker import ContainerSummary
from minidock.ui.live import Feed


class Engine:
    """Containers of which a test says what they are."""

    def __init__(self) -> None:
        self.found: list[ContainerSummary] | Exception = []
        self.containers = self
        self.looks = 0

    def summaries(self, *, all: bool) -> list[ContainerSummary]:
        assert all
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def list(self) -> list[Any]:
        self.looks += 1
        return []


class Channel:
    """What was sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def json(self, value: object) -> None:
        self.sent.append(msgspec.json.decode(msgspec.json.encode(value)))

    def take(self) -> list[Any]:
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def feed(engine: Engine, channel: Channel) -> Feed:
    return Feed(engine, channel)  # type: ignore[arg-type]


def one(name: str, state: str = "running") -> ContainerSummary:
    return ContainerSummary(name * 12, [f"/{name}"], "busybox", "sha256:0", "sh", 1, state=state)


def names(message: Any) -> list[str]:
    return [row["name"] for row in message["changed"]]


def test_only_what_changes_is_told(feed: Feed, engine: Engine, channel: Channel) -> None:
    feed.refresh()
    assert channel.take() == [{"type": "rows", "all": True, "changed": [], "gone": []}]
    engine.found = [one("a"), one("b")]
    feed.refresh()
    [message] = channel.take()
    assert (message["all"], names(message)) == (False, ["a", "b"])
    feed.refresh()
    assert channel.take() == []
    engine.found = [one("a"), one("b", "exited")]
    feed.refresh()
    [message] = channel.take()
    assert names(message) == ["b"]
    engine.found = [one("b", "exited")]
    feed.refresh()
    [message] = channel.take()
    assert (names(message), message["gone"]) == ([], ["a" * 12])


def test_trouble_is_told_and_then_everything(feed: Feed, engine: Engine, channel: Channel) -> None:
    engine.found = [one("a")]
    feed.refresh()
    channel.take()
    engine.found = NoSpace("no space left on device")
    feed.refresh()
    assert channel.take() == [{"type": "trouble", "message": "no space left on device"}]
    engine.found = [one("a")]
    feed.refresh()
    [message] = channel.take()
    assert (message["all"], names(message)) == (True, ["a"])


@pytest.mark.parametrize(("said", "looks"), [([], 1), (["quiet"], 0), (["quiet", "loud"], 1)])
def test_nothing_is_measured_for_a_hidden_page(feed: Feed, engine: Engine, said: list[str], looks: int) -> None:
    for word in said:
        feed.hear(word)
    feed.ended.set()
    feed.measure()
    assert engine.looks == looks
