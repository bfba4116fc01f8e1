"""What a build tells waits for its reader, but not for ever, and not without bounds."""

from __future__ import annotations

import threading

import pytest

from minidock.build import backlog
from minidock.build.backlog import Backlog
from minidock.build.events import Output, Step


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> tuple[Backlog, threading.Thread, Output]:
    """One that has all it holds, and a thread that has one more."""
    monkeypatch.setattr(backlog, "HELD", 1000)
    waiting = Backlog()
    event = Output(Step(1, "b"), b"x" * 2000, 0.0)
    waiting.put(event)
    writer = threading.Thread(target=waiting.put, args=(event,), daemon=True)
    writer.start()
    writer.join(0.2)
    assert writer.is_alive()
    return waiting, writer, event


def test_reading_makes_room(full: tuple[Backlog, threading.Thread, Output]) -> None:
    waiting, writer, event = full
    waiting.put(None)  # the end is not held back
    assert waiting.get() is event
    writer.join(60)
    assert not writer.is_alive()
    assert [waiting.get(), waiting.get()] == [None, event]


def test_freed(full: tuple[Backlog, threading.Thread, Output]) -> None:
    waiting, writer, event = full
    waiting.free()
    writer.join(60)
    assert not writer.is_alive()
    waiting.put(event)
    assert [waiting.get() for _ in range(3)] == [event] * 3
