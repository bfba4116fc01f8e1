"""``restart``."""

from __future__ import annotations

import pytest

import minidock
from minidock.errors import InvalidArgument
from tests.conftest import Cli
from tests.integration.verbs import reaches, ready, refused, started, state, trapping


def test_another_process_in_the_same_container(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine)
    before = state(container)
    container.restart()
    after = state(container)
    assert after["Status"] == "running"
    assert after["Pid"] != before["Pid"]
    assert after["FinishedAt"] > before["StartedAt"]
    assert after["StartedAt"] > after["FinishedAt"]
    assert container.attrs["RestartCount"] == 0
    ready(container)  # what was written is still there
    container.restart(timeout=0, signal="USR1")
    assert state(container)["Status"] == "running"


def test_what_does_not_run_is_started(engine: minidock.Engine, busybox: str) -> None:
    created = engine.containers.create(busybox, ["sleep", "1000"])
    created.restart()
    assert state(created)["Status"] == "running"
    exited = started(engine, ["sh", "-c", "exit 3"])
    exited.wait()
    first = state(exited)["StartedAt"]
    exited.restart()
    assert exited.wait() == 3
    assert state(exited)["StartedAt"] > first


def test_paused_and_restarting(engine: minidock.Engine, busybox: str) -> None:
    paused = started(engine)
    paused.pause()
    paused.restart(timeout=0)
    found = state(paused)
    assert (found["Status"], found["Paused"]) == ("running", False)
    looping = started(engine, ["sh", "-c", "exit 5"], restart="always")
    reaches(looping, "restarting", 3)
    looping.restart()
    reaches(looping, "restarting", 1)
    looping.stop()


def test_its_policy_holds_on(engine: minidock.Engine, busybox: str) -> None:
    """A restart is no stop: what the policy says afterwards still holds."""
    container = started(engine, ["sh", "-c", "sleep 0.1; exit 5"], restart="always")
    container.restart(timeout=0)
    reaches(container, "restarting", 1)
    container.stop()


def test_nonsense(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine)
    pid = state(container)["Pid"]
    with pytest.raises(InvalidArgument, match="invalid signal: nope"):
        container.restart(signal="nope")
    assert state(container)["Pid"] == pid


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    started(engine, name="one")
    engine.containers.create("busybox", ["sleep", "1000"], name="two")
    done = cli("restart", "-t", "0", "one", "nope", "two")
    assert (done.returncode, done.stdout) == (1, b"one\ntwo\n")
    assert done.stderr == b"minidock: no such container: nope\n"
    assert cli.ok("ps", "--format", "{{.Names}}").split() == ["two", "one"]
    assert "requires at least 1 argument" in refused(cli, "restart")
    assert 'invalid argument "x" for "-t, --timeout" flag' in refused(cli, "restart", "-t", "x", "one", code=125)
    assert "invalid signal: nope" in refused(cli, "restart", "-s", "nope", "one")
