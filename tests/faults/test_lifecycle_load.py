"""Many verbs on the same containers from many processes at once, and many containers at the same time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock import _native, errors
from minidock.containers.runtime_spec import cgroups_path
from tests.conftest import Cli, Roots, wait_for
from tests.faults.lives import SOAK, actions, gone, processes
from tests.faults.state import assert_clean
from tests.integration.verbs import SLEEP, started

PROCESSES = 8
VERBS = 250 if SOAK else 25
"""Of each process: together 200, or 2,000."""
CONTAINERS = 20
MIXER = Path(__file__).with_name("mixer.py")


@pytest.mark.timeout(1800)
def test_mixed_verbs_from_several_processes(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    names = [f"base{number:02}" for number in range(CONTAINERS)]
    script = ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"]
    for name in names:
        it = engine.containers.create(
            "busybox", script, name=name, labels={"base": name}, pids_limit=20, stop_timeout=5
        )
        it.start()
    env = {**os.environ, "PYTHONPATH": str(Path(minidock.__file__).parents[1])}
    at_once = [
        subprocess.Popen(
            [
                sys.executable,
                str(MIXER),
                str(roots.data),
                str(roots.run),
                str(roots.config),
                str(seed),
                str(VERBS),
                *names,
            ],
            stdout=subprocess.PIPE,
            env=env,
        )
        for seed in range(PROCESSES)
    ]
    reports: list[dict[str, Any]] = []
    for process in at_once:
        out, _ = process.communicate(timeout=1500 if SOAK else 600)
        assert process.returncode == 0
        reports.append(json.loads(out))
    wrong = [line for report in reports for line in report["wrong"]]
    assert not wrong, "\n".join(wrong)
    assert sum(sum(report["done"].values()) for report in reports) == PROCESSES * VERBS

    left = engine.containers.list(all=True)
    assert len({it.name for it in left}) == len(left)
    for it in left:
        assert engine.containers.get(it.name).id == it.id
        if _runs(it):
            with contextlib.suppress(errors.Conflict):  # one that was sent SIGTERM may end only now
                it.kill()
            it.wait(timeout=60)
            # Whatever it was called while it was started, the supervisor knows its last name.
            assert actions(engine, it.id)[-1][1]["name"] == it.name
    for container_id in {it.id for it in left} | _all_ids(engine):
        _assert_in_order(engine, container_id)
    for it in left:
        it.remove(force=True)
    assert_clean(cli, roots)


def _runs(it: minidock.Container) -> bool:
    """Whether a container runs, after a check of whether the kernel agrees."""

    def true() -> bool:
        it.reload()
        assert it.status in ("running", "paused", "exited", "created"), it.state
        assert it.state.running == (it.status in ("running", "paused"))
        if not it.state.running:
            return True
        if gone(it.state.pid) or it.state.pid not in processes(it):
            return False  # it was just ending: the last verb may have been a SIGTERM
        return _native.cgroup_frozen(cgroups_path(it.record)) == (it.status == "paused")

    wait_for(true, 30, f"the truth about {it.name}")
    return it.state.running


def _all_ids(engine: minidock.Engine) -> set[str]:
    lines = Path(engine.data_root, "events", "current").read_text().splitlines()
    return {event["Actor"]["ID"] for event in map(json.loads, lines) if event["Type"] == "container"}


def _assert_in_order(engine: minidock.Engine, container_id: str) -> None:
    """create, then (start, die) again and again, then destroy; pauses in pairs; renames in one chain."""
    seen = actions(engine, container_id)
    names = [action for action, _ in seen]
    assert names[0] == "create", names
    assert "destroy" not in names[:-1], names
    runs = [name for name in names if name in ("start", "die")]
    assert runs == ["start", "die"] * (len(runs) // 2), names
    name = seen[0][1]["name"]
    renames = [(attributes["oldName"], attributes["name"]) for action, attributes in seen if action == "rename"]
    # Each is told after it was done, so two at once may be told the other way round; none is missing.
    chain = dict(renames)
    assert len(chain) == len(renames)
    while f"/{name}" in chain:
        name = chain.pop(f"/{name}")
    assert not chain, renames


def test_updates_at_once_are_not_lost(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    """Three write different things of one container; a fourth stops and starts it."""
    container = started(engine, name="one")
    last: dict[str, int] = {}
    problems: list[BaseException] = []

    def work(key: str) -> None:
        try:
            with minidock.Engine(data_root=roots.data, run_root=roots.run, config=roots.config) as other:
                it = other.containers.get(container.id)
                for number in range(1, 16):
                    if key == "rename":
                        it.rename(f"name{number}")
                    elif key == "again":
                        it.restart(timeout=0)
                        continue
                    else:
                        it.update(**{key: 100 + number})  # type: ignore[misc]
                    last[key] = number
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(key,)) for key in ("rename", "again", "pids_limit", "cpu_shares")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert last == {"rename": 15, "pids_limit": 15, "cpu_shares": 15}
    container.reload()
    assert container.name == "name15"
    assert container.attrs["HostConfig"]["PidsLimit"] == 115
    assert container.attrs["HostConfig"]["CpuShares"] == 115
    assert container.status == "running"
    pids = Path("/sys/fs/cgroup/pids", cgroups_path(container.record).lstrip("/"), "pids.max")
    if pids.exists():
        assert pids.read_text() == "115\n"
    container.kill()
    container.wait()
    assert actions(engine, container.id)[-1][1]["name"] == "name15"


def test_one_is_started_by_many(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    container = engine.containers.create(busybox, SLEEP)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with minidock.Engine(data_root=roots.data, run_root=roots.run, config=roots.config) as other:
                it = other.containers.get(container.id)
                it.start()
                assert it.state.running
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [action for action, _ in actions(engine, container.id)] == ["create", "start"]


@pytest.mark.parametrize("verb", ["pause", "stop", "remove"])
def test_one_verb_by_many(engine: minidock.Engine, busybox: str, roots: Roots, verb: str) -> None:
    container = started(engine)
    refused: list[errors.MinidockError] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with minidock.Engine(data_root=roots.data, run_root=roots.run, config=roots.config) as other:
                it = other.containers.get(container.id)
                {
                    "pause": it.pause,
                    "stop": lambda: it.stop(timeout=0),
                    "remove": lambda: it.remove(force=True),
                }[verb]()
        except (errors.Conflict, errors.NotFound) as error:
            refused.append(error)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    done = [action for action, _ in actions(engine, container.id)]
    if verb == "pause":
        assert done.count("pause") == 1
        assert len(refused) == 7
        assert engine.containers.get(container.id).status == "paused"
    elif verb == "stop":
        assert done.count("die") == 1
        assert refused == []
    else:
        assert done.count("destroy") == 1
        assert engine.containers.list(all=True) == []


@pytest.mark.timeout(600)
def test_two_hundred_run_at_the_same_time(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    count = 200 if SOAK else 60
    made = [engine.containers.run(busybox, SLEEP, detach=True) for _ in range(count)]
    assert len(engine.containers.list()) == count
    assert len({it.state.pid for it in made if isinstance(it, minidock.Container)}) == count
    threads = [threading.Thread(target=it.remove, kwargs={"force": True}) for it in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_clean(cli, roots)
