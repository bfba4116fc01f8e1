"""Limits as a container sees and feels them. Written for cgroup v1, which these machines have, and v2."""

from __future__ import annotations

import os
from typing import Any

import pytest

import minidock
from minidock.errors import MinidockError
from tests.conftest import Roots

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def value(engine: minidock.Engine, image: str, file: str, **options: Any) -> str:
    """What a file below /sys/fs/cgroup holds, seen from inside."""
    result = engine.containers.run(image, ["cat", f"/sys/fs/cgroup/{file}"], remove=True, **options)
    assert result.exit_code == 0, result
    return result.stdout.decode().strip()


WRITTEN = (
    [
        ({"memory": "64m"}, "memory.max", str(64 << 20)),
        ({"memory": "64m"}, "memory.swap.max", str(64 << 20)),
        ({"memory": 64 << 20, "mem_reservation": "32m"}, "memory.low", str(32 << 20)),
        ({"cpus": "0.5"}, "cpu.max", "50000 100000"),
        ({"cpu_quota": 25000, "cpu_period": 50000}, "cpu.max", "25000 50000"),
        ({"cpu_shares": 1024}, "cpu.weight", "100"),
        ({"cpuset_cpus": "0"}, "cpuset.cpus", "0"),
        ({"cpuset_mems": "0"}, "cpuset.mems", "0"),
        ({"pids_limit": 17}, "pids.max", "17"),
        ({"pids_limit": -1}, "pids.max", "max"),
        ({}, "memory.max", "max"),
    ]
    if V2
    else [
        ({"memory": "64m"}, "memory/memory.limit_in_bytes", str(64 << 20)),
        ({"memory": 64 << 20, "mem_reservation": "32m"}, "memory/memory.soft_limit_in_bytes", str(32 << 20)),
        ({"mem_swappiness": 7}, "memory/memory.swappiness", "7"),
        ({"cpus": "0.5"}, "cpu/cpu.cfs_quota_us", "50000"),
        ({"cpu_quota": 25000, "cpu_period": 50000}, "cpu/cpu.cfs_period_us", "50000"),
        ({"cpu_shares": 512}, "cpu/cpu.shares", "512"),
        ({"cpuset_cpus": "0"}, "cpuset/cpuset.cpus", "0"),
        ({"cpuset_mems": "0"}, "cpuset/cpuset.mems", "0"),
        ({"pids_limit": 17}, "pids/pids.max", "17"),
        ({"pids_limit": -1}, "pids/pids.max", "max"),
        ({}, "memory/memory.limit_in_bytes", "9223372036854771712"),
    ]
)


@pytest.mark.parametrize(("options", "file", "expected"), WRITTEN)
def test_limits_are_written(
    engine: minidock.Engine, busybox: str, options: dict[str, Any], file: str, expected: str
) -> None:
    assert value(engine, busybox, file, **options) == expected


