"""list, get, remove, prune."""

from __future__ import annotations

import os
import time

import pytest

import minidock
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument


def names(containers: list[minidock.Container]) -> list[str]:
    return [container.name for container in containers]


@pytest.fixture
def three(engine: minidock.Engine, busybox: str) -> list[minidock.Container]:
    """A created, an exited and a running container, in this order of age."""
    first = engine.containers.create(busybox, ["true"], name="first", labels={"tier": "web"})
    engine.containers.run(busybox, ["sh", "-c", "exit 3"], name="second", labels={"tier": "db"})
    third = engine.containers.create(busybox, ["sleep", "100"], name="third")
    third.start()
    return [first, engine.containers.get("second"), third]


def test_lists(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    assert names(engine.containers.list()) == ["third"]
    assert names(engine.containers.list(all=True)) == ["third", "second", "first"]
    assert names(engine.containers.list(limit=2)) == ["third", "second"]
    texts = [container.summary().status for container in engine.containers.list(all=True)]
    assert texts[0].startswith("Up ")
    assert texts[1].startswith("Exited (3) ")
    assert texts[1].endswith(" ago")
    assert texts[2] == "Created"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name": "ir"}, ["third", "first"]),
        ({"status": "exited"}, ["second"]),
        ({"status": ["created", "running"]}, ["third", "first"]),
        ({"exited": 3}, ["second"]),
        ({"label": "tier"}, ["second", "first"]),
        ({"label": "tier=web"}, ["first"]),
        ({"before": "third"}, ["second", "first"]),
        ({"since": "first"}, ["third", "second"]),
        ({"ancestor": "busybox"}, ["third", "second", "first"]),
        ({"ancestor": "nosuch"}, []),
        ({"network": "none"}, ["third", "second", "first"]),
        (["status=exited", "label=tier"], ["second"]),
    ],
)
def test_filters(
    engine: minidock.Engine, three: list[minidock.Container], filters: object, expected: list[str]
) -> None:
    assert names(engine.containers.list(all=True, filters=filters)) == expected  # type: ignore[arg-type]


def test_filters_that_make_no_sense(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    with pytest.raises(InvalidArgument):
        engine.containers.list(filters={"nope": "x"})
    with pytest.raises(ContainerNotFound):
        engine.containers.list(all=True, filters={"before": "nope"})


def test_prefixes_of_ids(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    for container in three:
        assert engine.containers.get(container.id[:16]) == container
    with pytest.raises(ContainerNotFound):
        engine.containers.get("zz")


def test_remove(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    first, second, third = three
    first.remove()
    second.remove()
    with pytest.raises(Conflict):
        third.remove()
    assert names(engine.containers.list(all=True)) == ["third"]
    pid = third.attrs["State"]["Pid"]
    third.remove(force=True)
    assert engine.containers.list(all=True) == []
    assert not os.path.exists(f"/proc/{pid}/root")
    for container in three:
        with pytest.raises(ContainerNotFound):
            container.remove()
        assert not os.path.exists(f"{engine.data_root}/containers/{container.id}")


def test_prune(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    assert engine.containers.prune({"until": "1h"}).containers_deleted is None
    assert engine.containers.prune({"label": "tier=web"}).containers_deleted == [three[0].id]
    assert engine.containers.prune({"label!": "tier=db"}).containers_deleted is None
    assert engine.containers.prune().containers_deleted == [three[1].id]
    assert names(engine.containers.list(all=True)) == ["third"]
    with pytest.raises(InvalidArgument):
        engine.containers.prune({"name": "x"})


def test_an_image_in_use_is_kept(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    with pytest.raises(minidock.errors.ImageInUse):
        engine.images.remove(busybox)
    engine.images.remove(busybox, force=True)
    container.start()
    assert container.wait(30) == 0
    container.remove()


def test_a_list_sees_the_end(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "0.2"])
    container.start()
    end = time.monotonic() + 10
    while engine.containers.list():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert engine.containers.get(container.id).status == "exited"
