"""Docker's arithmetic of statistics, and the Engine API's body, from looks at groups of both cgroup versions."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.containers.stats import Cpu, CpuLook, Device, Interface, Memory, Pids, Stats

V1 = {
    "cache": 8,
    "rss": 4,
    "shmem": 1,
    "swap": 0,
    "hierarchical_memory_limit": 1 << 62,
    "total_cache": 8,
    "total_shmem": 1,
    "total_inactive_file": 3,
}
V2 = {"anon": 4, "file": 8, "inactive_file": 3, "slab": 2}


def stats(memory: Memory, io: tuple[Device, ...] = (), **changes: Any) -> Stats:
    before = CpuLook(1_700_000_000_000_000_000, Cpu(usage_ns=1_000), 10_000, 4)
    now = CpuLook(1_700_000_001_500_000_000, Cpu(usage_ns=2_000, user_ns=1_200, system_ns=800), 30_000, 4)
    made = Stats("ab" * 32, "one", now, before, memory, 1 << 30, Pids(3, 10), io)
    return Stats(**{**{name: getattr(made, name) for name in made.__struct_fields__}, **changes})


def test_cpu() -> None:
    """Of 20,000 ns that four CPUs had together it used 1,000: a fifth of one CPU."""
    assert stats(Memory()).cpu_percent == pytest.approx(20.0)
    assert stats(Memory(), before=None).cpu_percent is None
    again = CpuLook(0, Cpu(usage_ns=5_000), 20_000, 4)
    assert stats(Memory(), before=again).cpu_percent == 0.0  # it was started again meanwhile
    same = CpuLook(0, Cpu(usage_ns=1), 30_000, 4)
    assert stats(Memory(), before=same).cpu_percent == 0.0
    assert stats(Memory(), now=None).cpu_percent == 0.0


def test_memory() -> None:
    assert Memory(usage=100, inactive_file=30).used == 70
    assert Memory(usage=100, inactive_file=100).used == 100  # Docker: it must be less
    assert Memory(usage=100, inactive_file=300).used == 100
    half = stats(Memory(usage=300, limit=200, inactive_file=200))
    assert (half.memory_limit, half.memory_percent) == (200, 50.0)
    assert stats(Memory(limit=1 << 40)).memory_limit == 1 << 30
    assert stats(Memory()).memory_limit == 1 << 30
    assert stats(Memory(usage=5), host_memory=0).memory_percent == 0.0


def test_the_body_of_version_1() -> None:
    disk = Device(8, 16, 100, 50, 7, 10, 5, 1, 120, 12)
    memory = Memory(usage=12, peak=20, limit=64, failures=2, inactive_file=3, stat=V1)
    body = stats(memory, (disk,), networks=(Interface("eth0", 1, 2, 3, 4, 5, 6, 7, 8),)).body()
    assert (body["read"], body["preread"]) == ("2023-11-14T22:13:21.5Z", "2023-11-14T22:13:20Z")
    assert body["memory_stats"] == {
        "usage": 12,
        "max_usage": 20,
        "failcnt": 2,
        "limit": 64,
        "stats": {
            "cache": 8,
            "rss": 4,
            "hierarchical_memory_limit": 1 << 62,
            "total_cache": 8,
            "total_inactive_file": 3,
        },
    }
    assert body["cpu_stats"] == {
        "cpu_usage": {"total_usage": 2_000, "usage_in_kernelmode": 800, "usage_in_usermode": 1_200},
        "system_cpu_usage": 30_000,
        "online_cpus": 4,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
    assert body["pids_stats"] == {"current": 3, "limit": 10}
    told = {entry["op"]: entry["value"] for entry in body["blkio_stats"]["io_service_bytes_recursive"]}
    assert told == {"Read": 100, "Write": 50, "Sync": 120, "Async": 37, "Discard": 7, "Total": 157}
    told = {entry["op"]: entry["value"] for entry in body["blkio_stats"]["io_serviced_recursive"]}
    assert told == {"Read": 10, "Write": 5, "Sync": 12, "Async": 4, "Discard": 1, "Total": 16}
    assert {(entry["major"], entry["minor"]) for entry in body["blkio_stats"]["io_serviced_recursive"]} == {(8, 16)}
    assert body["networks"] == {
        "eth0": {
            **{"rx_bytes": 1, "rx_packets": 2, "rx_errors": 3, "rx_dropped": 4},
            **{"tx_bytes": 5, "tx_packets": 6, "tx_errors": 7, "tx_dropped": 8},
        }
    }


def test_the_body_of_version_2() -> None:
    memory = Memory(usage=12, limit=64, failures=2, inactive_file=3, stat=V2)
    body = stats(memory, (Device(8, 16, 100, 50, 7, 10, 5, 1),), pids=Pids(3)).body()
    assert body["memory_stats"] == {"usage": 12, "limit": 64, "stats": V2}
    assert body["pids_stats"] == {"current": 3}
    assert body["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 16, "op": "read", "value": 100},
        {"major": 8, "minor": 16, "op": "write", "value": 50},
    ]
    assert body["blkio_stats"]["io_merged_recursive"] == []
    assert "networks" not in body
    per_cpu = CpuLook(0, Cpu(per_cpu_ns=(1, 2)), 1, 2)
    assert stats(memory, now=per_cpu).body()["cpu_stats"]["cpu_usage"]["percpu_usage"] == [1, 2]


def test_the_body_of_one_look() -> None:
    body = stats(Memory(), before=None).body()
    assert body["preread"] == "0001-01-01T00:00:00Z"
    assert "system_cpu_usage" not in body["precpu_stats"]
    assert body["precpu_stats"]["cpu_usage"]["total_usage"] == 0
