"""Other limits, or another restart policy, for a container that exists: in its record, and in its cgroup if it runs."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.containers import record as records
from minidock.containers.draft import Draft, apply
from minidock.containers.draft.merge import check_cpu, check_memory
from minidock.containers.parse import sizes
from minidock.containers.runtime_spec import cgroups_path
from minidock.containers.runtime_spec.resources import resources
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument, MinidockError, Timeout
from minidock.spec.docker import HostConfig
from minidock.spec.oci_runtime import CPU, BlockIO, Memory, Pids, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.config import Config
    from minidock.containers.host import Host
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record

NAMES = frozenset(
    (
        "blkio_weight",
        "cpu_period",
        "cpu_quota",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "cpu_shares",
        "cpus",
        "cpuset_cpus",
        "cpuset_mems",
        "kernel_memory",
        "mem_limit",
        "mem_reservation",
        "memory",
        "memswap_limit",
        "nano_cpus",
        "pids_limit",
        "restart",
        "restart_policy",
    )
)
"""Options of ``create`` that can be changed later."""

_FIELDS = (
    "blkio_weight",
    "cpu_period",
    "cpu_quota",
    "cpu_realtime_period",
    "cpu_realtime_runtime",
    "cpu_shares",
    "cpuset_cpus",
    "cpuset_mems",
    "memory",
    "memory_reservation",
    "memory_swap",
    "nano_cpus",
    "pids_limit",
)
_ATTEMPTS = 100
_STARTING_SECONDS = 15.0


class Change:
    """What one update asks for, checked for itself."""

    def __init__(self, limits: Mapping[str, Any], config: Config, host: Host) -> None:
        """Read the options. Raises InvalidArgument as ``create`` does, and for one that cannot be changed."""
        for name in limits:
            if name not in NAMES:
                raise InvalidArgument(
                    f'option "{name[:60]}" cannot be changed; remove the container and create it anew'
                )
        draft = Draft(None, config, os.environ)
        apply(draft, limits)
        asked = draft.host_config
        pids = limits.get("pids_limit")
        asked.pids_limit = None if pids is None or sizes.integer(pids) == 0 else max(sizes.integer(pids), 0)
        if asked.memory:
            check_memory(asked, [])
        check_cpu(asked, host)
        self.host = host
        self.warnings = draft.warnings
        self.limits = {name: getattr(asked, name) for name in _FIELDS if getattr(asked, name) not in (0, "", None)}
        if asked.pids_limit is not None:
            self.limits["pids_limit"] = asked.pids_limit
        # Docker: an empty policy is none that was given.
        self.restart = asked.restart_policy if limits.get("restart") or limits.get("restart_policy") else None

    def merged(self, old: HostConfig) -> HostConfig:
        """Return ``old`` with this change. Raises Conflict, in Docker's words, where the two do not fit together."""
        asked = self.limits
        pairs = (
            ("nano_cpus", "cpu_period", "Nano CPUs cannot be updated as CPU Period has already been set"),
            ("nano_cpus", "cpu_quota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
            ("cpu_period", "nano_cpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
            ("cpu_quota", "nano_cpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
        )
        for new, present, words in pairs:
            if asked.get(new, 0) > 0 and getattr(old, present) > 0:
                raise Conflict(f"conflicting options: {words}")
        if asked.get("memory", 0) > old.memory_swap and "memory_swap" not in asked:
            raise Conflict(
                "memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same "
                "time"
            )
        merged = copy.copy(old)
        for name, value in asked.items():
            setattr(merged, name, value)
        if merged.memory == 0 and merged.memory_swap > 0:
            raise Conflict("you should always set the Memory limit when using Memoryswap limit, see usage")
        if 0 < merged.memory_swap < merged.memory:
            raise Conflict("minimum memoryswap limit should be larger than memory limit, see usage")
        if self.restart is not None:
            if old.auto_remove and self.restart.name != "no":
                raise Conflict("restart policy cannot be updated because AutoRemove is enabled for the container")
            merged.restart_policy = self.restart
        return merged

    def resources(self, host_config: HostConfig, *, explicit: bool = False) -> Resources | None:
        """Return what this change is about as ``host_config`` has it; None if that is no limit.

        ``explicit`` names what is not limited there, too: it takes limits away.
        """
        about = HostConfig()
        for name in self.limits:
            setattr(about, name, getattr(host_config, name))
        if not self.limits:
            return None
        found = resources(about, [], self.host)
        if "pids_limit" in self.limits:
            found.pids = Pids(host_config.pids_limit or 0)
        return self._explicit(found) if explicit else found

    def _explicit(self, found: Resources) -> Resources:
        asked = self.limits
        memory, cpu = found.memory or Memory(), found.cpu or CPU()
        if "memory" in asked:
            memory.limit = memory.limit or -1
        if "memory_swap" in asked:
            memory.swap = memory.swap or -1
        if "memory_reservation" in asked:
            memory.reservation = memory.reservation or -1
        if "cpu_shares" in asked:
            cpu.shares = cpu.shares or 1024
        if "nano_cpus" in asked or "cpu_quota" in asked:
            cpu.quota = cpu.quota or -1
        if "nano_cpus" in asked or "cpu_period" in asked:
            cpu.period = cpu.period or 100_000
        if "cpuset_cpus" in asked:
            cpu.cpus = cpu.cpus or self.host.online_cpus
        if "cpuset_mems" in asked:
            cpu.mems = cpu.mems or self.host.online_mems
        if "blkio_weight" in asked:
            found.block_io = found.block_io or BlockIO(weight=20 if self.host.unified_cgroups else 500)
        found.memory = None if memory == Memory() else memory
        found.cpu = None if cpu == CPU() else cpu
        return found


def update(lifecycle: Lifecycle, container_id: str, limits: Mapping[str, Any]) -> list[str]:
    """Change limits of a container and its restart policy; returns warnings.

    It happens wholly or not at all; of several at once, in any processes, none is lost. Raises InvalidArgument for a
    value, Conflict for one that does not fit the others or the state, ContainerNotFound.
    """
    change = Change(limits, lifecycle.config, lifecycle.host)
    for _ in range(_ATTEMPTS):
        try:
            warnings = _attempt(lifecycle, container_id, change)
        except (ContainerNotFound, Timeout):
            raise
        except MinidockError as error:
            raise type(error)(f"cannot update container {container_id}: {error}") from error
        if warnings is not None:
            return [*change.warnings, *warnings]
    raise Conflict(f"cannot update container {container_id}: others change it all the time; try again")


def _attempt(lifecycle: Lifecycle, container_id: str, change: Change) -> list[str] | None:
    """Apply the change to the cgroup, then to the record; None if others have changed that in between.

    The record decides: who records last has applied last, because whoever finds other limits in it than those that
    he began with, or another state, takes his back and begins anew.
    """
    table = lifecycle.store.containers
    row = table.get(container_id)
    record, state = lifecycle.settle(row)
    if state.status in ("removing", "dead"):
        raise Conflict('container is marked for removal and cannot be "update"')
    merged = change.merged(record.host_config)
    warnings: list[str] = []
    try:
        if state.running:
            warnings = _apply(record, change.resources(merged))
        with table.database.transaction():
            latest = table.get(container_id)
            now = records.decode(latest.record)
            settled = now.host_config == record.host_config and latest.state == row.state
            if settled:
                now.host_config = merged
                table.update(container_id, record=records.encode(now))
    except BaseException:
        _restore(record, change)
        raise
    if not settled:
        _restore(now, change)
        return None
    if change.restart is not None and state.running:
        lifecycle.tell(now, {"op": "update", "restart": msgspec.to_builtins(change.restart)})
    lifecycle.emit(now, "update")
    return warnings


def _apply(record: Record, limits: Resources | None) -> list[str]:
    """Set limits of a container that runs; all of them or none."""
    if limits is None:
        return []
    try:
        return _native.cgroup_apply(cgroups_path(record), msgspec.json.encode(limits))
    except _native.NativeError as error:
        raise translate(error) from error


def _restore(record: Record, change: Change) -> None:
    """Give the cgroup, if there is one, the limits that the record has."""
    limits = change.resources(record.host_config, explicit=True)
    try:
        _apply(record, limits)
    except MinidockError:
        return  # it has ended
