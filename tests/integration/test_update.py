"""``update``: limits that change while a container runs, and its restart policy."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.errors import Conflict, InvalidArgument, MinidockError
from tests.conftest import Cli, Roots
from tests.integration.verbs import reaches, ready, refused, started, state

M = 1 << 20


def limits(container: minidock.Container) -> dict[str, Any]:
    """What the kernel enforces, read from version 1 files or their version 2 counterparts."""
    pid = state(container)["Pid"]
    found: dict[str, Any] = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(",") if names else ("",):
            folder = Path(f"/sys/fs/cgroup/{name}{path}")
            for file, key in _FILES.get(name, {}).items():
                if (folder / file).exists():
                    found[key] = (folder / file).read_text().strip()
    if "max" in found:
        quota, found["period"] = found.pop("max").split()
        found["quota"] = "-1" if quota == "max" else quota
    return found


_FILES = {
    "memory": {
        "memory.limit_in_bytes": "memory",
        "memory.memsw.limit_in_bytes": "memory+swap",
        "memory.soft_limit_in_bytes": "reservation",
    },
    "cpu": {"cpu.cfs_quota_us": "quota", "cpu.cfs_period_us": "period", "cpu.shares": "shares"},
    "cpuset": {"cpuset.cpus": "cpus", "cpuset.mems": "mems"},
    "pids": {"pids.max": "pids"},
    "": {
        "memory.max": "memory",
        "memory.low": "reservation",
        "cpu.max": "max",
        "cpuset.cpus": "cpus",
        "cpuset.mems": "mems",
        "pids.max": "pids",
    },
}


@pytest.mark.parametrize(
    ("asked", "enforced"),
    [
        ({"memory": "64m", "memswap_limit": "64m"}, {"memory": 64 * M}),
        ({"mem_limit": 64 * M, "memswap_limit": -1}, {"memory": 64 * M}),
        ({"mem_reservation": "32m"}, {"reservation": 32 * M}),
        ({"cpus": "0.5"}, {"quota": 50000, "period": 100000}),
        ({"cpu_quota": 20000, "cpu_period": 40000}, {"quota": 20000, "period": 40000}),
        ({"cpuset_cpus": "0", "cpuset_mems": "0"}, {"cpus": 0, "mems": 0}),
        ({"pids_limit": 17}, {"pids": 17}),
    ],
)
def test_the_kernel_enforces_it(
    engine: minidock.Engine, busybox: str, asked: dict[str, Any], enforced: dict[str, int]
) -> None:
    container = started(engine)
    assert container.update(**asked) == []
    found = limits(container)
    for key, value in enforced.items():
        assert found[key] == str(value), key
    again = engine.containers.create(busybox, ["true"], **asked)
    fresh, changed = again.attrs["HostConfig"], container.attrs["HostConfig"]
    assert {key: changed[key] for key in _INSPECTED} == {key: fresh[key] for key in _INSPECTED}


_INSPECTED = (
    *("BlkioWeight", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpuShares", "CpusetCpus"),
    *("CpusetMems", "Memory", "MemoryReservation", "MemorySwap", "NanoCpus", "PidsLimit", "RestartPolicy"),
)


def test_memory_and_swap_in_both_directions(engine: minidock.Engine, busybox: str) -> None:
    """The kernel takes them in one order up and in another down."""
    container = started(engine, memory="64m", memswap_limit="64m")
    for size in (256, 100, 512, 50):
        container.update(memory=f"{size}m", memswap_limit=f"{size}m")
        assert limits(container)["memory"] == str(size * M)
    container.update(memswap_limit=-1)
    container.update(memswap_limit="60m")
    assert container.attrs["HostConfig"]["MemorySwap"] == 60 * M


def test_it_holds_after_the_next_start(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine)
    container.update(pids_limit=9, memory="64m", memswap_limit="64m")
    container.restart(timeout=0)
    assert limits(container)["pids"] == "9"
    container.stop(timeout=0)
    container.update(pids_limit=11)
    container.start()
    found = limits(container)
    assert (found["pids"], found["memory"]) == ("11", str(64 * M))
    container.update(pids_limit=-1)
    assert limits(container)["pids"] == "max"
    assert container.attrs["HostConfig"]["PidsLimit"] == 0


def test_it_holds_after_a_restart_by_its_policy(engine: minidock.Engine, busybox: str) -> None:
    script = "echo >> /runs; [ $(wc -l < /runs) -gt 3 ] && exec sleep 1000; sleep 0.3; exit 1"
    container = started(engine, ["sh", "-c", script], restart="always")
    container.update(pids_limit=9)
    reaches(container, "running", 3)
    assert limits(container)["pids"] == "9"
    container.stop()


def test_a_paused_container(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine)
    container.pause()
    container.update(pids_limit=9)
    assert limits(container)["pids"] == "9"
    assert state(container)["Status"] == "paused"


def test_a_refused_value_changes_nothing(engine: minidock.Engine, busybox: str) -> None:
    """Not even those beside it, in the record or in the kernel."""
    container = started(engine, memory="64m", memswap_limit="128m", cpu_shares=512)
    before, enforced = container.attrs["HostConfig"], limits(container)
    for asked, error in (
        ({"memory": "5m", "pids_limit": 7}, InvalidArgument),
        ({"cpus": 1, "cpu_shares": 1}, InvalidArgument),
        ({"memory": "200m", "pids_limit": 7}, Conflict),
        ({"memswap_limit": "32m", "pids_limit": 7}, Conflict),
        ({"restart": "on-failure:-1", "pids_limit": 7}, InvalidArgument),
        ({"hostname": "other"}, InvalidArgument),
    ):
        with pytest.raises(error):
            container.update(**asked)  # type: ignore[arg-type]
        container.reload()
        assert container.attrs["HostConfig"] == before
        assert limits(container) == enforced


V1 = pytest.mark.skipif(
    not Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists(), reason="cgroup v2 takes the value"
)


@V1
def test_what_the_kernel_refuses_changes_nothing(engine: minidock.Engine, busybox: str) -> None:
    """A quota above that of the group above; memory, which the kernel is given first, is put back."""
    container = started(engine, memory="64m", memswap_limit="64m")
    before, enforced = container.attrs["HostConfig"], limits(container)
    container_above = started(engine, memory="64m", memswap_limit="64m", cgroup_parent=_group(container))
    above = limits(container_above)
    container.update(cpu_quota=10000)
    with pytest.raises(MinidockError, match=f"^cannot update container {container_above.id}: "):
        container_above.update(memory="100m", memswap_limit="100m", pids_limit=5, cpu_quota=90000)
    assert limits(container_above) == above
    container_above.reload()
    assert container_above.attrs["HostConfig"]["Memory"] == 64 * M
    assert container_above.attrs["HostConfig"]["PidsLimit"] is None
    assert before["Memory"] == 64 * M
    assert enforced["memory"] == str(64 * M)
    container_above.remove(force=True)


def _group(container: minidock.Container) -> str:
    from minidock.containers.runtime_spec import cgroups_path

    return cgroups_path(container.record)


@V1
def test_memory_in_use_cannot_be_taken_away(engine: minidock.Engine, busybox: str) -> None:
    # Something follows the sleep, so that the shell stays, with its variable.
    script = "x=$(head -c 40000000 /dev/zero | tr '\\0' a); touch /ready; sleep 1000; echo $x"
    container = started(engine, ["sh", "-c", script], memory="200m", memswap_limit="200m")
    ready(container)
    before = limits(container)
    with pytest.raises(MinidockError, match="bytes are in use"):
        container.update(memory="10m", memswap_limit="10m")
    assert limits(container) == before
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 200 * M


def test_no_update_is_lost(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    """Four processes change four limits of one running container again and again."""
    container = started(engine, memory="100m", memswap_limit=-1)
    asked = [
        [{"pids_limit": 100 + number} for number in range(15)],
        [{"cpu_shares": 100 + number} for number in range(15)],
        [{"mem_reservation": f"{50 + number}m"} for number in range(15)],
        [{"cpu_quota": 10000 + number} for number in range(15)],
    ]
    context = multiprocessing.get_context("spawn")
    arguments = [(str(roots.data), str(roots.run), str(roots.config), container.id, changes) for changes in asked]
    workers = [context.Process(target=_update_all, args=values) for values in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(90)
        assert worker.exitcode == 0
        worker.close()
    container.reload()
    found = container.attrs["HostConfig"]
    assert (found["PidsLimit"], found["CpuShares"], found["MemoryReservation"], found["CpuQuota"]) == (
        114,
        114,
        64 * M,
        10014,
    )
    enforced = limits(container)
    assert (enforced["pids"], enforced["quota"], enforced["reservation"]) == ("114", "10014", str(64 * M))


def _update_all(data: str, run: str, config: str, container_id: str, changes: list[dict[str, Any]]) -> None:
    with minidock.Engine(data_root=data, run_root=run, config=config) as engine:
        container = engine.containers.get(container_id)
        for change in changes:
            container.update(**change)  # type: ignore[misc]


def test_one_value_by_several(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    """Who records last has applied last: record and kernel agree."""
    container = started(engine)
    context = multiprocessing.get_context("spawn")
    workers = []
    for base in (1000, 2000, 3000):
        changes = [{"pids_limit": base + number} for number in range(10)]
        values = (str(roots.data), str(roots.run), str(roots.config), container.id, changes)
        workers.append(context.Process(target=_update_all, args=values))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(90)
        assert worker.exitcode == 0
        worker.close()
    container.reload()
    assert limits(container)["pids"] == str(container.attrs["HostConfig"]["PidsLimit"])


def test_restart_policy(engine: minidock.Engine, busybox: str) -> None:
    """The supervisor hears of it at once: it ends a loop, and starts again what has a policy by now."""
    container = started(engine, ["sh", "-c", "exit 5"], restart="always")
    reaches(container, "restarting", 3)
    container.update(restart="no")
    reaches(container, "exited")
    assert container.attrs["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    other = started(engine, ["sh", "-c", "while [ ! -e /end ]; do sleep 0.02; done; rm /end; exit 3"])
    other.update(restart="on-failure:3")
    pid = state(other)["Pid"]
    Path(f"/proc/{pid}/root/end").touch()
    reaches(other, "running", 1)
    assert state(other)["Pid"] != pid
    other.stop(timeout=0)


def test_restart_policy_of_one_to_be_removed(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, remove=True)
    with pytest.raises(Conflict, match="AutoRemove is enabled"):
        container.update(restart="always")
    container.update(restart="no")


def test_python_takes_docker_py_s_words(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    warnings = container.update(
        mem_limit="64m",
        memswap_limit="64m",
        mem_reservation="32m",
        kernel_memory="64m",
        cpu_shares=512,
        cpu_period=100000,
        cpu_quota=50000,
        cpuset_cpus="0",
        cpuset_mems="0",
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
    )
    assert len(warnings) == 1
    assert "kernel memory" in warnings[0]
    found = container.attrs["HostConfig"]
    assert (found["Memory"], found["MemoryReservation"], found["CpuShares"]) == (64 * M, 32 * M, 512)
    assert found["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    started(engine, name="one")
    engine.containers.create("busybox", ["true"], name="two")
    flags = ["-m", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "9", "--restart", "on-failure:2"]
    done = cli("update", *flags, "one", "nope", "two")
    assert (done.returncode, done.stdout) == (1, b"one\ntwo\n")
    assert done.stderr == b"minidock: no such container: nope\n"
    form = "{{with .HostConfig}}{{.Memory}} {{.NanoCpus}} {{.PidsLimit}} {{.RestartPolicy.MaximumRetryCount}}{{end}}"
    assert cli.ok("inspect", "-f", form, "one", "two") == "67108864 500000000 9 2\n" * 2
    assert cli.ok("container", "update", "-c", "512", "--cpuset-cpus", "0", "--cpuset-mems=0", "one") == "one\n"
    assert cli.ok("update", "--pids-limit", "0", "one") == "one\n"


def test_nonsense_on_the_command_line(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    container = started(engine, name="one")
    before, enforced = container.attrs["HostConfig"], limits(container)
    assert refused(cli, "update", "one") == "you must provide one or more flags when using this command"
    assert "requires at least 1 argument" in refused(cli, "update")
    assert "flag needs an argument: --memory" in refused(cli, "update", "--memory", code=125)
    for flags, code, text in (
        (["-m", "abc"], 125, 'invalid argument "abc" for "-m, --memory" flag'),
        (["-m", "5m"], 1, "minimum memory limit allowed is 6MB"),
        (["-m", "64m"], 1, f"cannot update container {container.id}: memory limit should be smaller than already set"),
        (["--memory-swap", "64m"], 1, "you should always set the Memory limit when using Memoryswap limit"),
        (["--cpus", "abc"], 125, "failed to parse abc as a rational number"),
        (["--cpus", "100000"], 1, "range of CPUs is from 0.01 to"),
        (["--cpu-quota", "10"], 1, "CPU cfs quota can not be less than 1ms"),
        (["--cpu-shares", "x"], 125, 'parsing "x": invalid syntax'),
        (["--cpuset-cpus", "x"], 1, "invalid value x for cpuset cpus"),
        (["--cpuset-mems", "0-4294967295"], 1, "value out of range"),
        (["--pids-limit", "9" * 30], 125, "value out of range"),
        (["--blkio-weight", "5"], 1, "range of blkio weight is from 10 to 1000"),
        (["--restart", "sometimes"], 1, "unknown policy 'sometimes'"),
        (["--restart", "always:3"], 1, "maximum retry count can only be used with 'on-failure'"),
        (["--nonsense"], 125, "unknown flag: --nonsense"),
    ):
        assert text in refused(cli, "update", *flags, "one", code=code)
    container.reload()
    assert container.attrs["HostConfig"] == before
    assert limits(container) == enforced
