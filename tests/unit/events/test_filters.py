"""Filters of events: Docker's rules."""

from __future__ import annotations

import pytest

from minidock.errors import InvalidArgument
from minidock.events.event import Actor, Event
from minidock.events.filtering import chooser

ID = "ab" * 32
IMAGE = "sha256:" + "cd" * 32


def event(kind: str, action: str, id: str = ID, **attributes: str) -> Event:
    return Event(kind, action, Actor(id, attributes), 1, 0)


CREATE = event("container", "create", image="busybox:1.36", name="web-1", tier="front")
EXEC = event("container", "exec_create: ls -l", image="busybox:1.36", name="web-1", tier="front")
HEALTH = event("container", "health_status: healthy", image="other", name="db", tier="back", empty="")
PULL = event("image", "pull", "busybox:1.36", name="busybox")
TAG = event("image", "tag", IMAGE, name="web:latest")
CONNECT = event("network", "connect", "ef" * 32, name="none", type="null")
ALL = {"create": CREATE, "exec": EXEC, "health": HEALTH, "pull": PULL, "tag": TAG, "connect": CONNECT}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["type=container"], "create exec health"),
        (["type=container", "type=image"], "create exec health pull tag"),
        (["type=plugin"], ""),
        (["event=create", "event=pull"], "create pull"),
        (["event=exec_create"], "exec"),
        (["event=exec_create: ls -l"], "exec"),
        (["event=exec"], ""),
        (["event=health_status", "event=cre"], "create health"),
        (["event="], ""),
        ([f"container={ID[:4]}", "type=container"], "create exec health"),
        (["container=web-1"], "create exec"),
        (["container=web"], "create exec tag"),
        (["container=web-1", "container=db"], "create exec health"),
        (["network=none"], "connect"),
        (["volume=web-1"], "create exec"),
        (["image=busybox"], "create exec pull"),
        (["image=busybox:1.36"], "create exec pull"),
        (["image=busybox:1"], ""),
        ([f"image={IMAGE}"], "tag"),
        (["image=web"], "tag"),
        (["label=tier"], "create exec health"),
        (["label=tier=front"], "create exec"),
        (["label=tier=front", "label=image=busybox:1.36"], "create exec"),
        (["label=tier", "label=empty="], "health"),
        (["label=tier=front", "label=empty"], ""),
        (["scope=local"], "create exec health pull tag connect"),
        (["scope=swarm"], ""),
        (["type=container", "event=create", "label=tier=front"], "create"),
        ({"type": "image", "event": ["pull", "tag"]}, "pull tag"),
    ],
)
def test_choice(filters: list[str], expected: str) -> None:
    passes = chooser(filters)
    assert passes is not None
    assert [name for name, it in ALL.items() if passes(it)] == expected.split()


def test_none() -> None:
    assert chooser(None) is None
    assert chooser([]) is None
    assert chooser({}) is None


@pytest.mark.parametrize("wrong", ["foo=bar", "type=containers", "scope=world", "type", "id=a"])
def test_nonsense(wrong: str) -> None:
    with pytest.raises(InvalidArgument, match=wrong.split("=", maxsplit=1)[0]):
        chooser([wrong])
