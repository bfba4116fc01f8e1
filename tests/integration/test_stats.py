"""``stats``: what running containers use, at one look and live."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock.containers.runtime_spec import cgroups_path
from minidock.containers.stats import Sampler
from minidock.errors import InvalidArgument
from tests.conftest import Cli, wait_for
from tests.integration.terminal import Terminal
from tests.integration.verbs import refused, started
from tests.screen import Screen

BUSY = ["sh", "-c", "while :; do :; done"]
FIELDS = "Container Name ID CPUPerc MemUsage NetIO BlockIO MemPerc PIDs".split()  # noqa: SIM905
HEAD = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS"


def kernel(container: minidock.Container, name: str) -> int | None:
    """A number in the container's cgroup, by whichever version has it."""
    path = cgroups_path(container.record).lstrip("/")
    for folder in ("memory", "pids", "", "unified"):
        file = Path("/sys/fs/cgroup", folder, path, name)
        if file.exists():
            return int(file.read_text())
    return None


def test_one_look(engine: minidock.Engine, busybox: str) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=8; sleep 1000 & sleep 1000 & touch /ready; wait"
    container = started(engine, ["sh", "-c", script], name="one", mem_limit="64m", pids_limit=20)
    wait_for(lambda: os.path.exists(f"/proc/{container.state.pid}/root/ready"))
    before = time.time()
    stats = container.stats()
    assert stats.running
    assert (stats.container_id, stats.name) == (container.id, "one")
    assert before - 1 < stats.time < time.time() + 1
    assert stats.memory_limit == stats.memory.limit == 64 << 20
    assert 8 << 20 < stats.memory.used <= stats.memory.usage < 64 << 20
    assert stats.memory_percent == pytest.approx(stats.memory.used / (64 << 20) * 100)
    usage = kernel(container, "memory.usage_in_bytes") or kernel(container, "memory.current")
    assert usage is not None
    assert abs(usage - stats.memory.usage) < 4 << 20
    assert (stats.pids.current, stats.pids.limit) == (3, 20)
    assert stats.cpu.usage_ns > 0
    assert stats.now is not None
    assert stats.now.cpus == os.cpu_count()
    assert stats.cpu_percent is None  # that takes two looks
    assert stats.networks is None  # nothing but lo
    assert (stats.received_bytes, stats.sent_bytes) == (0, 0)


def test_a_limit_is_at_most_the_memory_there_is(engine: minidock.Engine, busybox: str) -> None:
    stats = started(engine).stats()
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert stats.memory.limit is None
    assert stats.memory_limit == stats.host_memory == total


def test_cpu_use(engine: minidock.Engine, busybox: str) -> None:
    busy, idle = started(engine, BUSY), started(engine)
    stats = busy.stats(interval=0.3)
    assert stats.before is not None
    assert stats.now is not None
    assert stats.cpu_percent is not None
    used = stats.now.cpu.usage_ns - stats.before.cpu.usage_ns
    passed = stats.now.host_cpu_ns - stats.before.host_cpu_ns
    assert stats.cpu_percent == pytest.approx(used / passed * stats.now.cpus * 100)
    assert stats.cpu_percent > 0
    assert idle.stats(interval=0.1).cpu_percent < stats.cpu_percent  # type: ignore[operator]


def test_disks(engine: minidock.Engine, busybox: str) -> None:
    """What is written reaches the disk of the data root, if that is one that the kernel counts."""
    container = started(
        engine, ["sh", "-c", "dd if=/dev/zero of=/x bs=64k count=32 conv=fsync; touch /ready; sleep 100"]
    )
    wait_for(lambda: os.path.exists(f"/proc/{container.state.pid}/root/ready"))
    stats = container.stats()
    for device in stats.io:
        assert Path(f"/sys/dev/block/{device.major}:{device.minor}").exists()
    if os.major(os.stat(engine.data_root).st_dev):
        assert stats.write_bytes >= 32 * 65536


def test_a_network_of_its_own(engine: minidock.Engine, busybox: str) -> None:
    """Interfaces are read in the container's network, also one that was put there by another program."""
    container = started(engine, name="one")
    pid = str(container.state.pid)
    subprocess.run(["nsenter", "-t", pid, "-n", "ip", "link", "add", "br7", "type", "bridge"], check=True)
    found = container.stats().networks
    assert found is not None
    assert [one.name for one in found] == ["br7"]
    assert started(engine, network="host").stats().networks is None


