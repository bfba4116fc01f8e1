"""list, get, remove, prune."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import minidock
from minidock.containers import liveness
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument
from tests.conftest import security_module, wait_for
from tests.images import tar_of


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
        ({"network": ["host", "none"], "exited": [0, 3]}, ["second"]),
        ({"health": "none"}, ["third", "second", "first"]),
        ({"health": "healthy"}, []),
        ({"is-task": "false", "isolation": "x"}, ["third", "second", "first"]),
        ({"is-task": "true"}, []),
        ({"volume": "/data"}, []),
        ({"publish": "80", "expose": "80-90"}, []),
        ({"since": "first", "before": "third"}, ["second"]),
        (["status=exited", "label=tier"], ["second"]),
    ],
)
def test_filters(
    engine: minidock.Engine, three: list[minidock.Container], filters: object, expected: list[str]
) -> None:
    assert names(engine.containers.list(all=True, filters=filters)) == expected  # type: ignore[arg-type]


def test_filters_and_what_does_not_run(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    """Docker: of all filters only ``status`` looks at what does not run without ``all``."""
    assert names(engine.containers.list(filters={"exited": 3})) == []
    assert names(engine.containers.list(filters={"since": "first"})) == ["third"]
    assert names(engine.containers.list(filters={"status": "exited"})) == ["second"]
    assert names(engine.containers.list(limit=2, filters={"label": "tier"})) == ["second", "first"]
    assert names(engine.containers.list(limit=-3)) == ["third"]


def test_starts_of_ids(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    """The start of one id names that container; one that several ids have names none, as in Docker."""
    first, second, third = three
    both = engine.containers.list(all=True, filters={"id": [first.id, third.id[:30]]})
    assert names(both) == ["third", "first"]
    starts = {container.id[0] for container in three}
    for start in starts:
        fit = [container.name for container in three if container.id.startswith(start)]
        found = names(engine.containers.list(all=True, filters={"id": start}))
        assert found == (fit if len(fit) == 1 else [])
    assert names(engine.containers.list(all=True, filters={"id": second.id[1:]})) == []


def test_summaries_are_what_list_finds(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    """Docker's ``GET /containers/json``, made from less than whole records, says the same as those."""
    three[2].pause()
    for options in ({}, {"all": True}, {"limit": 2}, {"filters": {"status": ["paused", "created"]}}):
        found = engine.containers.summaries(**options)  # type: ignore[arg-type]
        wanted = [container.summary() for container in engine.containers.list(**options)]  # type: ignore[arg-type]
        for one in (*found, *wanted):
            one.status = one.status.split()[0]
        assert found == wanted
    sizes = [(one.size_rw, one.size_root_fs) for one in engine.containers.summaries(all=True, size=True)]
    assert sizes == [(own.size_rw, own.size_root_fs) for own in (one.summary(size=True) for one in reversed(three))]
    three[2].unpause()


def test_what_a_list_finds_dead_is_settled(engine: minidock.Engine, three: list[minidock.Container]) -> None:
    """A supervisor that was killed: a list says that its container has ended, and so it is."""
    third = three[2]
    file = liveness.pid_file(engine.store.paths.run_container(third.id))
    assert file is not None
    os.kill(file.supervisor, signal.SIGKILL)
    if not security_module():
        wait_for(lambda: not os.path.exists(f"/proc/{third.state.pid}"))
    assert [one.names for one in engine.containers.summaries()] == []
    assert [one.state for one in engine.containers.summaries(all=True)] == ["exited", "exited", "created"]
    assert not os.path.exists(engine.store.paths.run_container(third.id))


def test_images_that_lost_their_name(engine: minidock.Engine, three: list[minidock.Container], tmp_path: Path) -> None:
    """Docker: the name that a container was made by is shown while it is its image's, then the id."""

    def shown() -> set[str]:
        assert {one.summary().image for one in engine.containers.list(all=True)} == {
            one.image for one in engine.containers.summaries(all=True)
        }
        return {one.image for one in engine.containers.summaries(all=True)}

    old = engine.images.get("busybox").id
    assert shown() == {"busybox"}
    engine.images.tag("busybox", "other", "1")
    assert shown() == {"busybox"}
    named = engine.containers.create("docker.io/library/other:1", ["true"])
    by_id = engine.containers.create(old, ["true"])
    cut = engine.containers.create(old[7:19], ["true"])
    assert [one.summary().image for one in (named, by_id, cut)] == ["docker.io/library/other:1", old, old[7:19]]
    (tmp_path / "another.tar").write_bytes(tar_of(("a", b"a")))
    engine.images.import_(str(tmp_path / "another.tar"), repository="busybox")
    assert shown() == {old, old[7:19], "docker.io/library/other:1"}
    assert named.attrs["Config"]["Image"] == "docker.io/library/other:1"


def test_commands(engine: minidock.Engine, busybox: str) -> None:
    """Docker: words with spaces in them are in single quotes, but for the program."""
    engine.containers.create(busybox, ["sh", "-c", "exit 3", "a'b", "x y"])
    engine.containers.create(busybox, ["a b"])
    assert [one.command for one in engine.containers.summaries(all=True)] == ["a b", "sh -c 'exit 3' a'b 'x y'"]


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
    wait_for(lambda: not engine.containers.list())
    assert engine.containers.get(container.id).status == "exited"
