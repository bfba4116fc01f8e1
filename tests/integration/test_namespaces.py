"""Namespaces: of its own, the host's, another container's."""

from __future__ import annotations

import os
from typing import Any

import pytest

import minidock
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument

KINDS = ("pid", "net", "mnt", "uts", "ipc", "cgroup", "user")


def seen(engine: minidock.Engine, image: str, **options: Any) -> dict[str, str]:
    """The namespaces of a process in a new container."""
    script = "for n in " + " ".join(KINDS) + "; do readlink /proc/self/ns/$n; done"
    result = engine.containers.run(image, ["sh", "-c", script], remove=True, **options)
    assert result.exit_code == 0, result
    return dict(zip(KINDS, result.stdout.decode().split(), strict=True))


def own() -> dict[str, str]:
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}


def shared(engine: minidock.Engine, image: str, **options: Any) -> set[str]:
    found, mine = seen(engine, image, **options), own()
    return {kind for kind in KINDS if found[kind] == mine[kind]}


def test_what_is_shared(engine: minidock.Engine, busybox: str) -> None:
    usual = {"user"} if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else {"user", "cgroup"}
    assert shared(engine, busybox) == usual
    assert shared(engine, busybox, cgroupns="private") == {"user"}
    assert shared(engine, busybox, cgroupns="host") == {"user", "cgroup"}
    assert shared(engine, busybox, network="host") == usual | {"net"}
    assert shared(engine, busybox, pid_mode="host") == usual | {"pid"}
    assert shared(engine, busybox, uts_mode="host") == usual | {"uts"}
    assert shared(engine, busybox, ipc_mode="host") == usual | {"ipc"}


def test_loopback_only(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(busybox, ["sh", "-c", "ls /sys/class/net; ping -c1 -w2 127.0.0.1"], remove=True)
    assert result.exit_code == 0
    assert result.stdout.split()[0] == b"lo"


def test_process_ids(engine: minidock.Engine, busybox: str) -> None:
    assert engine.containers.run(busybox, ["sh", "-c", "echo $$"], remove=True).stdout == b"1\n"
    host = engine.containers.run(busybox, ["sh", "-c", "echo $$"], pid_mode="host", remove=True)
    assert int(host.stdout) > 1


def test_names(engine: minidock.Engine, busybox: str) -> None:
    before = os.uname().nodename
    result = engine.containers.run(
        busybox,
        ["sh", "-c", "hostname; cat /proc/sys/kernel/domainname"],
        hostname="box",
        domainname="dom",
        remove=True,
    )
    assert result.stdout.split() == [b"box", b"dom"]
    assert os.uname().nodename == before


def test_another_containers(engine: minidock.Engine, busybox: str) -> None:
    donor = engine.containers.create(
        busybox, ["sh", "-c", "echo hi > /dev/shm/f; exec sleep 100"], name="donor", ipc_mode="shareable"
    )
    donor.start()
    pid = donor.attrs["State"]["Pid"]
    found = seen(engine, busybox, pid_mode="container:donor", ipc_mode=f"container:{donor.short_id}")
    for kind in ("pid", "ipc"):
        assert found[kind] == os.readlink(f"/proc/{pid}/ns/{kind}")
    result = engine.containers.run(
        busybox, ["sh", "-c", "cat /dev/shm/f; ps -o args | grep -c '[s]leep 100'"], remove=True,
        pid_mode="container:donor", ipc_mode="container:donor",
    )  # fmt: skip
    assert result.stdout.split() == [b"hi", b"1"]
    donor.remove(force=True)


def test_containers_that_cannot_be_joined(engine: minidock.Engine, busybox: str) -> None:
    with pytest.raises(ContainerNotFound):
        engine.containers.run(busybox, ["true"], pid_mode="container:nope")
    donor = engine.containers.create(busybox, ["sleep", "100"], name="donor")
    with pytest.raises(Conflict, match="it is not running"):
        engine.containers.run(busybox, ["true"], pid_mode="container:donor")
    donor.start()
    with pytest.raises(Conflict, match="non-shareable"):
        engine.containers.run(busybox, ["true"], ipc_mode="container:donor")
    donor.remove(force=True)
    assert engine.containers.list(all=True) == []


def test_remap(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(
        busybox,
        [
            "sh",
            "-c",
            "id -u; cat /proc/self/uid_map; touch /x; stat -c %u:%g / /etc/passwd /etc/hosts /x; echo 1 > /dev/null",
        ],
        userns_mode="remap",
        name="mapped",
    )
    assert result.exit_code == 0, result
    lines = result.stdout.decode().split("\n")
    assert lines[0] == "0"
    inside, outside, size = (int(number) for number in lines[1].split())
    assert inside == 0
    assert outside >= 65536
    assert size >= 65536
    assert lines[2:6] == ["0:0"] * 4
    upper = f"{engine.data_root}/containers/{result.container_id}/rw/upper/x"
    assert os.stat(upper).st_uid == outside
    assert "user" not in shared(engine, busybox, userns_mode="remap")


@pytest.mark.parametrize(
    "options",
    [
        {"userns_mode": "remap", "privileged": True},
        {"userns_mode": "remap", "network": "host"},
        {"uts_mode": "host", "hostname": "x"},
        {"pid_mode": "nonsense"},
    ],
)
def test_modes_that_do_not_go_together(engine: minidock.Engine, busybox: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        engine.containers.run(busybox, ["true"], **options)
