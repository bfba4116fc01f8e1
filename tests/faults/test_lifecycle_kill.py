"""kill -9 of the caller at every step of every verb: the next call tells the truth, and others run on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots, wait_for
from tests.faults.lives import SOAK, gone, processes, supervisor
from tests.faults.state import assert_clean, cgroups
from tests.integration.verbs import started

STEPS = 300 if SOAK else 6
BEFORE = {
    "start": "created",
    "unpause": "paused",
    "rm": "exited",
    "run": "created",
    "run -d": "created",
    "run -o": "created",
}
"""How the container is before the verb; ``running`` is left out."""


class Zygote:
    """Does one verb in a process of its own, killed at a line."""

    def __init__(self, roots: Roots) -> None:
        command = [sys.executable, "-m", "tests.faults.zygote", str(roots.data), str(roots.run), str(roots.config)]
        env = {**os.environ, "PYTHONPATH": str(Path(minidock.__file__).parents[1])}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)

    def do(self, verb: str, container: minidock.Container, step: int = 0) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{verb}\t{container.id}\t{step}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture
def zygote(roots: Roots) -> Iterator[Zygote]:
    it = Zygote(roots)
    yield it
    it.close()


def _made(engine: minidock.Engine, verb: str, number: int) -> minidock.Container:
    command = ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.01; done"]
    container = engine.containers.create("busybox", command, name=f"{verb.replace(' ', '')}-{number}")
    before = BEFORE.get(verb, "running")
    if before != "created":
        container.start()
    if before == "paused":
        container.pause()
    if before == "exited":
        container.stop(timeout=0)
    return container


def _true(engine: minidock.Engine, container: minidock.Container) -> str:
    """What is said of a container, after a check of whether the kernel agrees; "" when it is gone."""
    end = time.monotonic() + 30
    while True:
        try:
            found = engine.containers.get(container.id)
        except errors.ContainerNotFound:
            return ""
        lies = _lies(engine, found)
        if not lies:
            return found.status
        assert time.monotonic() < end, (lies, found.state)
        time.sleep(0.01)  # it was just ending


def _lies(engine: minidock.Engine, found: minidock.Container) -> list[str]:
    """What is said of a container and is not so."""
    state = found.state
    lies = []
    if engine.containers.get(found.name).id != found.id:
        lies.append("its name is another's")
    if state.running != (state.pid != 0):
        lies.append("it runs without PID 1, or has one and does not run")
    if not state.running and Path(engine.run_root, "containers", found.id, "sock").exists():
        lies.append("its supervisor is there")
    if state.running and state.pid and (gone(state.pid) or state.pid not in processes(found)):
        lies.append("PID 1 is gone")
    return lies


ALLOWED = {
    "start": {"created", "exited", "running"},
    "stop": {"running", "exited"},
    "restart": {"running", "exited", "created"},
    "kill": {"running", "exited"},
    "pause": {"running", "paused"},
    "unpause": {"running", "paused"},
    "rename": {"running"},
    "update": {"running"},
    "rm": {"exited", "removing", "dead", ""},
    "rm -f": {"running", "exited", "removing", "dead", ""},
    "exec": {"running"},
    "exec -d": {"running"},
    "run": {"created"},
    "run -d": {"created"},
    "run -o": {"created"},
}


@pytest.mark.parametrize("verb", ALLOWED)
@pytest.mark.timeout(1800)
def test_caller_killed(
    engine: minidock.Engine, busybox: str, zygote: Zygote, cli: Cli, roots: Roots, verb: str
) -> None:
    rng = random.Random(verb)
    other = started(engine)
    pid = other.state.pid
    whole = _made(engine, verb, 0)
    lines = int(zygote.do(verb, whole))
    assert lines > 20
    steps = sorted({1, lines, *(rng.randrange(1, lines) for _ in range(STEPS - 2))})
    killed = 0
    for step in steps:
        container = _made(engine, verb, step)
        killed += zygote.do(verb, container, step) == "killed"
        wait_for(lambda it=container: _settled(engine, roots, it, verb), 30, f"the end of {verb} killed at {step}")  # type: ignore[misc]
        assert _true(engine, container) in ALLOWED[verb], step
        if verb == "rename":
            assert engine.containers.get(container.id).name.rstrip("x") == container.name
        if _true(engine, container):
            engine.containers.get(container.id).remove(force=True)
        assert _true(engine, container) == ""
    assert killed >= len(steps) // 2
    assert engine.containers.get(other.id).state.pid == pid
    for it in engine.containers.list(all=True):
        if it.record.host_config.auto_remove or it.record.owned:
            continue  # they go by themselves
        it.remove(force=True)
    assert_clean(cli, roots)


def _settled(engine: minidock.Engine, roots: Roots, container: minidock.Container, verb: str) -> bool:
    """Whether what a dead caller had asked of a supervisor is done, and what it had in the container is gone."""
    try:
        found = engine.containers.get(container.id)
    except errors.ContainerNotFound:
        return True
    if found.status == "running" and verb.startswith("exec"):
        return not any(folder.startswith("exec-") for top in cgroups(roots) for folder in os.listdir(top))
    return found.status != "created" or not (Path(engine.run_root, "containers", container.id)).exists()


def test_supervisor_killed_while_it_is_stopped_and_restarted(
    engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots
) -> None:
    """At random moments of stop, restart, rm -f and kill by a command."""
    rng = random.Random(7)
    other = started(engine)
    for number in range(120 if SOAK else 8):
        container = started(engine, name=f"c{number}")
        pid = supervisor(container, engine)
        verb = [["stop", "-t", "0"], ["restart", "-t", "0"], ["rm", "-f"], ["kill"]][number % 4]
        null = subprocess.DEVNULL
        process = cli.popen(*verb, container.id, stdin=null, stdout=null, stderr=null)
        wait_for(lambda pid=pid, process=process: gone(pid) or process.poll() is not None or rng.random() < 0.02, 30)  # type: ignore[misc]
        if not gone(pid):
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(pid, signal.SIGKILL)
        assert process.wait(timeout=60) in (0, 1)
        wait_for(lambda pid=pid: gone(pid), 30)  # type: ignore[misc]
        status = _true(engine, container)
        assert (
            status in {"stop": ("exited",), "restart": ("running", "exited"), "rm": ("",), "kill": ("exited",)}[verb[0]]
        )
        if status:
            engine.containers.get(container.id).remove(force=True)
    assert _true(engine, other) == "running"
    other.remove(force=True)
    assert_clean(cli, roots)
