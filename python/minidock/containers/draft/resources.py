"""Options that limit what a container may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.containers.draft.base import Draft, Handler, flag, text, texts
from minidock.containers.parse import cpuset, devices, sizes, ulimits
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.spec.docker import ThrottleDevice

MINIMUM_MEMORY = 6 << 20


def _memory(draft: Draft, value: Any) -> None:
    memory = sizes.size(value)
    if 0 < memory < MINIMUM_MEMORY:
        raise InvalidArgument("minimum memory limit allowed is 6MB")
    if draft.host_config.memory not in (0, memory):
        raise InvalidArgument("memory and mem_limit contradict each other; give one of them")
    draft.host_config.memory = memory


def _memswap_limit(draft: Draft, value: Any) -> None:
    draft.host_config.memory_swap = sizes.size_or_unlimited(value)


def _mem_reservation(draft: Draft, value: Any) -> None:
    reservation = sizes.size(value)
    if 0 < reservation < MINIMUM_MEMORY:
        raise InvalidArgument("minimum memory reservation allowed is 6MB")
    draft.host_config.memory_reservation = reservation


def _mem_swappiness(draft: Draft, value: Any) -> None:
    swappiness = sizes.integer(value)
    if not -1 <= swappiness <= 100:
        raise InvalidArgument(f"invalid value: {swappiness}, valid memory swappiness range is 0-100")
    draft.host_config.memory_swappiness = None if swappiness == -1 else swappiness


def _kernel_memory(draft: Draft, value: Any) -> None:
    if sizes.size(value):
        draft.warnings.append(
            "kernel memory limits are no longer supported by Linux (memory.kmem.limit_in_bytes); discarded"
        )


def _oom_kill_disable(draft: Draft, value: object) -> None:
    draft.host_config.oom_kill_disable = flag(value)


def _oom_score_adj(draft: Draft, value: Any) -> None:
    score = sizes.integer(value)
    if not -1000 <= score <= 1000:
        raise InvalidArgument(f"invalid value {score}, range for oom score adj is [-1000, 1000]")
    draft.host_config.oom_score_adj = score


def _cpus(draft: Draft, value: Any) -> None:
    if isinstance(value, bool):
        raise TypeError
    draft.host_config.nano_cpus = sizes.nano_cpus(value)


def _nano_cpus(draft: Draft, value: Any) -> None:
    draft.host_config.nano_cpus = sizes.integer(value)


def _cpu_quota(draft: Draft, value: Any) -> None:
    quota = sizes.integer(value)
    if quota < -1 or 0 < quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    draft.host_config.cpu_quota = quota


def _cpu_period(draft: Draft, value: Any) -> None:
    period = sizes.integer(value)
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    draft.host_config.cpu_period = period


def _cpu_rt_period(draft: Draft, value: Any) -> None:
    draft.host_config.cpu_realtime_period = sizes.integer(value, 0)


def _cpu_rt_runtime(draft: Draft, value: Any) -> None:
    draft.host_config.cpu_realtime_runtime = sizes.integer(value)


def _cpu_shares(draft: Draft, value: Any) -> None:
    shares = sizes.integer(value)
    if shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({shares}): value must be a positive integer")
    if shares == 1:
        raise InvalidArgument("the minimum allowed cpu-shares is 2")
    if shares > 262144:
        raise InvalidArgument("the maximum allowed cpu-shares is 262144")
    draft.host_config.cpu_shares = shares


def _cpuset_cpus(draft: Draft, value: object) -> None:
    cpuset.cpuset(text(value), "cpus")
    draft.host_config.cpuset_cpus = text(value)


def _cpuset_mems(draft: Draft, value: object) -> None:
    cpuset.cpuset(text(value), "mems")
    draft.host_config.cpuset_mems = text(value)


def _pids_limit(draft: Draft, value: Any) -> None:
    limit = sizes.integer(value)
    draft.host_config.pids_limit = limit if limit > 0 else None


def _blkio_weight(draft: Draft, value: Any) -> None:
    weight = sizes.integer(value)
    if weight and not 10 <= weight <= 1000:
        raise InvalidArgument("range of blkio weight is from 10 to 1000")
    draft.host_config.blkio_weight = weight


def _blkio_weight_device(draft: Draft, value: object) -> None:
    draft.host_config.blkio_weight_device = [devices.weight_device(entry) for entry in texts(value)]


def _throttle(attribute: str, parse: Callable[[str], ThrottleDevice]) -> Handler:
    def handle(draft: Draft, value: object) -> None:
        setattr(draft.host_config, attribute, [parse(entry) for entry in texts(value)])

    return handle


def _ulimits(draft: Draft, value: object) -> None:
    # Docker: the last of several for one name wins.
    limits = {limit.name: limit for limit in (ulimits.ulimit(entry) for entry in texts(value))}
    draft.host_config.ulimits = [limits[name] for name in sorted(limits)]


def _shm_size(draft: Draft, value: Any) -> None:
    draft.host_config.shm_size = sizes.size(value) or draft.host_config.shm_size


def _devices(draft: Draft, value: object) -> None:
    draft.host_config.devices = [devices.device(entry) for entry in texts(value)]


def _device_cgroup_rules(draft: Draft, value: object) -> None:
    rules = texts(value)
    for rule in rules:
        devices.device_cgroup_rule(rule)
    draft.host_config.device_cgroup_rules = rules


def _cgroup_parent(draft: Draft, value: object) -> None:
    draft.host_config.cgroup_parent = check_cgroup_parent(text(value))


def check_cgroup_parent(parent: str) -> str:
    """Return a cgroup parent after checking it: a path of plain names, below the root of each hierarchy."""
    for part in parent.strip("/").split("/") if parent.strip("/") else ():
        if part in ("", ".", "..") or not part.isprintable() or len(part.encode()) > 255:
            raise InvalidArgument(f"cgroup parent {parent[:100]!a}: must be a path without '.', '..' and '//'")
    return parent


HANDLERS: dict[str, Handler] = {
    "memory": _memory,
    "mem_limit": _memory,
    "memswap_limit": _memswap_limit,
    "mem_reservation": _mem_reservation,
    "mem_swappiness": _mem_swappiness,
    "kernel_memory": _kernel_memory,
    "oom_kill_disable": _oom_kill_disable,
    "oom_score_adj": _oom_score_adj,
    "cpus": _cpus,
    "nano_cpus": _nano_cpus,
    "cpu_quota": _cpu_quota,
    "cpu_period": _cpu_period,
    "cpu_rt_period": _cpu_rt_period,
    "cpu_rt_runtime": _cpu_rt_runtime,
    "cpu_shares": _cpu_shares,
    "cpuset_cpus": _cpuset_cpus,
    "cpuset_mems": _cpuset_mems,
    "pids_limit": _pids_limit,
    "blkio_weight": _blkio_weight,
    "blkio_weight_device": _blkio_weight_device,
    "device_read_bps": _throttle("blkio_device_read_bps", devices.throttle_bps),
    "device_write_bps": _throttle("blkio_device_write_bps", devices.throttle_bps),
    "device_read_iops": _throttle("blkio_device_read_iops", devices.throttle_iops),
    "device_write_iops": _throttle("blkio_device_write_iops", devices.throttle_iops),
    "ulimits": _ulimits,
    "shm_size": _shm_size,
    "devices": _devices,
    "device_cgroup_rules": _device_cgroup_rules,
    "cgroup_parent": _cgroup_parent,
}
