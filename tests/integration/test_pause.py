"""``pause`` and ``unpause``."""

from __future__ import annotations

from pathlib import Path

import pytest

import minidock
from minidock.errors import Conflict
from tests.conftest import Cli, wait_for
from tests.integration.verbs import reaches, refused, started, state

COUNT = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.01; done"]


def test_nothing_in_it_runs(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, COUNT)
    pid = state(container)["Pid"]
    count = Path(f"/proc/{pid}/root/count")
    wait_for(lambda: count.exists() and count.read_text(), what="first count")
    container.pause()
    found = state(container)
    assert (found["Status"], found["Paused"], found["Running"], found["Pid"]) == ("paused", True, True, pid)
    assert container.summary().state == "paused"
    assert container.summary().status.endswith(" (Paused)")
    frozen = count.read_text()
    assert "T" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]
    assert count.read_text() == frozen
    container.unpause()
    found = state(container)
    assert (found["Status"], found["Paused"], found["Running"], found["Pid"]) == ("running", False, True, pid)
    wait_for(lambda: count.read_text() not in ("", frozen), what="another count")


def test_states(engine: minidock.Engine, busybox: str) -> None:
    created = engine.containers.create(busybox, ["true"])
    exited = started(engine, ["true"])
    exited.wait()
    for container in (created, exited):
        before = state(container)
        with pytest.raises(Conflict, match=f"container {container.id} is not running"):
            container.pause()
        with pytest.raises(Conflict, match=f"container {container.id} is not paused"):
            container.unpause()
        assert state(container) == before
    running = started(engine)
    with pytest.raises(Conflict, match="is not paused"):
        running.unpause()
    running.pause()
    with pytest.raises(Conflict, match="is already paused"):
        running.pause()
    with pytest.raises(Conflict, match="cannot start a paused container, try unpause instead"):
        running.start()
    with pytest.raises(Conflict, match="container is paused and must be unpaused first"):
        running.remove()
    assert state(running)["Status"] == "paused"
    looping = started(engine, ["sh", "-c", "exit 5"], restart="always")
    reaches(looping, "restarting", 4)
    with pytest.raises(Conflict, match="is restarting, wait until the container is running"):
        looping.pause()
    looping.remove(force=True)


def test_paused_is_removed_by_force(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine)
    container.pause()
    container.remove(force=True)
    assert engine.containers.list(all=True) == []


def test_ps_filters(engine: minidock.Engine, busybox: str) -> None:
    paused, running = started(engine, name="paused"), started(engine, name="running")
    paused.pause()
    assert engine.containers.list(filters={"status": "paused"}) == [paused]
    assert engine.containers.list(filters={"status": "running"}) == [running]
    assert set(engine.containers.list()) == {paused, running}


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    started(engine, name="one")
    engine.containers.create("busybox", ["true"], name="two")
    done = cli("pause", "nope", "two", "one")
    assert (done.returncode, done.stdout) == (1, b"one\n")
    assert done.stderr.count(b"\n") == 2
    assert "(Paused)" in cli.ok("ps")
    assert refused(cli, "pause", "one").endswith("is already paused")
    assert refused(cli, "start", "one") == "cannot start a paused container, try unpause instead"
    assert cli.ok("unpause", "one") == "one\n"
    assert refused(cli, "container", "unpause", "one").endswith("is not paused")
    for verb in ("pause", "unpause"):
        assert "requires at least 1 argument" in refused(cli, verb)
        assert refused(cli, verb, "nope") == "no such container: nope"
        assert "unknown flag" in refused(cli, verb, "--nonsense", "one", code=125)
