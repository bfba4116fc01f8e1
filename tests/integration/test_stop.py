"""``stop``."""

from __future__ import annotations

import pytest

import minidock
from minidock.errors import ContainerNotFound, InvalidArgument
from tests.conftest import Cli
from tests.integration.verbs import reaches, ready, refused, started, state, trapping


def test_stop_signal_ends_it(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine)
    container.stop()
    found = state(container)
    assert (found["Status"], found["ExitCode"], found["Pid"], found["Running"]) == ("exited", 7, 0, False)
    assert found["FinishedAt"] > found["StartedAt"]
    assert container.wait() == 7


@pytest.mark.parametrize(
    ("options", "arguments", "code"),
    [
        ({}, {"signal": "USR1"}, 8),
        ({}, {"signal": 10}, 8),
        ({"stop_signal": "SIGUSR1"}, {}, 8),
        ({"stop_signal": "USR1"}, {"signal": "SIGTERM"}, 7),
        ({}, {"signal": "KILL"}, 137),
        ({"stop_signal": "INT"}, {"timeout": 0}, 137),
        ({"stop_signal": "INT", "stop_timeout": 0}, {}, 137),
        ({"stop_signal": "INT"}, {"timeout": 1}, 137),
        ({"stop_timeout": 0}, {"timeout": -1}, 7),
        ({}, {"timeout": 99999999999999}, 7),
    ],
)
def test_signals_and_times(
    engine: minidock.Engine, busybox: str, options: dict[str, object], arguments: dict[str, object], code: int
) -> None:
    container = trapping(engine, **options)
    container.stop(**arguments)  # type: ignore[arg-type]
    assert (container.status, container.state.exit_code) == ("exited", code)


@pytest.mark.parametrize(("signal", "number"), [("SIGRTMIN+3", 37), ("SIGRTMIN", 34), ("SIGRTMAX", 64)])
def test_real_time_signals_get_through_init(engine: minidock.Engine, busybox: str, signal: str, number: int) -> None:
    """systemd in a container, for one, is stopped by such a signal; and init outlives whoever dies of one."""
    script = f'trap "exit 9" {number}; sh -c "kill -{number} \\$\\$"; touch /ready; while :; do sleep 0.02; done'
    container = started(engine, ["sh", "-c", script], init=True, stop_signal=signal)
    ready(container)
    container.stop()
    assert state(container)["ExitCode"] == 9
    untrapped = started(engine, ["sh", "-c", "touch /ready; exec sleep 1000"], init=True, stop_signal=signal)
    ready(untrapped)
    untrapped.stop()
    assert state(untrapped)["ExitCode"] == 128 + number


def test_what_does_not_run_stays_as_it_is(engine: minidock.Engine, busybox: str) -> None:
    created = engine.containers.create(busybox, ["true"])
    before = state(created)
    created.stop()
    assert state(created) == before
    exited = started(engine, ["sh", "-c", "exit 3"])
    exited.wait()
    before = state(exited)
    exited.stop()
    exited.stop(timeout=0)
    assert state(exited) == before


def test_a_paused_container_is_stopped(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine)
    container.pause()
    container.stop(timeout=1)
    found = state(container)
    assert (found["Status"], found["Paused"]) == ("exited", False)
    assert found["ExitCode"] in (7, 137)


def test_a_restarting_container_is_stopped(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "exit 5"], restart="always")
    reaches(container, "restarting", 3)
    container.stop()
    count = container.attrs["RestartCount"]
    found = state(container)
    assert (found["Status"], found["ExitCode"], found["Restarting"], found["Running"]) == ("exited", 5, False, False)
    assert container.wait() == 5
    assert container.attrs["RestartCount"] == count


def test_a_policy_does_not_bring_it_back(engine: minidock.Engine, busybox: str) -> None:
    for policy in ("always", "unless-stopped", "on-failure"):
        container = trapping(engine, restart=policy)
        container.stop()
        found = state(container)
        assert (found["Status"], found["ExitCode"]) == ("exited", 7)
        assert container.attrs["RestartCount"] == 0


def test_a_container_to_be_removed_goes(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine, remove=True)
    container.stop()
    assert (container.status, container.state.running, container.state.pid) == ("exited", False, 0)
    with pytest.raises(ContainerNotFound):
        engine.containers.get(container.id)


@pytest.mark.parametrize("signal", ["nope", "0", "65", "", "-1", "SIG", "RTMIN+99", 0, -1, 999])
def test_nonsense_signals(engine: minidock.Engine, busybox: str, signal: str | int) -> None:
    container = started(engine)
    with pytest.raises(InvalidArgument, match=r"invalid signal|does not support signal"):
        container.stop(signal=signal)
    assert state(container)["Status"] == "running"


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    trapping(engine, name="one")
    engine.containers.create("busybox", ["true"], name="two")
    done = cli("stop", "one", "nope", "two", "one")
    assert (done.returncode, done.stdout) == (1, b"one\ntwo\none\n")
    assert done.stderr == b"minidock: no such container: nope\n"
    assert cli.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "one", "two") == "exited 7\ncreated 0\n"
    assert cli.ok("stop", "one") == "one\n"


@pytest.mark.parametrize(
    "flags", [["-t", "0"], ["--timeout=0"], ["--time", "0"], ["-t0"], ["-s", "KILL"], ["--signal=9", "-t", "-1"]]
)
def test_flags(cli_busybox: Cli, engine: minidock.Engine, flags: list[str]) -> None:
    started(engine, name="one")
    assert cli_busybox.ok("container", "stop", *flags, "one") == "one\n"
    assert cli_busybox.ok("inspect", "-f", "{{.State.ExitCode}}", "one") == "137\n"


def test_nonsense_on_the_command_line(cli_busybox: Cli, engine: minidock.Engine) -> None:
    container = started(engine, name="one")
    cli = cli_busybox
    assert "requires at least 1 argument" in refused(cli, "stop")
    assert 'invalid argument "abc" for "-t, --timeout" flag' in refused(cli, "stop", "-t", "abc", "one", code=125)
    assert "value out of range" in refused(cli, "stop", "-t", "9" * 30, "one", code=125)
    assert "flag needs an argument: 't' in -t" in refused(cli, "stop", "-t", code=125)
    assert "unknown flag: --nonsense" in refused(cli, "stop", "--nonsense", "one", code=125)
    assert "invalid signal: nope" in refused(cli, "stop", "-s", "nope", "one")
    assert "invalid signal: 0" in refused(cli, "stop", "-s", "0", "one")
    assert refused(cli, "stop", "no such name") == "no such container: no such name"
    assert refused(cli, "stop", "") == "no such container: "
    assert state(container)["Status"] == "running"
