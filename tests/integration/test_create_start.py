"""create, start, wait, kill; what a dead supervisor leaves."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

import minidock
from minidock import _native
from minidock.errors import CommandNotFound, Conflict, ContainerNotFound, InvalidArgument, NameInUse, Timeout
from minidock.security import lsm
from tests.conftest import Roots, wait_for


def test_created(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "1"], name="web", labels={"a": "b"})
    assert (container.name, container.status, container.image, container.labels) == (
        "web", "created", "busybox", {"a": "b"}
    )  # fmt: skip
    assert container.id.startswith(container.short_id)
    attrs = container.attrs
    assert (attrs["Name"], attrs["Path"], attrs["Args"]) == ("/web", "sleep", ["1"])
    assert attrs["Image"] == engine.images.get("busybox").id
    assert attrs["Config"]["Hostname"] == container.short_id
    assert attrs["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    for key in (container.id, container.short_id, "web", "/web"):
        assert engine.containers.get(key) == container


def test_start_wait_and_start_again(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sh", "-c", "test -e /mark && exit 7; touch /mark; exit 6"])
    container.start()
    assert container.wait(30) == 6
    assert container.status == "exited"
    container.start()
    assert container.wait(30) == 7
    assert container.attrs["State"]["ExitCode"] == 7


def test_the_apparmor_profile_is_that_of_the_last_start(
    engine: minidock.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container outlives the kernel that it was made under, and the next one may have AppArmor off, or on."""

    def boot(apparmor: bool) -> None:
        monkeypatch.setattr(lsm, "_found", (apparmor, lsm.host()[1]))

    monkeypatch.setattr(_native, "apparmor_ensure", lambda name: None)
    monkeypatch.setattr(lsm, "_apparmor_is_on", lambda: False)
    boot(apparmor=True)
    containers = [
        engine.containers.create(busybox, ["true"]),
        engine.containers.create(busybox, ["true"], security_opt=["apparmor=mine"]),
        engine.containers.create(busybox, ["true"], privileged=True),
    ]
    assert [one.attrs["AppArmorProfile"] for one in containers] == ["minidock-default", "mine", "unconfined"]
    boot(apparmor=False)
    for container in containers:
        container.start()
        assert container.wait(30) == 0
        container.reload()
    assert [one.attrs["AppArmorProfile"] for one in containers] == ["", "", ""]
    assert [one.warnings for one in containers[::2]] == [[], []]
    assert containers[1].warnings == ["apparmor=mine has no effect: the kernel has no AppArmor"]
    containers[1].start()  # which is no news
    assert containers[1].warnings == ["apparmor=mine has no effect: the kernel has no AppArmor"]
    boot(apparmor=True)
    containers[2].start()
    assert containers[2].wait(30) == 0
    containers[2].reload()
    assert containers[2].attrs["AppArmorProfile"] == "unconfined"
    assert containers[1].attrs["HostConfig"]["SecurityOpt"] == ["apparmor=mine"]


def test_a_running_container(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "100"], name="bg")
    container.start()
    assert (container.status, container.attrs["State"]["Running"]) == ("running", True)
    assert [row[1] for row in container.top().processes] == [str(container.attrs["State"]["Pid"])]
    assert container.summary().status.startswith(("Up ", "Up Less"))
    container.start()  # as in Docker, nothing happens
    assert container.attrs["State"]["Pid"] == int(container.top().processes[0][1])
    with pytest.raises(Conflict, match="stop the container before removing or force remove"):
        container.remove()
    with pytest.raises(Timeout):
        container.wait(0.05)
    with pytest.raises(Timeout):
        engine.containers.get("bg").wait(0.05)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(engine.containers.get("bg").wait(30)))
    thread.start()
    container.kill("SIGKILL")
    assert container.wait(30) == 137
    thread.join()
    assert seen == [137]
    with pytest.raises(Conflict, match="is not running"):
        container.kill()
    with pytest.raises(Conflict, match="is not running"):
        container.top()


def test_signals_reach_pid_1(engine: minidock.Engine, busybox: str) -> None:
    script = "trap 'exit 9' USR1; touch /dev/shm/ready; while :; do sleep 0.02; done"
    container = engine.containers.create(busybox, ["sh", "-c", script])
    container.start()
    shm = f"/proc/{container.attrs['State']['Pid']}/root/dev/shm/ready"
    wait_for(lambda: os.path.exists(shm), what="the trap")
    with pytest.raises(InvalidArgument):
        container.kill("NOPE")
    container.kill("USR1")
    assert container.wait(30) == 9


