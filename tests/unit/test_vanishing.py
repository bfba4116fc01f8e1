"""The thread that sees clients go: each is told of its own, though descriptors' numbers come again."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator

import pytest

from minidock.server.vanishing import Watch


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    yield made
    made.close()


def test_a_client_that_goes(watch: Watch) -> None:
    here, there = socket.socketpair()
    gone = threading.Event()
    with here, watch.calling(here, gone.set):
        assert not gone.is_set()
        there.close()
        assert gone.wait(60)


def test_a_number_that_comes_again(watch: Watch) -> None:
    """What was seen of a descriptor is no word on the client who has its number a moment later."""
    here, there = socket.socketpair()
    gone = threading.Event()
    with here, there, watch.calling(here, gone.set):
        (fd,) = watch._calls
        looked = threading.Event()

        class Stale:
            def poll(self) -> list[tuple[int, int]]:
                if looked.is_set():
                    threading.Event().wait()
                looked.set()
                return [(fd, select.EPOLLRDHUP)]

            register = unregister = staticmethod(lambda *_: None)

        other = Watch.__new__(Watch)
        other.__dict__.update(watch.__dict__, _epoll=Stale())
        threading.Thread(target=other._run, daemon=True).start()
        assert looked.wait(60)
        assert not gone.wait(0.2)
        assert fd in watch._calls


def test_the_server_stops(watch: Watch) -> None:
    here, there = socket.socketpair()
    gone = threading.Event()
    with here, there, watch.calling(here, gone.set):
        watch.close()
        assert gone.is_set()
    late = threading.Event()
    here, there = socket.socketpair()
    with here, there, watch.calling(here, late.set):
        assert late.is_set()
