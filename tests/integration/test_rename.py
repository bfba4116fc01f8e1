"""``rename``."""

from __future__ import annotations

import threading

import pytest

import minidock
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument, MinidockError, NameInUse
from tests.conftest import Cli
from tests.integration.verbs import refused, started, state


def test_another_name(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, name="old")
    pid = state(container)["Pid"]
    container.rename("new")
    assert container.name == "new"
    assert container.attrs["Name"] == "/new"
    assert engine.containers.get("new") == container
    assert state(container)["Pid"] == pid
    with pytest.raises(ContainerNotFound):
        engine.containers.get("old")
    other = engine.containers.create(busybox, ["true"], name="old")
    container.rename("/third")
    assert sorted(it.name for it in engine.containers.list(all=True)) == ["old", "third"]
    other.rename("new")
    container.stop(timeout=0)
    container.start()
    assert engine.containers.get("third").status == "running"


def test_a_name_that_is_taken(engine: minidock.Engine, busybox: str) -> None:
    one, two = (engine.containers.create(busybox, ["true"], name=name) for name in ("one", "two"))
    with pytest.raises(NameInUse, match=f'"/two" is already in use by container "{two.id}"'):
        one.rename("two")
    with pytest.raises((Conflict, InvalidArgument), match="renaming a container with the same name as its current"):
        one.rename("one")
    assert sorted(it.name for it in engine.containers.list(all=True)) == ["one", "two"]


@pytest.mark.parametrize("name", ["", "/", "x", "-x", "a b", "../x", "a/b", "é" * 3, "a" * 256, "a\n", "a\0b"])
def test_nonsense(engine: minidock.Engine, busybox: str, name: str) -> None:
    container = engine.containers.create(busybox, ["true"], name="one")
    with pytest.raises(InvalidArgument) as caught:
        container.rename(name)
    assert "\n" not in str(caught.value)
    assert engine.containers.get("one").name == "one"


def test_one_of_several_gets_the_name(engine: minidock.Engine, busybox: str) -> None:
    containers = [engine.containers.create(busybox, ["true"], name=f"c{number}") for number in range(4)]
    won: list[str] = []

    def rename(container: minidock.Container) -> None:
        try:
            container.rename("prize")
        except MinidockError:
            return
        won.append(container.id)

    racers = [threading.Thread(target=rename, args=(container,)) for container in containers]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [engine.containers.get("prize").id] == won


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    engine.containers.create("busybox", ["true"], name="one")
    engine.containers.create("busybox", ["true"], name="two")
    assert cli.ok("rename", "one", "three") == ""
    assert cli.ok("container", "rename", "three", "/four") == ""
    assert cli.ok("ps", "-a", "--format", "{{.Names}}").split() == ["two", "four"]
    assert 'the container name "/two" is already in use' in refused(cli, "rename", "four", "two")
    assert refused(cli, "rename", "nope", "five") == "no such container: nope"
    assert refused(cli, "rename", "four", "") == "neither old nor new names may be empty"
    assert "requires 2 arguments" in refused(cli, "rename", "four")
    assert "invalid container name" in refused(cli, "rename", "four", "a b")
