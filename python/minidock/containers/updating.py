"""Other limits, or another restart policy, for a container that exists: in its record, and in its cgroup if it runs."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.containers import control, scopes, states
from minidock.containers import record as records
from minidock.containers.bundle import write
from minidock.containers.draft import Draft, apply
from minidock.containers.draft.merge import check_cpu, check_memory
from minidock.containers.parse import sizes
from minidock.containers.runtime_spec import cgroups_path
from minidock.containers.runtime_spec.resources import resources
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument, MinidockError, Timeout
from minidock.spec.docker import HostConfig
from minidock.spec.oci_runtime import CPU, BlockIO, Memory, Pids, Resources
from minidock.store.failures import from_os
from minidock.store.locks import lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
_PATIENCE = 30.0
_LOOK = 0.01


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
        if "memory" in asked and asked["memory"] > old.memory_swap and "memory_swap" not in asked:
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
        if "memory" in self.limits:
            # Version 2 of cgroups limits swap alone, by what the sum leaves of it: that changes with memory.
            about.memory_swap = host_config.memory_swap
        found = resources(about, [], self.host)
        if "pids_limit" in self.limits:
            found.pids = Pids(host_config.pids_limit or 0)
        return self._explicit(found) if explicit else found

    def _explicit(self, found: Resources) -> Resources:
        asked = self.limits
        memory, cpu = found.memory or Memory(), found.cpu or CPU()
        if "memory" in asked:
            memory.limit = memory.limit or -1
        if "memory" in asked or "memory_swap" in asked:
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
    try:
        with _turn(lifecycle.paths.container(container_id)):
            warnings = _Update(lifecycle, container_id, change).run()
    except (FileNotFoundError, ContainerNotFound) as error:
        raise ContainerNotFound(f"no such container: {container_id}") from error
    except MinidockError as error:
        raise type(error)(f"cannot update container {container_id}: {error}") from error
    return [*change.warnings, *warnings]


@contextlib.contextmanager
def _turn(directory: str) -> Iterator[None]:
    """Hold the lock of a container's updates; that of the directory is for who writes to its files, and may last."""
    path = f"{directory}/update.lock"
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    with lock(path, timeout=_PATIENCE):
        yield


class _Update:
    """One change of one container, whose other changes wait."""

    def __init__(self, lifecycle: Lifecycle, container_id: str, change: Change) -> None:
        self._lifecycle = lifecycle
        self._id = container_id
        self._change = change
        self._config = f"{lifecycle.paths.container(container_id)}/config.json"

    def run(self) -> list[str]:
        """Change the kernel's limits, then the record; begin anew when the container was started or ended meanwhile."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            row = self._lifecycle.store.containers.get(self._id)
            stored = records.decode(row.record)
            record, state = self._lifecycle.settle(row)
            states.require("update", state.status, record.id)
            if row.state == states.RUNNING and state.status == states.CREATED:
                time.sleep(_LOOK)  # it is being started, with the limits that it has now
                continue
            merged = self._change.merged(record.host_config)
            alive = state.status in states.ALIVE
            try:
                warnings = self._enforce(record, merged) if alive else []
                done = self._record(stored, merged)
            except BaseException:
                if alive:
                    self._restore(record)
                raise
            if done is not None:
                self._tell(done, alive)
                return warnings
        raise Timeout(f"it has been started again and again for {_PATIENCE:g} s")

    def _enforce(self, record: Record, merged: HostConfig) -> list[str]:
        """Set the limits of the cgroup, and those that the supervisor sets when it starts the container again."""
        limits = self._change.resources(merged)
        if limits is None:
            return []
        self._configure(merged)
        scopes.update(record, limits)
        warnings = _apply(record, limits)
        if warnings is None:
            # Between two runs. Once the supervisor has answered, no start is under way that began before these lines.
            with contextlib.suppress(Timeout, Conflict):
                control.tell(self._lifecycle, record, {"op": "ping"})
            warnings = _apply(record, limits)
        return warnings or []

    def _configure(self, host_config: HostConfig) -> None:
        """Write the limits into the document that the supervisor reads at each start."""
        try:
            with open(self._config, "rb") as file:
                document = msgspec.json.decode(file.read())
            limits = document["linux"].setdefault("resources", {})
            for key in ("memory", "cpu", "pids", "blockIO"):
                limits.pop(key, None)
            limits.update(msgspec.to_builtins(resources(host_config, [], self._lifecycle.host)))
            write(f"{self._config}.new", msgspec.json.encode(document), os.O_TRUNC)
            os.rename(f"{self._config}.new", self._config)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise from_os(error, "write", self._config) from error

    def _record(self, stored: Record, merged: HostConfig) -> Record | None:
        """Record the change; None when the container has been started or has ended since ``stored`` was read."""
        same = True

        def change(now: Record) -> None:
            nonlocal same
            same = now.starter == stored.starter and now.state == stored.state
            if same:
                now.host_config = merged

        done = self._lifecycle.modify(self._id, change)
        return done if same else None

    def _tell(self, record: Record, alive: bool) -> None:
        policy = self._change.restart
        if policy is not None and alive:
            restart = {"name": policy.name, "maximum_retry_count": policy.maximum_retry_count}
            # A supervisor that does not answer now reads what it was told when it can.
            with contextlib.suppress(Timeout, Conflict):
                control.tell(self._lifecycle, record, {"op": "update", "restart": restart})
        self._lifecycle.emit(record, "update")

    def _restore(self, record: Record) -> None:
        """Give cgroup and document the limits that the record has."""
        limits = self._change.resources(record.host_config, explicit=True)
        if limits is None:
            return
        with contextlib.suppress(OSError, MinidockError):
            self._configure(record.host_config)
            _apply(record, limits)
            scopes.update(record, limits)


def _apply(record: Record, limits: Resources) -> list[str] | None:
    """Set limits in a container's cgroup; returns warnings, or None when there is no such group."""
    try:
        return _native.cgroup_apply(cgroups_path(record), msgspec.json.encode(limits))
    except _native.NativeError as error:
        if error.args[1] == "not-found":
            return None
        raise translate(error) from error