def test_out_of_memory(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(
        busybox, ["sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"], memory="16m", remove=True
    )
    assert result.oom_killed
    assert result.exit_code == 137
    assert result.usage.memory_peak <= 17 << 20


def test_oom_is_recorded(engine: minidock.Engine, busybox: str) -> None:
    script = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"
    engine.containers.run(busybox, ["sh", "-c", script], memory="16m", name="hungry")
    assert engine.containers.get("hungry").attrs["State"]["OOMKilled"]


def test_the_number_of_processes(engine: minidock.Engine, busybox: str) -> None:
    script = "for i in $(seq 30); do sleep 1 & done; echo done"
    result = engine.containers.run(busybox, ["sh", "-c", script], pids_limit=10, remove=True)
    assert b"can't fork" in result.stderr


def test_cpu_seconds_are_counted(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(
        busybox, ["sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"], cpus="0.5", remove=True
    )
    assert 0.01 < result.usage.cpu_seconds <= result.usage.wall_seconds + 0.1


def test_ulimits(engine: minidock.Engine, busybox: str) -> None:
    script = "ulimit -Sn; ulimit -Hn; ulimit -c"
    result = engine.containers.run(busybox, ["sh", "-c", script], ulimits=["nofile=100:200", "core=0"], remove=True)
    assert result.stdout.split() == [b"100", b"200", b"0"]


def test_oom_score(engine: minidock.Engine, busybox: str) -> None:
    for score in (0, 500):
        result = engine.containers.run(busybox, ["cat", "/proc/self/oom_score_adj"], oom_score_adj=score, remove=True)
        assert result.stdout.strip() == str(score).encode()


def test_shared_memory(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(busybox, ["df", "-k", "/dev/shm"], shm_size="1m", remove=True)
    assert result.stdout.split()[-5] == b"1024"
    result = engine.containers.run(busybox, ["df", "-k", "/dev/shm"], remove=True)
    assert result.stdout.split()[-5] == b"65536"


def test_devices(engine: minidock.Engine, busybox: str) -> None:
    script = "dd if=/dev/zero of=/dev/null count=1 2>&1 | tail -1; wc -c < /dev/null; ls -l /dev/mine | cut -d' ' -f1"
    result = engine.containers.run(busybox, ["sh", "-c", script], devices=["/dev/zero:/dev/mine:r"], remove=True)
    lines = result.stdout.split(b"\n")
    assert lines[:2] == [b"1+0 records out", b"0"]
    assert lines[2].startswith(b"c")
    # A device that was not given can be made, and not opened.
    script = "mknod /dev/x c 1 1 && { cat /dev/x 2>&1 || true; }"
    result = engine.containers.run(busybox, ["sh", "-c", script], remove=True)
    assert b"Operation not permitted" in result.stdout
    script = "mknod /dev/x c 1 5 && head -c 1 /dev/x | wc -c"
    assert engine.containers.run(busybox, ["sh", "-c", script], remove=True).stdout.strip() == b"1"
    script = "mknod /dev/x c 10 229 && head -c 0 /dev/x && echo opened"
    result = engine.containers.run(busybox, ["sh", "-c", script], device_cgroup_rules=["c 10:229 r"], remove=True)
    assert result.stdout == b"opened\n"


def test_cgroup_parent(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    result = engine.containers.run(busybox, ["cat", "/proc/self/cgroup"], cgroupns="host", remove=True)
    assert f"{roots.cgroup_parent}/{result.container_id}".encode() in result.stdout
    parent = roots.cgroup_parent.strip("/")  # as on the command line, without a slash
    result = engine.containers.run(
        busybox, ["cat", "/proc/self/cgroup"], cgroup_parent=parent, cgroupns="host", remove=True
    )
    assert f"/{parent}/{result.container_id}".encode() in result.stdout


@pytest.mark.skipif(V2, reason="reads files of cgroup v1")
def test_what_the_host_cannot_do_is_a_warning_that_names_the_file(engine: minidock.Engine, busybox: str) -> None:
    script = "cat /sys/fs/cgroup/blkio/blkio.weight || cat /sys/fs/cgroup/blkio/blkio.bfq.weight"
    result = engine.containers.run(busybox, ["sh", "-c", script], blkio_weight=100, remove=True)
    if result.exit_code == 0:
        assert result.stdout.split()[-1] == b"100"
    else:
        assert any("blkio" in warning and "weight" in warning for warning in result.warnings), result.warnings
    result = engine.containers.run(busybox, ["true"], kernel_memory="10m", remove=True)
    assert "memory.kmem.limit_in_bytes" in result.warnings[0]


@pytest.mark.parametrize("options", [{"ulimits": ["nofile=100000000"]}, {"oom_score_adj": -1000}])
def test_what_needs_more_rights_is_an_error_or_works(
    engine: minidock.Engine, busybox: str, options: dict[str, Any]
) -> None:
    # Without CAP_SYS_RESOURCE, as on the machines that test minidock, Docker fails too.
    message = ""
    try:
        assert engine.containers.run(busybox, ["true"], remove=True, **options).exit_code == 0
    except MinidockError as error:
        message = str(error)
    assert "\n" not in message
    assert engine.containers.list(all=True) == []
