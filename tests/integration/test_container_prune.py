"""``container prune``."""

from __future__ import annotations

import pytest

import minidock
from minidock.errors import InvalidArgument
from tests.conftest import Cli
from tests.integration.verbs import reaches, refused, started


def test_what_does_not_run_goes(engine: minidock.Engine, busybox: str) -> None:
    created = engine.containers.create(busybox, ["true"])
    exited = started(engine, ["true"])
    exited.wait()
    running, paused = started(engine), started(engine)
    paused.pause()
    looping = started(engine, ["sh", "-c", "exit 1"], restart="always")
    reaches(looping, "restarting", 3)
    assert set(engine.containers.prune().containers_deleted or ()) == {created.id, exited.id}
    assert set(engine.containers.list(all=True)) == {running, paused, looping}
    assert engine.containers.prune().containers_deleted is None


def test_filters(engine: minidock.Engine, busybox: str) -> None:
    web = engine.containers.create(busybox, ["true"], labels={"tier": "web"})
    database = engine.containers.create(busybox, ["true"], labels={"tier": "db", "keep": ""})
    assert engine.containers.prune({"until": "1h"}).containers_deleted is None
    assert engine.containers.prune({"label": "nope"}).containers_deleted is None
    assert engine.containers.prune({"label": "tier", "label!": "keep"}).containers_deleted == [web.id]
    assert engine.containers.prune({"label": "tier=db"}).containers_deleted == [database.id]


@pytest.mark.parametrize(
    "filters", [{"nonsense": "1"}, {"until": "x"}, {"until": ["1h", "2h"]}, {"status": "exited"}, {"until": ""}]
)
def test_nonsense(engine: minidock.Engine, busybox: str, filters: dict[str, str | list[str]]) -> None:
    engine.containers.create(busybox, ["true"])
    with pytest.raises(InvalidArgument):
        engine.containers.prune(filters)
    assert len(engine.containers.list(all=True)) == 1


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    started(engine, name="running")
    writer = started(engine, ["sh", "-c", "head -c 100000 /dev/zero > /x"])
    writer.wait()
    question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] "
    done = cli("container", "prune", input=b"n\n")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, question, b"")
    assert cli("container", "prune").stdout.decode() == question
    done = cli("container", "prune", input=b"y\n")
    expected = f"{question}Deleted Containers:\n{writer.id}\n\nTotal reclaimed space: 100kB\n"
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, expected, b"")
    assert cli.ok("container", "prune", "-f") == "Total reclaimed space: 0B\n"
    assert cli.ok("ps", "-a", "--format", "{{.Names}}") == "running\n"
    assert "accepts no arguments" in refused(cli, "container", "prune", "x")
    assert "bad format of filter" in refused(cli, "container", "prune", "-f", "--filter", "label", code=125)
    assert "nonsense" in refused(cli, "container", "prune", "-f", "--filter", "nonsense=1")
    assert "until" in refused(cli, "container", "prune", "-f", "--filter", "until=1h", "--filter", "until=2h")
