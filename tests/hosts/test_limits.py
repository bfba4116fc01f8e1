"""Limits hold: what is over them does not happen, and the kernel's own counters say so. Both cgroup versions."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

import minidock
from minidock.containers.runtime_spec import cgroups_path
from tests.conftest import wait_for

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def group(engine: minidock.Engine, container: minidock.Container, controller: str) -> Path:
    """A running container's directory in the hierarchy of a controller."""
    record = engine.containers._lifecycle.settle(engine.store.containers.get(container.id))[0]
    return Path("/sys/fs/cgroup", "" if V2 else controller, cgroups_path(record).strip("/"))


def counters(path: Path) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}


def test_half_a_cpu(engine: minidock.Engine, busybox: str) -> None:
    """Of each period that it wanted the CPU in, a container had half, within 5 %."""
    container = engine.containers.run(busybox, ["sh", "-c", "while :; do :; done"], cpus="0.5", detach=True)
    stat = group(engine, container, "cpu") / "cpu.stat"

    def usage() -> int:
        found = counters(stat).get("usage_usec")
        if found is None:
            found = int((group(engine, container, "cpuacct") / "cpuacct.usage").read_text()) // 1000
        return found

    def periods() -> int:
        return counters(stat)["nr_periods"]

    wait_for(lambda: periods() >= 3, 30)
    # Usage is looked at before and after the periods: this process may be kept waiting in between.
    first = usage(), periods(), usage()
    wait_for(lambda: periods() >= first[1] + 30, 60)
    last = usage(), periods(), usage()
    found = counters(stat)
    container.remove(force=True)
    assert (last[0] - first[2]) / (last[1] - first[1]) < 50_000 * 1.05
    # On a busy host it may not even have had that much.
    if found["nr_throttled"] == found["nr_periods"]:
        assert (last[2] - first[0]) / (last[1] - first[1]) > 50_000 * 0.95


