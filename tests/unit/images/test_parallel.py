"""Steps at a time: order, first failure, cancellation, interrupts; and blocking calls that are watched."""

import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.errors import Cancelled, Corrupt, LimitExceeded, Timeout
from minidock.images.parallel import run_all, watched
from minidock.registry.cancel import Cancel


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(-1, 6))
def test_results_in_order_and_never_more_at_a_time(pauses: list[int], workers: int) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def step(number: int, pause: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(pause / 1000)
        with lock:
            running -= 1
        return number

    steps = [lambda n=n, p=p: step(n, p) for n, p in enumerate(pauses)]  # type: ignore[misc]
    assert run_all(steps, workers, Cancel()) == list(range(len(pauses)))
    assert most <= max(1, workers)
    assert running == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.data())
def test_the_failure_is_raised_when_all_have_ended(count: int, data: st.DataObject) -> None:
    """Whichever step fails, its error comes out, not that of those which it cancels."""
    bad = data.draw(st.integers(0, count - 1))
    cancel = Cancel()
    ended = []

    def step(number: int) -> None:
        try:
            if number == bad:
                raise Corrupt("bad")
            while True:
                cancel.wait(0.005)
        finally:
            ended.append(number)

    with pytest.raises(Corrupt, match="bad"):
        run_all([lambda n=n: step(n) for n in range(count)], count, cancel)  # type: ignore[misc]
    before = sorted(ended)
    time.sleep(0.001)
    assert sorted(ended) == before
    assert bad in ended
    assert cancel.cancelled


def test_who_waits_is_not_the_cause() -> None:
    """A step that notices the cancellation before the failure is read."""
    cancel = Cancel()

    def notices() -> None:
        while True:
            cancel.wait(0.001)

    def fails() -> None:
        cancel.cancel()
        time.sleep(0.05)
        raise Corrupt("the cause")

    with pytest.raises(Corrupt, match="the cause"):
        run_all([notices, fails], 2, cancel)


def test_steps_that_have_not_begun_do_not() -> None:
    begun = []

    def step(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_all([lambda n=n: step(n) for n in range(50)], 1, Cancel())  # type: ignore[misc]
    assert begun[:2] == [0, 1]
    assert len(begun) < 50


def test_nothing_to_do() -> None:
    assert run_all([], 4, Cancel()) == []


def test_a_host_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", full)
    with pytest.raises(LimitExceeded, match="start a thread"):
        run_all([lambda: 1], 4, Cancel())
    with pytest.raises(LimitExceeded, match="start a thread"):
        watched(lambda: 1, lambda: None, Cancel(), lambda: None)


PROGRAM = """
import os, sys, threading, time
from minidock.images.parallel import run_all
from minidock.registry.cancel import Cancel
cancel, begun, ended = Cancel(), [], []
def step():
    begun.append(1)
    os.write(1, b"begun\\n")
    try:
        while True:
            cancel.wait(0.01)
    finally:
        time.sleep(0.05)
        ended.append(1)
def tell():
    os.write(1, b"%d of %d ended\\n" % (len(ended), len(begun)))
try:
    try:
        run_all([step] * 4, 4, cancel)
    except KeyboardInterrupt:
        tell()
except KeyboardInterrupt:  # the second one, when all had ended
    tell()
"""


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_at_any_moment(times: int) -> None:
    """Also while the first steps begin, and again while the others end: none is left working."""
    for pause in (0, 0.0005, 0.002, 0.01, 0.05):
        with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.read(6) == b"begun\n"
                for _ in range(times):
                    time.sleep(pause)
                    process.send_signal(signal.SIGINT)
                out, _ = process.communicate(timeout=30)
            finally:
                process.kill()
        assert process.returncode in (0, -signal.SIGINT)
        assert any(f"{n} of {n} ended" in out.decode() for n in range(1, 5)), out


def test_watched() -> None:
    stopped = threading.Event()
    ticks: list[int] = []

    def work() -> str:
        stopped.wait(0.35)
        return "done" if not stopped.is_set() else "stopped"

    assert watched(work, stopped.set, Cancel(), lambda: ticks.append(1)) == "done"
    assert ticks
    assert not stopped.is_set()
    with pytest.raises(ZeroDivisionError):
        watched(lambda: 1 // 0, stopped.set, Cancel(), lambda: None)
    for cancel, kind in ((Cancel(0.05), Timeout), (Cancel(), Cancelled)):
        stopped.clear()
        threading.Timer(0.05, cancel.cancel).start() if kind is Cancelled else None
        with pytest.raises(kind):
            watched(lambda: stopped.wait(20), stopped.set, cancel, lambda: None)
        assert stopped.is_set()
