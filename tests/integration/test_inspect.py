"""``inspect``: what is known of a container, in each state, and what its last run used."""

from __future__ import annotations

import json
import os
from typing import Any

import minidock
from tests.conftest import Cli, wait_for
from tests.integration.verbs import reaches, started, state

FILES = ("ResolvConfPath", "HostnamePath", "HostsPath", "LogPath")


def document(container: minidock.Container) -> dict[str, Any]:
    container.reload()
    return container.attrs


def test_states(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sh", "-c", "sleep 1000", "x y"], name="one")
    found = document(container)
    assert (found["Name"], found["Path"], found["Args"]) == ("/one", "sh", ["-c", "sleep 1000", "x y"])
    assert found["State"] == {
        **{"Status": "created", "Running": False, "Paused": False, "Restarting": False, "OOMKilled": False},
        **{"Dead": False, "Pid": 0, "ExitCode": 0, "Error": ""},
        **{"StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"},
    }
    # Docker: these are there once it was started.
    assert [found[name] for name in FILES] == ["", "", "", ""]
    container.start()
    found = document(container)
    assert found["State"]["Status"] == "running"
    assert found["State"]["Running"]
    assert os.path.exists(f"/proc/{found['State']['Pid']}")
    assert all(os.path.exists(found[name]) for name in FILES)
    container.pause()
    found = state(container)
    assert (found["Status"], found["Running"], found["Paused"]) == ("paused", True, True)
    container.kill()
    container.wait(30)
    found = document(container)
    assert (found["State"]["Status"], found["State"]["Running"], found["State"]["Paused"]) == ("exited", False, False)
    assert (found["State"]["Pid"], found["State"]["ExitCode"]) == (0, 137)
    assert all(os.path.exists(found[name]) for name in FILES)


def test_restarts(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "exit 4"], restart="on-failure:2")
    reaches(container, "exited", 2)
    found = document(container)
    assert found["RestartCount"] == 2
    assert found["State"]["ExitCode"] == 4
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}


def test_execs(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine)
    assert document(container)["ExecIDs"] is None
    one = container.exec(["sleep", "1000"], detach=True)
    assert document(container)["ExecIDs"] == [one.id]
    container.kill()
    container.wait(30)
    assert document(container)["ExecIDs"] is None


def test_logs(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    config = document(container)["HostConfig"]["LogConfig"]
    assert config["Type"] == "json-file"
    assert engine.containers.create(busybox, log_driver="none").attrs["HostConfig"]["LogConfig"]["Type"] == "none"


def test_where_the_files_are(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    driver = document(container)["GraphDriver"]
    assert driver["Data"]["ID"] == container.id
    for name, path in driver["Data"].items():
        if name != "ID":
            assert all(os.path.isdir(one) for one in path.split(":")), name


def test_sizes(engine: minidock.Engine, busybox: str, cli: Cli) -> None:
    container = started(engine, ["sh", "-c", "head -c 5000 /dev/zero > /x"], name="one")
    container.wait(30)
    assert "SizeRw" not in document(container)
    found = json.loads(cli.ok("inspect", "-s", "one"))[0]
    assert found["SizeRw"] == 5000
    assert found["SizeRootFs"] > 5000 + 1_000_000


def test_usage(engine: minidock.Engine, busybox: str, cli: Cli) -> None:
    """What a run used is known when it is over, and forgotten when the next one begins."""
    script = (
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=16; touch /ready; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    )
    container = engine.containers.create(busybox, ["sh", "-c", f"{script}; sleep 1000"], name="one", mem_limit="64m")
    assert container.usage is None
    container.start()
    wait_for(lambda: os.path.exists(f"/proc/{container.state.pid}/root/ready"))
    wait_for(lambda: container.stats().cpu.usage_ns > 30_000_000)
    assert "Usage" not in state(container)
    container.kill()
    container.wait(30)
    used = state(container)["Usage"]
    assert set(used) == {"MemoryPeak", "CPUSeconds", "WallSeconds", "ReadBytes", "WriteBytes"}
    assert 16 << 20 < used["MemoryPeak"] <= 64 << 20
    assert 0.03 <= used["CPUSeconds"] <= used["WallSeconds"] * (os.cpu_count() or 1)
    assert container.usage is not None
    assert container.usage.memory_peak == used["MemoryPeak"]
    assert json.loads(cli.ok("inspect", "-f", "{{json .State.Usage}}", "one")) == used
    container.start()
    assert "Usage" not in state(container)
    assert container.usage is None


def test_memory_that_ran_out(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "tail /dev/zero"], mem_limit="16m", memswap_limit="16m")
    container.wait(60)
    found = state(container)
    assert found["OOMKilled"]
    assert (8 << 20) < found["Usage"]["MemoryPeak"] <= 16 << 20


def test_several_and_missing(cli_busybox: Cli, engine: minidock.Engine) -> None:
    started(engine, name="one")
    done = cli_busybox("inspect", "nosuch", "one", "busybox")
    assert done.returncode == 1
    assert done.stderr == b"minidock: no such object: nosuch\n"
    container, image = json.loads(done.stdout)
    assert (container["Name"], image["RepoTags"]) == ("/one", ["busybox:latest"])
    assert cli_busybox.ok("inspect", "--type", "container", "-f", "{{.Name}}", "one") == "/one\n"
    assert cli_busybox("inspect", "--type", "image", "one").returncode == 1