def test_pressure(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, BUSY)
    path = cgroups_path(container.record).lstrip("/")
    places = [Path("/sys/fs/cgroup", folder, path, "cpu.pressure") for folder in ("", "unified")]
    wanted = any(place.exists() for place in places)
    stats = container.stats()
    if not wanted:
        assert stats.pressure is None
        return
    assert stats.pressure is not None
    assert stats.pressure.cpu is not None
    wait_for(lambda: container.stats().pressure.cpu.some.total_us > 0)  # type: ignore[union-attr]
    assert 0 <= stats.pressure.cpu.some.avg10 <= 100


def test_containers_that_do_not_run(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"], name="one")
    stats = container.stats(interval=10)
    assert not stats.running
    assert (stats.cpu_percent, stats.memory_percent, stats.memory.used, stats.pids.current) == (0.0, 0.0, 0, 0)
    body = stats.body()
    assert (body["name"], body["id"]) == ("/one", container.id)
    assert body["read"] == body["preread"] == "0001-01-01T00:00:00Z"
    assert body["memory_stats"] == body["pids_stats"] == {}
    assert "networks" not in body
    assert set(body["blkio_stats"].values()) == {None}
    container.start()
    container.wait(30)
    assert not container.stats().running


def test_the_api_body(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, mem_limit="32m", pids_limit=7)
    stats = container.stats(interval=0.05)
    body = json.loads(json.dumps(stats.body()))
    assert body["read"] > body["preread"] > "2020"
    assert body["pids_stats"] == {"current": 1, "limit": 7}
    assert body["memory_stats"]["limit"] == 32 << 20
    assert body["memory_stats"]["usage"] == stats.memory.usage
    assert all(isinstance(n, int) for n in body["memory_stats"]["stats"].values())
    for key, look in (("cpu_stats", stats.now), ("precpu_stats", stats.before)):
        assert look is not None
        assert body[key]["cpu_usage"]["total_usage"] == look.cpu.usage_ns
        assert body[key]["system_cpu_usage"] == look.host_cpu_ns
        assert body[key]["online_cpus"] == os.cpu_count()
        assert set(body[key]["throttling_data"]) == {"periods", "throttled_periods", "throttled_time"}


def test_stream(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, BUSY)
    with container.stats(stream=True, interval=0.5) as looks:
        first, second = next(looks), next(looks)
        assert first.cpu_percent is None
        assert second.before == first.now
        assert second.cpu_percent is not None
        assert second.cpu_percent > 0
        container.kill()
        left = list(looks)
    assert len(left) < 100  # it ends when the container does
    with container.stats(stream=True) as looks:
        assert list(looks) == []
    again = started(engine)
    with again.stats(stream=True, interval=0) as looks:
        next(looks)
    assert list(looks) == []
    with again.stats(stream=True, interval=0.01) as looks:
        again.remove(force=True)
        assert list(looks) == []


@pytest.mark.parametrize("interval", [-1, float("nan"), float("inf"), 1e9])
def test_intervals_that_make_no_sense(engine: minidock.Engine, busybox: str, interval: float) -> None:
    container = engine.containers.create(busybox, ["true"])
    with pytest.raises(InvalidArgument, match="interval"):
        container.stats(interval=interval)
    with pytest.raises(InvalidArgument, match="interval"):
        container.stats(stream=True, interval=interval)


def test_many_at_one_look(engine: minidock.Engine, busybox: str) -> None:
    running = [started(engine) for _ in range(5)]
    stopped = engine.containers.create(busybox, ["true"])
    threads = threading.active_count()
    sampler = Sampler()
    sampler.look(running)
    running[2].kill()
    running[2].wait(30)
    found = sampler.look([stopped, *running])
    assert threading.active_count() <= threads  # those of other tests may end
    assert [stats.container_id for stats in found] == [stopped.id, *(one.id for one in running)]
    assert [stats.running for stats in found] == [False, True, True, False, True, True]
    assert len({stats.now.time_ns for stats in found if stats.now}) == 1
    assert all(stats.before is not None for stats in found if stats.running)


def test_table(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    one, two = started(engine, BUSY, name="one", mem_limit="64m"), started(engine, name="two")
    engine.containers.create("busybox", ["true"], name="three")
    head, *lines = cli.ok("stats", "--no-stream").splitlines()
    assert head.split() == HEAD.split()
    assert [line.split()[:2] for line in lines] == [[two.id[:12], "two"], [one.id[:12], "one"]]
    row = re.split("   +", lines[1])
    assert re.fullmatch(r"\d+\.\d\d%", row[2])
    assert float(row[2][:-1]) > 0
    assert re.fullmatch(r"[\d.]+[KM]iB / 64MiB", row[3])
    assert re.fullmatch(r"\d+\.\d\d%", row[4])
    assert row[5] == "0B / 0B"
    assert row[7] == "1"
    names = cli.ok("container", "stats", "-a", "--no-stream", "--no-trunc", "--format", "{{.Name}} {{.ID}}").split("\n")
    assert names[:2] == [f"three {engine.containers.get('three').id}", f"two {two.id}"]
    # Docker: a container that does not run uses nothing.
    line = cli.ok("stats", "--no-stream", "three", "three", "--format", "table {{.Name}}\t{{.MemUsage}}\t{{.PIDs}}")
    assert line == "NAME      MEM USAGE / LIMIT   PIDS\nthree     0B / 0B             0\n"


def test_formats(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    one = started(engine, name="one")
    found = json.loads(cli.ok("stats", "--no-stream", "--format", "json", "one"))
    assert set(found) == {*FIELDS, "Pressure"}
    assert (found["Container"], found["Name"], found["ID"], found["PIDs"]) == ("one", "one", one.id[:12], "1")
    assert found["Pressure"] is None or set(found["Pressure"]) == {"cpu", "memory", "io"}
    found = json.loads(cli.ok("stats", "--no-stream", "--format", "{{json .}}"))
    assert found["Container"] == one.id
    form = " ".join(f"{{{{.{field}}}}}" for field in FIELDS)
    assert cli.ok("stats", "--no-stream", "--format", form, one.id[:5]).startswith(f"{one.id[:5]} one {one.id[:12]} ")


def test_bad_input(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    started(engine, name="one")
    assert refused(cli, "stats", "nosuch", "one") == "no such container: nosuch"
    assert "unclosed action" in refused(cli, "stats", "--format", "{{.Name")
    assert "can't evaluate field Nope" in refused(cli, "stats", "--no-stream", "--format", "{{.Nope}}")


def seen(process: subprocess.Popen[bytes], until: Callable[[str], bool]) -> str:
    """Read what a process writes until ``until`` is content with it."""
    assert process.stdout is not None
    text, end = "", time.monotonic() + 30
    while not until(text):
        assert time.monotonic() < end, text
        if select.select([process.stdout], [], [], 0.5)[0]:
            text += os.read(process.stdout.fileno(), 65536).decode()
    return text


def test_live_without_a_terminal(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """Table after table; what ends uses nothing, what is removed is no more, what was not asked for is not shown."""
    cli = cli_busybox
    one, two = started(engine, name="one"), started(engine, name="two")
    form = "{{.Container}}:{{.PIDs}}"
    process = cli.popen("stats", "--format", form, "one", "two", stdout=subprocess.PIPE)
    seen(process, lambda text: "one:1\ntwo:1\n" in text)
    started(engine, name="three")
    one.kill()
    two.remove(force=True)
    assert "\x1b" not in seen(process, lambda text: "one:0\ntwo:--\n" in text)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_live_of_all(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """Whatever runs comes and goes."""
    cli = cli_busybox
    one = started(engine, name="one")
    process = cli.popen("stats", "--format", "<{{.Name}}>", stdout=subprocess.PIPE)
    seen(process, lambda text: text.endswith("<one>\n"))
    started(engine, name="two")
    seen(process, lambda text: text.endswith("<two>\n<one>\n"))
    one.kill()
    seen(process, lambda text: text.endswith("<two>\n<two>\n"))
    process.terminate()
    process.wait(60)


def test_live_on_a_terminal(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """The table stays in its place, and is cut where the terminal ends."""
    for number in range(6):
        started(engine, name=f"c{number}")
    terminal = Terminal(cli_busybox, "stats")
    terminal.resize(6, 120)
    terminal.seen = b""
    with contextlib.suppress(OSError):
        terminal.read_until(b"\x1b[J", 30)
        terminal.read_until(b"\x1b[J\x1b[H", 30)
    screen = Screen(120, 6)
    screen.feed(terminal.seen[terminal.seen.rindex(b"\x1b[H", 0, terminal.seen.rindex(b"\x1b[J")) :])
    assert screen.text[0].split() == HEAD.split()
    assert [line.split()[1] for line in screen.text[1:5]] == ["c5", "c4", "c3", "c2"]
    assert not screen.history
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