def test_out_of_memory_is_told(engine: minidock.Engine, busybox: str) -> None:
    """Killed at the limit, not before; inspect, events and stats say so."""
    script = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}"
    since = time.time()
    container = engine.containers.run(busybox, ["sh", "-c", script], memory="32m", detach=True, network="none")
    assert container.wait() == 137
    container.reload()
    state = container.attrs["State"]
    assert (state["OOMKilled"], state["ExitCode"], state["Status"]) == (True, 137, "exited")
    actions = [
        event.action for event in engine.events(since=since, until=time.time(), filters={"container": container.id})
    ]
    assert "oom" in actions
    assert actions.index("oom") < actions.index("die")
    # Half as much is no reason.
    script = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo ${#x}"
    result = engine.containers.run(busybox, ["sh", "-c", script], memory="64m", remove=True)
    assert (result.stdout, result.oom_killed) == (b"8000000\n", False)
    assert result.usage.memory_peak is None or result.usage.memory_peak > 8_000_000


def test_only_the_one_that_is_over_is_killed(engine: minidock.Engine, busybox: str) -> None:
    """A process of a container is killed, its PID 1 lives: the container runs on, and counts it."""
    # One process alone asks for memory: while it dies, nobody else does and is killed too.
    script = "dd if=/dev/zero of=/dev/null bs=200M count=1; echo child $?; exec sleep 1000"
    container = engine.containers.run(busybox, ["sh", "-c", script], memory="32m", detach=True, network="none")
    wait_for(lambda: b"child 137" in container.logs(), 30)
    container.reload()
    assert container.status == "running"
    assert container.stats(stream=False).memory.oom_kills >= 1
    container.remove(force=True)


def test_pids_are_capped(engine: minidock.Engine, busybox: str) -> None:
    script = "(for i in $(seq 30); do sleep 1000 & done); exec sleep 1000"
    container = engine.containers.run(busybox, ["sh", "-c", script], pids_limit=10, detach=True, network="none")
    directory = group(engine, container, "pids")
    wait_for(lambda: counters(directory / "pids.events")["max"] > 0, 10)
    assert int((directory / "pids.current").read_text()) <= 10
    container.remove(force=True)


def disk(path: Path) -> tuple[str, str] | None:
    """The device and the number of the disk that a path is on; None where it is on none."""
    number = os.stat(path).st_dev
    block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not block.exists():
        return None
    whole = block.resolve().parent if (block / "partition").exists() else block.resolve()
    return f"/dev/{whole.name}", (whole / "dev").read_text().strip()


def test_writes_are_throttled(engine: minidock.Engine, busybox: str) -> None:
    """3 MiB at 1 MiB/s take longer than two seconds; the same without the limit is written, too."""
    found = disk(Path(engine.data_root))
    if found is None:
        pytest.skip("the data root is on no disk whose writes could be throttled")
    device, number = found
    container = engine.containers.run(
        busybox,
        ["sh", "-c", "time dd if=/dev/zero of=/x bs=64k count=48 oflag=direct; exec sleep 1000"],
        device_write_bps=[f"{device}:1mb"],
        detach=True,
        network="none",
    )
    name = "io.max" if V2 else "blkio.throttle.write_bps_device"
    text = (group(engine, container, "blkio") / name).read_text()
    assert re.search(rf"^{number} .*\b1048576\b", text, re.MULTILINE), text
    wait_for(lambda: b"sys" in container.logs(), 60)
    said = container.logs().decode()
    container.remove(force=True)
    real = re.search(r"real\s+(\d+)m ([\d.]+)s", said)
    assert real, said
    assert int(real[1]) * 60 + float(real[2]) > 2, said
    script = "dd if=/dev/zero of=/x bs=64k count=48 oflag=direct 2>&1"
    assert b"48+0 records out" in engine.containers.run(busybox, ["sh", "-c", script], remove=True).stdout


def test_a_device_is_denied_and_allowed(engine: minidock.Engine, busybox: str) -> None:
    """The rules are those of the cgroup: even root in the container, with the node in hand, gets no further."""
    # The console's first terminal, which the kernel may lack: that is another error.
    script = "mknod /dev/t c 4 0; head -c 0 /dev/t 2>&1; echo over"
    denied = engine.containers.run(busybox, ["sh", "-c", script], remove=True)
    assert b"Operation not permitted" in denied.stdout
    allowed = engine.containers.run(busybox, ["sh", "-c", script], device_cgroup_rules=["c 4:0 r"], remove=True)
    assert b"over" in allowed.stdout
    assert b"Operation not permitted" not in allowed.stdout


@pytest.mark.skipif(not V2, reason="cgroup version 1 has no files cgroup.kill, memory.peak and memory.pressure")
def test_what_only_version_2_has(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.run(
        busybox, ["sh", "-c", "sleep 1000 & sleep 1000 & wait"], memory="64m", detach=True, network="none"
    )
    directory = group(engine, container, "")
    wait_for(lambda: len((directory / "cgroup.procs").read_text().split()) == 3, 10)
    stats = container.stats(stream=False)
    if (directory / "memory.peak").exists():
        peak = int((directory / "memory.peak").read_text())
        assert stats.memory.peak is not None
        assert 0 < stats.memory.peak <= peak
    else:
        assert stats.memory.peak is None
    if (directory / "memory.pressure").exists():
        assert stats.pressure is not None
    # All of it at once, by the file that exists since Linux 5.14.
    assert (directory / "cgroup.kill").exists()
    container.kill()
    assert container.wait() == 137
    wait_for(lambda: not directory.exists(), 10)
    container.remove()


def test_swap_keeps_its_part_when_memory_changes(engine: minidock.Engine, busybox: str) -> None:
    """The sum stays: version 2 has a file for swap alone, which is written again; version 1 has one for the sum."""
    container = engine.containers.run(
        busybox, ["sleep", "1000"], memory="64m", memswap_limit="128m", detach=True, network="none"
    )
    directory = group(engine, container, "memory")
    memory, swap = ("memory.max", "memory.swap.max") if V2 else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")

    def limits() -> tuple[int, int | None]:
        """Of memory, and of both; None where the kernel does not count swap."""
        found = int((directory / memory).read_text())
        if not (directory / swap).exists():
            return found, None
        return found, int((directory / swap).read_text()) + (found if V2 else 0)

    both = limits()[1] and 128 << 20
    assert limits() == (64 << 20, both)
    for size in (96, 48, 128):
        container.update(memory=f"{size}m")
        assert limits() == (size << 20, both)
    container.restart(timeout=0)
    assert limits() == (128 << 20, both)
    container.remove(force=True)
