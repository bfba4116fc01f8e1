"""Limits: Docker's words → the runtime-spec's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.spec.oci_runtime import (
    CPU,
    BlockIO,
    DeviceCgroup,
    Memory,
    Pids,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

if TYPE_CHECKING:
    from minidock.containers.host import Host
    from minidock.spec import docker

_PERIOD = 100_000
"""The kernel's own period, in microseconds; Docker uses it for ``--cpus``."""


def resources(host_config: docker.HostConfig, rules: list[DeviceCgroup], host: Host) -> Resources:
    """Return the limits of the container's cgroup."""
    return Resources(
        devices=rules,
        memory=_memory(host_config),
        cpu=_cpu(host_config),
        pids=Pids(host_config.pids_limit) if host_config.pids_limit else None,
        block_io=_block_io(host_config, host),
    )


def _memory(host_config: docker.HostConfig) -> Memory | None:
    memory = Memory(
        limit=host_config.memory or None,
        reservation=host_config.memory_reservation or None,
        swap=host_config.memory_swap or None,
        swappiness=host_config.memory_swappiness,
        disable_oom_killer=True if host_config.oom_kill_disable else None,
    )
    return None if memory == Memory() else memory


def _cpu(host_config: docker.HostConfig) -> CPU | None:
    quota, period = host_config.cpu_quota or None, host_config.cpu_period or None
    if host_config.nano_cpus:
        quota, period = host_config.nano_cpus * _PERIOD // 1_000_000_000, _PERIOD
    cpu = CPU(
        shares=host_config.cpu_shares or None,
        quota=quota,
        period=period,
        realtime_runtime=host_config.cpu_realtime_runtime or None,
        realtime_period=host_config.cpu_realtime_period or None,
        cpus=host_config.cpuset_cpus,
        mems=host_config.cpuset_mems,
    )
    return None if cpu == CPU() else cpu


def _block_io(host_config: docker.HostConfig, host: Host) -> BlockIO | None:
    def throttle(entries: list[docker.ThrottleDevice] | None) -> list[ThrottleDevice]:
        return [ThrottleDevice(*host.block_numbers(entry.path), entry.rate) for entry in entries or ()]

    block_io = BlockIO(
        weight=host_config.blkio_weight or None,
        weight_device=[
            WeightDevice(*host.block_numbers(entry.path), weight=entry.weight)
            for entry in host_config.blkio_weight_device or ()
        ],
        throttle_read_bps_device=throttle(host_config.blkio_device_read_bps),
        throttle_write_bps_device=throttle(host_config.blkio_device_write_bps),
        throttle_read_iops_device=throttle(host_config.blkio_device_read_iops),
        throttle_write_iops_device=throttle(host_config.blkio_device_write_iops),
    )
    return None if block_io == BlockIO() else block_io
