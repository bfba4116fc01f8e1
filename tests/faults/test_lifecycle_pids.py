"""Numbers that mean another process now, another boot, clocks that jump: nobody else is touched, nothing hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock import errors
from minidock.containers import liveness
from tests.conftest import Cli, Roots, wait_for
from tests.faults.lives import gone, pid_file, stopped, supervisor
from tests.faults.state import assert_clean
from tests.integration.verbs import started, state


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process that has nothing to do with any container."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        assert process.poll() is None, "a process of somebody else's was killed"
        process.kill()


def _write(container: minidock.Container, engine: minidock.Engine, **changes: Any) -> None:
    path = Path(engine.run_root, "containers", container.id, "pid")
    path.write_text(json.dumps({**pid_file(container, engine), **changes}))


@pytest.mark.parametrize("case", ["another start time", "another boot", "no such process"])
def test_a_supervisor_s_number_is_another_s(
    engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, bystander: int, case: str
) -> None:
    container = started(engine)
    init, pid = container.state.pid, supervisor(container, engine)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid) and gone(init))
    changes: dict[str, Any] = {
        "another start time": {"supervisor": bystander, "supervisor_start": 1, "pid": bystander, "start_time": 2},
        "another boot": {
            "supervisor": bystander,
            "supervisor_start": liveness.start_time(bystander),
            "pid": bystander,
            "start_time": liveness.start_time(bystander),
            "boot_id": "00000000-0000-0000-0000-000000000000",
        },
        "no such process": {"supervisor": 4194304, "pid": 4194304},
    }[case]
    _write(container, engine, **changes)
    if case == "another boot":
        # Whoever had started it has not lived to see this boot.
        engine.lifecycle.modify(container.id, lambda record: setattr(record, "starter", None))
    found = state(container)
    assert (found["Status"], found["ExitCode"], found["Pid"]) == ("exited", 137, 0)
    container.start()
    assert state(container)["Running"] is True
    container.remove(force=True)
    assert_clean(cli, roots)


@pytest.mark.parametrize("verb", ["kill", "stop", "remove"])
def test_pid_1_s_number_is_another_s(
    engine: minidock.Engine,
    busybox: str,
    cli: Cli,
    roots: Roots,
    bystander: int,
    verb: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the engine goes around a supervisor, it never signals by number alone."""
    monkeypatch.setattr("minidock.containers.control.ANSWER_SECONDS", 0.2)
    container = started(engine)
    with stopped(supervisor(container, engine)):
        _write(container, engine, pid=bystander, start_time=1)
        if verb == "kill":
            with pytest.raises(errors.Conflict):
                container.kill()
        elif verb == "stop":
            container.stop(timeout=1)
        container.remove(force=True)
    assert_clean(cli, roots)


def test_a_pid_file_that_is_torn(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    container = started(engine)
    path = Path(engine.run_root, "containers", container.id, "pid")
    text = path.read_bytes()
    pid = supervisor(container, engine)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid))
    engine.lifecycle.modify(container.id, lambda record: setattr(record, "starter", None))
    for torn in (b"", text[:20], b"{}", b"\xff\xfe", b'{"supervisor":"x"}'):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(torn)
        assert state(container)["Status"] == "exited"
    container.remove(force=True)
    assert_clean(cli, roots)


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_clock_jumps(engine: minidock.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """Waits count on a clock that does not jump: the other one gains, or loses, 30 years at every look."""
    real, looks = time.time, 0

    def jumping() -> float:
        nonlocal looks
        looks += 1
        return real() + jump * (looks % 2)

    monkeypatch.setattr(time, "time", jumping)
    container = started(engine, ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
    with pytest.raises(errors.Timeout):
        container.wait(timeout=0.2)
    with pytest.raises(errors.Timeout):
        engine.containers.get(container.id).wait(timeout=0.2)
    begun = time.monotonic()
    container.stop(timeout=1)
    assert time.monotonic() - begun > 0.9
    assert state(container)["ExitCode"] == 137
    engine.containers.list(all=True)
