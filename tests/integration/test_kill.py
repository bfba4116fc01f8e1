"""``kill``."""

from __future__ import annotations

import pytest

import minidock
from minidock.errors import Conflict, InvalidArgument
from tests.conftest import Cli
from tests.integration.verbs import reaches, refused, started, state, trapping


@pytest.mark.parametrize(
    ("signal", "code"),
    [("KILL", 137), ("SIGKILL", 137), (9, 137), ("9", 137), ("term", 7), ("SIGUSR1", 8), (10, 8), (None, 137)],
)
def test_signals(engine: minidock.Engine, busybox: str, signal: str | int | None, code: int) -> None:
    container = trapping(engine)
    if signal is None:
        container.kill()
    else:
        container.kill(signal)
    assert container.wait(timeout=60) == code
    found = state(container)
    assert (found["Status"], found["ExitCode"], found["OOMKilled"]) == ("exited", code, False)


def test_what_it_ignores(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine)
    for signal in ("INT", "CONT", "WINCH"):
        container.kill(signal)
    assert state(container)["Status"] == "running"


def test_states(engine: minidock.Engine, busybox: str) -> None:
    created = engine.containers.create(busybox, ["true"])
    exited = started(engine, ["true"])
    exited.wait()
    for container in (created, exited):
        before = state(container)
        with pytest.raises(Conflict, match=f"cannot kill container: {container.id}: .*is not running"):
            container.kill()
        assert state(container) == before


def test_paused(engine: minidock.Engine, busybox: str) -> None:
    """As in Docker: what would stop it lets it run again, so that it can take the signal."""
    container = started(engine)
    container.pause()
    container.kill()
    assert container.wait(timeout=60) == 137
    other = started(engine)
    other.pause()
    other.kill("USR1")
    found = state(other)
    assert (found["Status"], found["Paused"]) == ("running", False)
    own = started(engine, stop_signal="HUP")
    own.pause()
    own.kill("USR1")
    assert state(own)["Status"] == "paused"


def test_it_stays_dead(engine: minidock.Engine, busybox: str) -> None:
    for policy in ("always", "unless-stopped", "on-failure"):
        container = started(engine, restart=policy)
        container.kill()
        assert container.wait(timeout=60) == 137
        assert state(container)["Status"] == "exited"
        assert container.attrs["RestartCount"] == 0


def test_a_signal_that_is_not_the_stop_signal_does_not_stop_restarts(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine, restart="always", stop_signal="TERM")
    container.kill("USR1")
    reaches(container, "running", 1)
    container.stop()


def test_restarting(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "exit 5"], restart="always")
    reaches(container, "restarting", 3)
    container.kill()
    reaches(container, "exited")
    assert state(container)["ExitCode"] == 5


@pytest.mark.parametrize("signal", ["nope", "0", "65", "", "-1", "SIG", "RTMIN+99", "9\0", 0, -9, 999])
def test_nonsense(engine: minidock.Engine, busybox: str, signal: str | int) -> None:
    container = started(engine)
    with pytest.raises(InvalidArgument, match=r"invalid signal|does not support signal"):
        container.kill(signal)
    assert state(container)["Status"] == "running"


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    trapping(engine, name="one")
    engine.containers.create("busybox", ["true"], name="two")
    done = cli("kill", "-s", "CONT", "one", "nope", "two", "one")
    assert (done.returncode, done.stdout) == (1, b"one\none\n")
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "minidock: no such container: nope"
    assert lines[1].startswith("minidock: cannot kill container: ")
    assert lines[1].endswith("is not running")
    assert cli.ok("kill", "--signal=USR1", "one") == "one\n"
    assert cli.ok("wait", "one") == "8\n"
    started(engine, name="three")
    assert cli.ok("container", "kill", "-s", "", "three") == "three\n"
    assert cli.ok("wait", "three") == "137\n"
    assert "requires at least 1 argument" in refused(cli, "kill")
    assert "invalid signal: nope" in refused(cli, "kill", "-s", "nope", "two")
    assert "the linux daemon does not support signal 99" in refused(cli, "kill", "-s", "99", "two")
