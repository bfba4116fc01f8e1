"""Restart policies: which ends count, how often, and what ends them."""

from __future__ import annotations

import pytest

import minidock
from minidock.errors import InvalidArgument
from tests.conftest import Cli
from tests.integration.verbs import reaches, refused, started, state, trapping


def test_on_failure_as_often_as_it_says(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "exit 6"], restart="on-failure:2")
    reaches(container, "exited")
    found = state(container)
    assert (found["Status"], found["ExitCode"], found["Restarting"]) == ("exited", 6, False)
    assert container.attrs["RestartCount"] == 2
    container.start()
    reaches(container, "exited", 2)
    assert state(container)["ExitCode"] == 6
    assert container.wait() == 6


@pytest.mark.parametrize(
    ("policy", "script", "again"),
    [
        ("no", "exit 3", False),
        ("on-failure", "exit 0", False),
        ("on-failure", "exit 3", True),
        ("always", "exit 0", True),
        ("unless-stopped", "exit 0", True),
    ],
)
def test_which_ends_count(engine: minidock.Engine, busybox: str, policy: str, script: str, again: bool) -> None:
    container = started(engine, ["sh", "-c", script], restart=policy)
    if again:
        reaches(container, "restarting", 2)
        found = state(container)
        assert found["Status"] in ("restarting", "running")
        container.stop()
    else:
        container.wait(timeout=60)
    assert state(container)["Status"] == "exited"
    assert (container.attrs["RestartCount"] > 0) is again


def test_restarting(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "exit 5"], restart="always")
    reaches(container, "restarting", 6)  # it waits for six seconds now
    found = container.attrs["State"]
    assert (found["Running"], found["Restarting"], found["Paused"], found["Pid"], found["ExitCode"]) == (
        True,
        True,
        False,
        0,
        5,
    )
    assert container.summary().status.startswith("Restarting (5) ")
    container.start()  # it is being started
    assert engine.containers.list(filters={"status": "restarting"}) == [container]
    container.stop()


def test_its_writable_layer_stays(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "echo x >> /runs; [ $(wc -l < /runs) = 3 ]"], restart="on-failure:10")
    reaches(container, "exited")
    assert container.wait() == 0
    assert container.attrs["RestartCount"] == 2


def test_a_stopped_one_runs_again_when_it_is_started(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine, restart="unless-stopped")
    container.stop()
    assert state(container)["Status"] == "exited"
    container.start()
    assert state(container)["Status"] == "running"


def test_rm_by_force_ends_it(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "exit 5"], restart="always")
    reaches(container, "restarting", 2)
    container.remove(force=True)
    assert engine.containers.list(all=True) == []


def test_nothing_is_made_for_a_policy_that_makes_no_sense(engine: minidock.Engine, busybox: str) -> None:
    for options in ({"restart": "sometimes"}, {"restart": "always:3"}, {"restart": "always", "remove": True}):
        with pytest.raises(InvalidArgument):
            engine.containers.create(busybox, ["true"], **options)  # type: ignore[arg-type]
    assert engine.containers.list(all=True) == []


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    form = "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"
    for policy, shown in (
        ("no", "no 0"),
        ("", "no 0"),
        ("always", "always 0"),
        ("unless-stopped", "unless-stopped 0"),
        ("on-failure", "on-failure 0"),
        ("on-failure:5", "on-failure 5"),
    ):
        made = cli.ok("create", "--restart", policy, "busybox", "true").strip()
        assert cli.ok("inspect", "-f", form, made) == shown + "\n"
    for policy, words in (
        ("nope", "unknown policy 'nope'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"),
        ("on-failure:x", "maximum retry count must be an integer"),
        ("on-failure:-1", "maximum retry count cannot be negative"),
        ("always:3", "maximum retry count can only be used with 'on-failure'"),
        (":3", "no policy provided before colon"),
    ):
        assert words in refused(cli, "run", "-d", "--restart", policy, "busybox", "true", code=125)
    text = refused(cli, "run", "-d", "--rm", "--restart", "always", "busybox", "true", code=125)
    assert text == "conflicting options: cannot specify both --restart and --rm"
