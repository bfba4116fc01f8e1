"""Health checks: states, log, events, what is done about it, and waits for it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock import errors
from minidock.containers import liveness
from minidock.containers.container import Container
from tests.conftest import Cli, Roots, security_module, wait_for
from tests.rootfs import busybox_tar

CHECK = "echo out; echo err >&2; exit $(cat /tmp/code 2>/dev/null || echo 0)"


def start(engine: minidock.Engine, image: str = "busybox", **options: Any) -> Container:
    options = {"health_cmd": CHECK, "health_interval": 0.2, "health_retries": 2, "stop_timeout": 0, **options}
    container = engine.containers.create(image, ["sleep", "1000"], **options)
    container.start()
    return container


def health(container: Container) -> dict[str, Any]:
    container.reload()
    found: dict[str, Any] = container.attrs["State"]["Health"]
    return found


def becomes(container: Container, status: str) -> None:
    wait_for(lambda: health(container)["Status"] == status, 30, status)


def events(engine: minidock.Engine, container: Container) -> list[str]:
    found = engine.events(since=0, until=time.time(), filters={"container": container.id})
    return [event.action for event in found]


def test_states_and_log(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "1000"], health_cmd=CHECK, health_interval="200ms")
    assert "Health" not in container.attrs["State"]
    container.start()
    assert health(container)["Status"] in ("starting", "healthy")
    becomes(container, "healthy")
    found = health(container)
    assert found["FailingStreak"] == 0
    first = found["Log"][0]
    assert (first["ExitCode"], sorted(first["Output"].split())) == (0, ["err", "out"])
    assert first["Start"] < first["End"]
    assert container.summary().status.endswith("(healthy)")
    assert [c.id for c in engine.containers.list(filters={"health": "healthy"})] == [container.id]
    container.exec(["sh", "-c", "echo 3 > /tmp/code"], check=True)
    becomes(container, "unhealthy")
    found = health(container)
    assert found["FailingStreak"] >= 3
    assert found["Log"][-1]["ExitCode"] == 3
    assert container.summary().status.endswith("(unhealthy)")
    wait_for(lambda: len(health(container)["Log"]) == 5, 30)
    container.exec(["rm", "/tmp/code"], check=True)
    becomes(container, "healthy")
    container.kill()
    container.wait()
    ended = health(container)
    assert (ended["Status"], len(ended["Log"])) == ("unhealthy", 5)
    # What was logged stays over a start; the status does not.
    container.start()
    again = health(container)
    assert again["Status"] in ("starting", "healthy")
    assert len(again["Log"]) == 5


def test_output_is_cut(engine: minidock.Engine, busybox: str) -> None:
    container = start(engine, health_cmd="head -c 100000 /dev/zero | tr '\\0' x")
    becomes(container, "healthy")
    assert health(container)["Log"][0]["Output"] == "x" * 4096 + "..."
    binary = start(engine, health_cmd="printf 'a\\377b'")
    becomes(binary, "healthy")
    assert health(binary)["Log"][0]["Output"] == "a\ufffdb"


def test_a_check_that_hangs_is_killed_with_all_it_has_started(engine: minidock.Engine, busybox: str) -> None:
    container = start(engine, health_cmd="echo slow; setsid sleep 701 & sleep 702", health_timeout=2)
    becomes(container, "unhealthy")
    last = health(container)["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (-1, "Health check exceeded timeout (2s): slow\n")
    container.pause()  # no new check meanwhile
    container.unpause()

    def sleeping() -> int:
        lines = container.exec(["ps", "-o", "stat,args"]).stdout.decode().splitlines()
        return sum("sleep" in line and not line.startswith("Z") for line in lines)  # PID 1 reaps nobody

    wait_for(lambda: sleeping() <= 3)


@pytest.mark.parametrize(
    ("test", "code"), [(["CMD", "nope"], -1), (["CMD", "sh", "-c", "exit 9"], 9), (["CMD-SHELL", "kill -9 $$"], 137)]
)
def test_commands(engine: minidock.Engine, busybox: str, test: list[str], code: int) -> None:
    container = start(engine, health_cmd="", healthcheck={"test": test})
    becomes(container, "unhealthy")
    assert health(container)["Log"][-1]["ExitCode"] == code


def test_a_check_is_as_the_containers_command(engine: minidock.Engine, busybox: str) -> None:
    container = start(
        engine,
        health_cmd="id -u; pwd; echo $A $HOME; grep -E 'CapBnd|Seccomp:' /proc/self/status",
        user="app",
        working_dir="/tmp",
        environment=["A=1"],
        cap_drop=["ALL"],
    )
    becomes(container, "healthy")
    words = health(container)["Log"][0]["Output"].split()
    assert words == ["1000", "/tmp", "1", "/home/app", "CapBnd:", "0000000000000000", "Seccomp:", "2"]


def test_of_the_image_and_what_overrides_it(engine: minidock.Engine) -> None:
    changes = ['CMD ["sleep", "1000"]', "HEALTHCHECK --interval=1h --timeout=7s --retries=5 CMD exit 4"]
    engine.images.import_(str(busybox_tar()), repository="checked", changes=changes)
    container = engine.containers.create("checked", health_interval="200ms", health_retries=1)
    check = container.attrs["Config"]["Healthcheck"]
    assert check == {
        "Test": ["CMD-SHELL", "exit 4"],
        "Interval": 200_000_000,
        "Timeout": 7_000_000_000,
        "Retries": 1,
    }
    container.start()
    becomes(container, "unhealthy")
    plain = engine.containers.create("checked")
    assert plain.attrs["Config"]["Healthcheck"]["Interval"] == 3600 * 10**9
    none = engine.containers.create("checked", no_healthcheck=True)
    assert none.attrs["Config"]["Healthcheck"]["Test"] == ["NONE"]
    none.start()
    none.reload()
    assert "Health" not in none.attrs["State"]
    assert none.wait(timeout=60, condition="healthy") == 0


def test_the_start_period(engine: minidock.Engine, busybox: str) -> None:
    container = start(engine, health_start_period=60, health_start_interval=0.1, health_interval=3600)
    becomes(container, "healthy")
    failing = start(
        engine, health_cmd="exit 1", health_start_period=60, health_start_interval=0.1, health_interval=3600
    )
    wait_for(lambda: len(health(failing)["Log"]) == 5, 30)
    assert (health(failing)["Status"], health(failing)["FailingStreak"]) == ("starting", 0)
    assert failing.summary().status.endswith("(health: starting)")


def test_no_checks_while_paused(engine: minidock.Engine, busybox: str) -> None:
    container = start(engine)
    becomes(container, "healthy")
    container.pause()
    before = health(container)
    assert before["Status"] == "unhealthy"  # as Docker says
    time.sleep(1)
    after = health(container)
    assert after["Log"][-1]["End"] == before["Log"][-1]["End"] or len(after["Log"]) <= len(before["Log"]) + 1
    assert after["FailingStreak"] == 0
    container.unpause()
    becomes(container, "healthy")


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_unhealthy_is_the_end(engine: minidock.Engine, busybox: str, action: str) -> None:
    container = start(engine, health_cmd="exit 1", health_on_failure=action)
    assert container.wait(timeout=60) == 137  # sleep as PID 1 does not hear SIGTERM
    assert health(container)["Status"] == "unhealthy"
    assert "health_status: unhealthy" in events(engine, container)


def test_unhealthy_is_a_restart(engine: minidock.Engine, busybox: str) -> None:
    script = "echo run >> /runs; if [ $(wc -l < /runs) -gt 1 ]; then touch /good; fi; exec sleep 1000"
    container = engine.containers.create(
        busybox,
        ["sh", "-c", script],
        health_cmd="test -e /good",
        health_interval=0.2,
        health_retries=2,
        health_on_failure="restart",
        stop_timeout=0,
    )
    container.start()
    becomes(container, "healthy")
    assert container.record.restart_count == 1
    assert container.exec(["cat", "/runs"]).stdout == b"run\nrun\n"
    container.stop(timeout=0)
    container.reload()
    assert container.status == "exited"


def test_events(engine: minidock.Engine, busybox: str) -> None:
    container = start(engine)
    becomes(container, "healthy")
    container.exec(["sh", "-c", "echo 1 > /tmp/code"])
    becomes(container, "unhealthy")
    wait_for(lambda: "health_status: unhealthy" in events(engine, container))
    changes = [action for action in events(engine, container) if action.startswith("health_status")]
    assert changes == ["health_status: healthy", "health_status: unhealthy"]


def test_waits(engine: minidock.Engine, busybox: str) -> None:
    assert start(engine).wait(timeout=30, condition="healthy") == 0
    with pytest.raises(errors.SystemFailure, match="is unhealthy"):
        start(engine, health_cmd="exit 1").wait(timeout=30, condition="healthy")
    with pytest.raises(errors.Timeout):
        start(engine, health_interval=3600).wait(timeout=0.3, condition="healthy")
    short = engine.containers.create(busybox, ["sleep", "0.3"], health_cmd="true", health_interval=3600)
    short.start()
    with pytest.raises(errors.Conflict, match="before it was healthy"):
        short.wait(timeout=30, condition="healthy")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"no_healthcheck": True, "health_cmd": "true"}, "--no-healthcheck conflicts with --health-"),
        ({"health_cmd": "true", "no_healthcheck": True}, "--no-healthcheck conflicts with --health-"),
        ({"health_cmd": "true", "health_interval": -1}, "health_interval: it cannot be negative"),
        ({"health_cmd": "true", "health_interval": "soon"}, "health_interval: time: invalid duration 'soon'"),
        ({"health_cmd": "true", "health_interval": "10us"}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"health_cmd": "true", "health_timeout": 1e-9}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"health_cmd": "true", "health_retries": -1}, "health_retries: it cannot be negative"),
        ({"health_cmd": "a\0b"}, "NUL"),
        ({"health_cmd": "true", "health_on_failure": "shout"}, "invalid action"),
        ({"health_on_failure": "kill"}, "there is no health check"),
        ({"healthcheck": {"tset": "true"}}, "unknown key"),
        ({"healthcheck": ["true"]}, "makes no sense"),
    ],
)
def test_options_that_make_no_sense(engine: minidock.Engine, busybox: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=text):
        engine.containers.create(busybox, ["true"], **options)
    assert engine.containers.list(all=True) == []


def test_a_killed_supervisor_takes_its_check_along(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    container = start(engine, health_cmd="sleep 703")
    wait_for(lambda: b"sleep" in container.exec(["ps", "-o", "args"]).stdout.replace(b"sleep 1000", b""), 30)
    file = liveness.pid_file(engine.lifecycle.paths.run_container(container.id))
    assert file is not None
    os.kill(file.supervisor, signal.SIGKILL)

    def left() -> list[str]:
        mark = roots.cgroup_parent
        lines = [Path(f"/proc/{p}/cgroup") for p in os.listdir("/proc") if p.isdigit()]
        return [str(line) for line in lines if line.exists() and mark in _text(line)]

    if not security_module():
        wait_for(lambda: left() == [])
    container.reload()
    wait_for(lambda: left() == [])
    assert (container.status, container.state.exit_code) == ("exited", 137)
    assert health(container)["Status"] == "unhealthy"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_the_command_line(cli_busybox: Cli) -> None:
    cli = cli_busybox
    flags = ("--health-interval", "200ms", "--health-retries", "2", "--health-timeout", "5s")
    name = cli.ok("run", "-d", "--wait", "--name", "good", "--health-cmd", "true", *flags, "busybox", "sleep", "1000")
    assert json.loads(cli.ok("inspect", name.strip()))[0]["State"]["Health"]["Status"] == "healthy"
    assert cli.ok("ps", "--format", "{{.Status}}").strip().endswith("(healthy)")
    assert cli.ok("wait", "--condition", "healthy", "good") == "0\n"
    bad = cli("run", "-d", "--wait", "--name", "bad", "--health-cmd", "exit 1", *flags, "busybox", "sleep", "1000")
    assert bad.returncode != 0
    assert b"is unhealthy" in bad.stderr
    assert cli.ok("run", "-d", "--wait", "--name", "plain", "busybox", "sleep", "1000").strip()
    ends = cli("run", "-d", "--wait", "--name", "ends", "--health-cmd", "true", "busybox", "sleep", "0.2")
    assert ends.returncode != 0
    assert b"before it was healthy" in ends.stderr
    alone = cli("run", "--wait", "busybox", "true")
    assert (alone.returncode, alone.stderr) == (1, b"minidock: --wait needs --detach\n")
    both = cli("create", "--no-healthcheck", "--health-cmd", "true", "busybox", "true")
    assert both.returncode == 1
    assert b"--no-healthcheck conflicts with --health-" in both.stderr
    for container in ("good", "bad", "plain", "ends"):
        cli.ok("rm", "-f", container)