def test_attached(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sh", "-c", "cat; echo err >&2; exit 4"], stdin_open=True)
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    os.write(in_write, b"input")
    os.close(in_write)
    ended = container.start_attached(stdin=in_read, stdout=out_write, stderr=err_write)
    os.close(out_write)
    os.close(err_write)
    assert (os.read(out_read, 100), os.read(err_read, 100)) == (b"input", b"err\n")
    assert (ended.exit_code, container.status) == (4, "exited")
    for fd in (in_read, out_read, err_read):
        os.close(fd)


def test_signals_are_passed_on(engine: minidock.Engine, busybox: str) -> None:
    script = "trap 'exit 5' TERM; touch /dev/shm/ready; while :; do sleep 0.02; done"
    container = engine.containers.create(busybox, ["sh", "-c", script])
    before = signal.getsignal(signal.SIGTERM)

    def terminate() -> None:
        wait_for(lambda: engine.containers.get(container.id).status == "running", what="start")
        pid = engine.containers.get(container.id).attrs["State"]["Pid"]
        wait_for(lambda: os.path.exists(f"/proc/{pid}/root/dev/shm/ready"), what="the trap")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    assert container.start_attached().exit_code == 5
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_start_that_fails(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["nope"])
    for _ in range(2):
        with pytest.raises(CommandNotFound):
            container.start()
        container.reload()
        assert (container.status, container.attrs["State"]["ExitCode"]) == ("created", 127)
    gone = engine.containers.create(busybox, ["nope"], remove=True)
    with pytest.raises(CommandNotFound):
        gone.start()
    with pytest.raises(ContainerNotFound):
        gone.reload()


def test_auto_removal(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sh", "-c", "exit 3"], remove=True)
    container.start()
    assert container.wait(30) == 3
    with pytest.raises(ContainerNotFound):
        container.reload()


def supervisor_of(engine: minidock.Engine, container_id: str) -> dict[str, int]:
    """The pid file of a running container."""
    found: dict[str, int] = json.loads(Path(engine.run_root, "containers", container_id, "pid").read_bytes())
    return found


@pytest.mark.parametrize("remove", [False, True])
def test_a_killed_supervisor(engine: minidock.Engine, busybox: str, roots: Roots, *, remove: bool) -> None:
    container = engine.containers.create(busybox, ["sleep", "100"], remove=remove)
    container.start()
    file = supervisor_of(engine, container.id)
    os.kill(file["supervisor"], signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{file['supervisor']}/root"), what="the supervisor's end")
    # Another engine, as another process would have it: its first call repairs.
    with minidock.Engine(engine.data_root, engine.run_root, str(roots.config)) as other:
        if remove:
            assert other.containers.list(all=True) == []
        else:
            (found,) = other.containers.list(all=True)
            assert (found.status, found.attrs["State"]["ExitCode"]) == ("exited", 137)
    assert not os.path.exists(f"/proc/{file['pid']}/root")
    assert not os.path.exists(f"{engine.run_root}/containers/{container.id}")


def test_a_starter_that_died_before_the_supervisor(engine: minidock.Engine, busybox: str) -> None:
    from minidock.containers.document import Owner
    from minidock.containers.record import decode, encode

    container = engine.containers.create(busybox, ["true"])
    table = engine.store.containers
    record = decode(table.get(container.id).record)
    record.starter = Owner(pid=1 << 22, start_time=1)
    table.update(container.id, state="running", record=encode(record))
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 137)
    container.start()
    assert container.wait(30) == 0


def test_names(engine: minidock.Engine, busybox: str) -> None:
    first = engine.containers.create(busybox, ["true"], name="taken")
    with pytest.raises(NameInUse, match=f'name "/taken" is already in use by container "{first.id}"'):
        engine.containers.create(busybox, ["true"], name="taken")
    names = {engine.containers.create(busybox, ["true"]).name for _ in range(3)}
    assert len(names) == 3
    with pytest.raises(ContainerNotFound, match="no such container: nope"):
        engine.containers.get("nope")


def test_cidfile(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    container = engine.containers.create(busybox, ["true"], cidfile=str(file))
    assert file.read_text() == container.id
    with pytest.raises(Conflict, match="container ID file found"):
        engine.containers.create(busybox, ["true"], cidfile=str(file))
    other = tmp_path / "other"
    with pytest.raises(NameInUse):
        engine.containers.create(busybox, ["true"], cidfile=str(other), name=container.name)
    assert not other.exists()
    assert len(engine.containers.list(all=True)) == 1


def test_two_starts_at_once(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "100"])
    statuses: list[str] = []

    def start() -> None:
        mine = engine.containers.get(container.id)
        mine.start()
        statuses.append(mine.status)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == ["running"] * 4
    with engine.events(since=0, filters={"event": "start", "container": container.id}) as events:
        assert len(list(events)) == 1  # three of them waited for the fourth
    container.remove(force=True)
