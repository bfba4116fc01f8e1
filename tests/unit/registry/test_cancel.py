"""The switch that ends operations."""

import threading
import time

import pytest

from minidock.errors import Cancelled, Timeout
from minidock.registry.cancel import Cancel


def test_all_who_wait_hear_it() -> None:
    cancel, heard = Cancel(), []

    def wait() -> None:
        try:
            cancel.wait(30)
        except Cancelled:
            heard.append(1)

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        cancel.cancel()
    for thread in threads:
        thread.join(60)
    assert len(heard) == 20
    assert cancel.cancelled
    for _ in range(3):
        with pytest.raises(Cancelled):
            cancel.wait(30)
        with pytest.raises(Cancelled):
            cancel.check()


def test_without_it_waits_end_by_themselves() -> None:
    cancel = Cancel()
    for seconds in (0, 0.001, -1):
        cancel.wait(seconds)
    cancel.check()
    assert cancel.remaining() is None
    assert not cancel.cancelled


def test_deadline() -> None:
    cancel = Cancel(0.05)
    remaining = cancel.remaining()
    assert remaining is not None
    assert 0 <= remaining <= 0.05
    with pytest.raises(Timeout, match=r"not done within 0\.05 s"):
        cancel.wait(30)
    with pytest.raises(Timeout):
        cancel.check()
    assert cancel.remaining() == 0
    cancel.cancel()
    with pytest.raises(Cancelled):
        cancel.check()
    with pytest.raises(Timeout):
        Cancel(0).check()


def test_many_at_once() -> None:
    """Switched in the middle of short waits of many threads: none misses it."""
    for _ in range(30):
        cancel, ended = Cancel(), []

        def work(cancel: Cancel = cancel, ended: list[int] = ended) -> None:
            try:
                while True:
                    cancel.wait(0.0005)
            except Cancelled:
                ended.append(1)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.003)
        cancel.cancel()
        for thread in threads:
            thread.join(60)
        assert len(ended) == 6
