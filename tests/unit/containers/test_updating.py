"""What an update asks for, beside what is set."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from minidock.config import Config
from minidock.containers.options import CreateOptions, UpdateOptions
from minidock.containers.updating import NAMES, Change
from minidock.errors import Conflict, InvalidArgument
from minidock.spec.docker import HostConfig, RestartPolicy
from tests.unit.containers.test_draft import FakeHost

M = 1 << 20


def change(**limits: Any) -> Change:
    return Change(limits, Config(), FakeHost())


def test_names_are_declared() -> None:
    assert set(UpdateOptions.__annotations__) == NAMES
    assert set(CreateOptions.__annotations__) >= NAMES
    for name, kind in UpdateOptions.__annotations__.items():
        assert CreateOptions.__annotations__[name] == kind, name


@pytest.mark.parametrize(
    ("limits", "old", "new"),
    [
        ({"memory": "64m", "memswap_limit": "64m"}, {}, {"memory": 64 * M, "memory_swap": 64 * M}),
        ({"mem_limit": 70 * M}, {"memory": 64 * M, "memory_swap": 128 * M}, {"memory": 70 * M, "memory_swap": 128 * M}),
        ({"memswap_limit": -1}, {"memory": 64 * M, "memory_swap": 128 * M}, {"memory": 64 * M, "memory_swap": -1}),
        ({"mem_reservation": "65m"}, {"memory": 64 * M}, {"memory": 64 * M, "memory_reservation": 65 * M}),
        ({"cpus": "0.5"}, {}, {"nano_cpus": 500_000_000}),
        ({"cpus": 1}, {"cpu_quota": -1}, {"nano_cpus": 1_000_000_000, "cpu_quota": -1}),
        ({"cpu_quota": -1}, {"nano_cpus": 5}, {"nano_cpus": 5, "cpu_quota": -1}),
        ({"cpu_period": 5000, "cpu_quota": 6000}, {}, {"cpu_period": 5000, "cpu_quota": 6000}),
        ({"cpuset_cpus": "1", "cpuset_mems": "0"}, {"cpuset_cpus": "0"}, {"cpuset_cpus": "1", "cpuset_mems": "0"}),
        ({"pids_limit": 5}, {}, {"pids_limit": 5}),
        ({"pids_limit": -1}, {"pids_limit": 5}, {"pids_limit": 0}),
        ({"restart": "on-failure:2"}, {}, {"restart_policy": RestartPolicy("on-failure", 2)}),
        ({"restart": "no"}, {"auto_remove": True}, {"auto_remove": True}),
        # nothing is asked for by these
        ({"pids_limit": 0}, {"pids_limit": 5}, {"pids_limit": 5}),
        ({"memory": 0, "cpus": 0, "cpuset_cpus": "", "cpu_shares": 0}, {"memory": 7}, {"memory": 7}),
        ({"restart": ""}, {"restart_policy": RestartPolicy("always")}, {"restart_policy": RestartPolicy("always")}),
        ({"restart": None, "memory": None}, {"memory": 7}, {"memory": 7}),
    ],
)
def test_merged(limits: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> None:
    assert change(**limits).merged(HostConfig(**old)) == HostConfig(**new)


@pytest.mark.parametrize(
    ("limits", "old", "words"),
    [
        ({"cpus": 1}, {"cpu_period": 1000}, "Nano CPUs cannot be updated as CPU Period has already been set"),
        ({"cpus": 1}, {"cpu_quota": 1000}, "Nano CPUs cannot be updated as CPU Quota has already been set"),
        ({"cpu_period": 1000}, {"nano_cpus": 1}, "CPU Period cannot be updated as NanoCPUs has already been set"),
        ({"cpu_quota": 1000}, {"nano_cpus": 1}, "CPU Quota cannot be updated as NanoCPUs has already been set"),
        ({"memory": "64m"}, {}, "smaller than already set memoryswap limit, update the memoryswap at the same time"),
        ({"memory": "64m"}, {"memory": 7, "memory_swap": 63 * M}, "smaller than already set memoryswap limit"),
        ({"memswap_limit": "32m"}, {}, "always set the Memory limit when using Memoryswap limit"),
        ({"memswap_limit": "32m"}, {"memory": 64 * M}, "memoryswap limit should be larger than memory limit"),
        ({"restart": "always"}, {"auto_remove": True}, "because AutoRemove is enabled"),
    ],
)
def test_conflicts(limits: dict[str, Any], old: dict[str, Any], words: str) -> None:
    before = HostConfig(**old)
    with pytest.raises(Conflict, match=words):
        change(**limits).merged(before)
    assert before == HostConfig(**old)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"memory": "5m"}, "minimum memory limit allowed is 6MB"),
        ({"memory": "abc"}, "invalid size"),
        ({"memory": -1}, "invalid size"),
        ({"memory": "64m", "memswap_limit": "32m"}, "minimum memoryswap limit should be larger than memory limit"),
        ({"memory": "64m", "mem_reservation": "65m"}, "can not be less than memory reservation limit"),
        ({"memory": "64m", "mem_limit": "65m"}, "contradict"),
        ({"mem_reservation": "1m"}, "minimum memory reservation allowed is 6MB"),
        ({"cpus": 3}, "range of CPUs is from 0.01 to 2.00"),
        ({"cpus": -1}, "range of CPUs is from 0.01 to 2.00"),
        ({"cpus": "x"}, "failed to parse x as a rational number"),
        ({"cpus": 1, "cpu_period": 1000}, "Nano CPUs and CPU Period cannot both be set"),
        ({"cpus": 1, "cpu_quota": 1000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"cpu_quota": 10}, "CPU cfs quota can not be less than 1ms"),
        ({"cpu_period": 10}, "CPU cfs period can not be less than 1ms"),
        ({"cpu_shares": 1}, "minimum allowed cpu-shares is 2"),
        ({"cpuset_cpus": "0-9"}, "requested CPUs are not available - requested 0-9, available: 0-1"),
        ({"cpuset_mems": "5"}, "requested memory nodes are not available - requested 5, available: 0"),
        ({"pids_limit": "x"}, "invalid number"),
        ({"blkio_weight": 5}, "range of blkio weight is from 10 to 1000"),
        ({"cpu_rt_period": 10, "cpu_rt_runtime": 20}, "cannot be higher than cpu real-time period"),
        ({"restart": "always:3"}, "can only be used with 'on-failure'"),
        ({"hostname": "x"}, 'option "hostname" cannot be changed'),
        ({"nonsense": None}, 'option "nonsense" cannot be changed'),
        ({"memory": []}, "makes no sense here"),
    ],
)
def test_nonsense(limits: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        change(**limits)
    assert words in str(caught.value)


def test_kernel_memory_warns() -> None:
    assert len(change(kernel_memory="64m").warnings) == 1
    assert change(kernel_memory="64m").resources(HostConfig()) is None


def limits(asked: Change, host_config: HostConfig, *, explicit: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(asked.resources(host_config, explicit=explicit))
    return found


def test_resources_name_what_is_asked_for_alone() -> None:
    asked = change(memory="64m", memswap_limit="64m", pids_limit=-1)
    old = HostConfig(memory=10, memory_swap=20, memory_reservation=5, cpu_shares=7, pids_limit=4)
    assert limits(asked, asked.merged(old)) == {"memory": {"limit": 64 * M, "swap": 64 * M}, "pids": {"limit": 0}}
    assert limits(asked, old, explicit=True) == {"memory": {"limit": 10, "swap": 20}, "pids": {"limit": 4}}


def test_swap_goes_along_with_memory() -> None:
    """Version 2 of cgroups has a file for swap alone, which follows from both: there, and back."""
    asked = change(memory="96m")
    old = HostConfig(memory=64 * M, memory_swap=128 * M, pids_limit=4)
    assert limits(asked, asked.merged(old)) == {"memory": {"limit": 96 * M, "swap": 128 * M}}
    assert limits(asked, old, explicit=True) == {"memory": {"limit": 64 * M, "swap": 128 * M}}
    assert limits(asked, HostConfig(), explicit=True) == {"memory": {"limit": -1, "swap": -1}}
    free = HostConfig(memory=64 * M, memory_swap=-1)
    assert limits(asked, free, explicit=True) == {"memory": {"limit": 64 * M, "swap": -1}}
    alone = change(memswap_limit="256m")
    assert limits(alone, alone.merged(old)) == {"memory": {"swap": 256 * M}}
    assert limits(alone, old, explicit=True) == {"memory": {"swap": 128 * M}}


def test_what_takes_limits_away() -> None:
    asked = change(
        memory="64m",
        memswap_limit="64m",
        mem_reservation="10m",
        cpus=1,
        cpu_shares=5,
        cpuset_cpus="0",
        cpuset_mems="0",
        pids_limit=5,
        blkio_weight=300,
    )
    assert limits(asked, HostConfig(), explicit=True) == {
        "memory": {"limit": -1, "reservation": -1, "swap": -1},
        "cpu": {"shares": 1024, "quota": -1, "period": 100000, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 0},
        "blockIO": {"weight": 500},
    }
    quota = change(cpu_quota=5000)
    assert limits(quota, HostConfig(nano_cpus=0, cpu_quota=7000), explicit=True) == {"cpu": {"quota": 7000}}


def test_a_policy_alone_limits_nothing() -> None:
    assert change(restart="always").resources(HostConfig(memory=5)) is None
