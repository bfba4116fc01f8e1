"""What running containers use: one look, or one after the other, at as many as there are, without a thread for each.

The numbers come from the kernel's control groups and, for containers with a network of their own, from the interfaces
in it. :meth:`Stats.body` gives the Engine API's form of them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import msgspec

from minidock.errors import ContainerNotFound, InvalidArgument
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from minidock.containers.container import Container

INTERVAL = 1.0
"""Seconds between two looks, as Docker has it."""

_DOCKER_STAT_V1 = (
    *("cache", "rss", "rss_huge", "mapped_file", "dirty", "writeback", "pgpgin", "pgpgout", "pgfault", "pgmajfault"),
    *("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable"),
    *("hierarchical_memory_limit", "hierarchical_memsw_limit"),
)
"""What Docker passes on of a version 1 ``memory.stat``, each also with ``total_`` before it."""


class Cpu(msgspec.Struct, frozen=True):
    """CPU time since the start, in nanoseconds."""

    usage_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    """By CPU; empty with cgroup version 2."""
    periods: int = 0
    """Periods of the quota that have passed."""
    throttled_periods: int = 0
    """Those in which the quota was used up."""
    throttled_ns: int = 0


class Memory(msgspec.Struct, frozen=True):
    """Memory, in bytes."""

    usage: int = 0
    """In use, page cache included; :attr:`used` is without it."""
    peak: int | None = None
    """The most that was in use; None before Linux 5.19 with cgroup version 2."""
    limit: int | None = None
    """The container's own; None: no limit."""
    cache: int = 0
    anon: int = 0
    inactive_file: int = 0
    """Page cache that the kernel takes back first."""
    swap: int | None = None
    swap_limit: int | None = None
    failures: int = 0
    """How often the limit was hit."""
    oom_kills: int = 0
    """Processes that the kernel ended for want of memory."""
    stat: dict[str, int] = {}
    """``memory.stat`` as it is."""

    @property
    def used(self) -> int:
        """What Docker shows as used: without the page cache that nobody needs."""
        return self.usage - self.inactive_file if self.inactive_file < self.usage else self.usage


class Pids(msgspec.Struct, frozen=True):
    """Processes and threads."""

    current: int = 0
    limit: int | None = None
    peak: int | None = None


class Device(msgspec.Struct, frozen=True):
    """What went from and to one disk."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    discard_bytes: int = 0
    read_operations: int = 0
    write_operations: int = 0
    discard_operations: int = 0
    sync_bytes: int | None = None
    """Bytes that somebody waited for; None with cgroup version 2."""
    sync_operations: int | None = None


class Interface(msgspec.Struct, frozen=True):
    """What went over one network interface."""

    name: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class Stall(msgspec.Struct, frozen=True):
    """Percent of the last 10, 60 and 300 seconds, and microseconds in all."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total_us: int = 0


class Pressure(msgspec.Struct, frozen=True):
    """Time that some task, and that all of them, waited for one resource."""

    some: Stall = Stall()
    full: Stall = Stall()


class Pressures(msgspec.Struct, frozen=True):
    """The kernel's pressure stall information."""

    cpu: Pressure | None = None
    memory: Pressure | None = None
    io: Pressure | None = None


class _Host(msgspec.Struct, frozen=True):
    cpu_ns: int
    cpus: int
    memory: int


class _Sample(msgspec.Struct, frozen=True):
    cpu: Cpu | None = None
    memory: Memory | None = None
    pids: Pids | None = None
    io: tuple[Device, ...] | None = None
    pressure: Pressures | None = None
    networks: tuple[Interface, ...] | None = None


class _Look(msgspec.Struct, frozen=True):
    time_ns: int
    host: _Host
    samples: list[_Sample | None]


class CpuLook(msgspec.Struct, frozen=True):
    """CPU time at one moment: the container's, and that of all CPUs of the host together, idle time included."""

    time_ns: int
    """Since 1970."""
    cpu: Cpu
    host_cpu_ns: int
    cpus: int
    """CPUs of the host."""


class Stats(msgspec.Struct, frozen=True):
    """One look at a container. One that does not run uses nothing: all numbers are 0, and ``now`` is None."""

    container_id: str
    name: str
    now: CpuLook | None = None
    before: CpuLook | None = None
    """The look before, which :attr:`cpu_percent` counts from."""
    memory: Memory = Memory()
    host_memory: int = 0
    pids: Pids = Pids()
    io: tuple[Device, ...] = ()
    networks: tuple[Interface, ...] | None = None
    """None for a container without a network of its own."""
    pressure: Pressures | None = None
    """None where the kernel does not count it: it needs a cgroup version 2 hierarchy."""

    @property
    def running(self) -> bool:
        """Whether there was something to look at."""
        return self.now is not None

    @property
    def time(self) -> float:
        """When, in seconds since 1970; 0 for a container that does not run."""
        return self.now.time_ns / 1e9 if self.now is not None else 0.0

    @property
    def cpu(self) -> Cpu:
        """CPU time."""
        return self.now.cpu if self.now is not None else Cpu()

    @property
    def cpu_percent(self) -> float | None:
        """CPU time since the look before, in percent of one CPU; None without one. Docker's arithmetic."""
        if self.now is None:
            return 0.0
        if self.before is None:
            return None
        used = self.now.cpu.usage_ns - self.before.cpu.usage_ns
        passed = self.now.host_cpu_ns - self.before.host_cpu_ns
        return used / passed * self.now.cpus * 100.0 if used > 0 and passed > 0 else 0.0

    @property
    def memory_limit(self) -> int:
        """The container's limit, or the host's memory when that is less."""
        return min(self.memory.limit or self.host_memory, self.host_memory)

    @property
    def memory_percent(self) -> float:
        """Used memory without page cache, in percent of the limit."""
        return self.memory.used / self.memory_limit * 100.0 if self.memory_limit else 0.0

    @property
    def received_bytes(self) -> int:
        """Bytes that came in over all interfaces."""
        return sum(one.rx_bytes for one in self.networks or ())

    @property
    def sent_bytes(self) -> int:
        """Bytes that went out over all interfaces."""
        return sum(one.tx_bytes for one in self.networks or ())

    @property
    def read_bytes(self) -> int:
        """Bytes read from disks."""
        return sum(one.read_bytes for one in self.io)

    @property
    def write_bytes(self) -> int:
        """Bytes written to disks."""
        return sum(one.write_bytes for one in self.io)

    def body(self) -> dict[str, Any]:
        """Return the Engine API's ``GET /containers/{id}/stats`` body."""
        from minidock.containers.status import rfc3339
        from minidock.spec.docker import ZERO_TIME

        now, before = self.now, self.before
        body: dict[str, Any] = {
            "name": f"/{self.name}",
            "id": self.container_id,
            "read": rfc3339(now.time_ns) if now else ZERO_TIME,
            "preread": rfc3339(before.time_ns) if before else ZERO_TIME,
            "pids_stats": {},
            "blkio_stats": _blkio(self.io if now else None),
            "num_procs": 0,
            "storage_stats": {},
            "cpu_stats": _cpu(now),
            "precpu_stats": _cpu(before),
            "memory_stats": self._memory() if now else {},
        }
        if now:
            limit = {"limit": self.pids.limit} if self.pids.limit else {}
            body["pids_stats"] = {"current": self.pids.current, **limit}
        if self.networks:
            body["networks"] = {
                one.name: {key: value for key, value in msgspec.structs.asdict(one).items() if key != "name"}
                for one in self.networks
            }
        return body

    def _memory(self) -> dict[str, Any]:
        memory = self.memory
        if "total_inactive_file" not in memory.stat:
            return {"usage": memory.usage, "stats": memory.stat, "limit": self.memory_limit}
        stat = {key: n for key, n in memory.stat.items() if key.removeprefix("total_") in _DOCKER_STAT_V1}
        failures = {"failcnt": memory.failures} if memory.failures else {}
        return {
            "usage": memory.usage,
            "max_usage": memory.peak or 0,
            "stats": stat,
            **failures,
            "limit": self.memory_limit,
        }


def _cpu(look: CpuLook | None) -> dict[str, Any]:
    cpu = look.cpu if look else Cpu()
    usage: dict[str, Any] = {"total_usage": cpu.usage_ns}
    if cpu.per_cpu_ns:
        usage["percpu_usage"] = list(cpu.per_cpu_ns)
    usage |= {"usage_in_kernelmode": cpu.system_ns, "usage_in_usermode": cpu.user_ns}
    throttling = {
        "periods": cpu.periods,
        "throttled_periods": cpu.throttled_periods,
        "throttled_time": cpu.throttled_ns,
    }
    host = {"system_cpu_usage": look.host_cpu_ns, "online_cpus": look.cpus} if look else {}
    return {"cpu_usage": usage, **host, "throttling_data": throttling}


_NOT_COUNTED = ("queue", "service_time", "wait_time", "merged", "time")


def _blkio(devices: tuple[Device, ...] | None) -> dict[str, Any]:
    """Return ``blkio_stats``; None for a container that does not run."""
    none: list[Any] | None = None if devices is None else []
    found: dict[str, Any] = {"io_service_bytes_recursive": none, "io_serviced_recursive": none}
    if devices:
        for key, kind in (("io_service_bytes_recursive", "bytes"), ("io_serviced_recursive", "operations")):
            found[key] = [
                {"major": one.major, "minor": one.minor, "op": operation, "value": value}
                for one in devices
                for operation, value in _transfers(one, kind)
            ]
    return found | {f"io_{name}_recursive": none for name in _NOT_COUNTED} | {"sectors_recursive": none}


def _transfers(device: Device, kind: str) -> list[tuple[str, int]]:
    """Return Docker's names and values of what went to and from a disk: ``kind`` is bytes or operations."""
    read, write, discard, sync = (
        getattr(device, f"{name}_{kind}") for name in ("read", "write", "discard", "sync")
    )  # fmt: skip
    if sync is None:
        return [("read", read), ("write", write)]
    total = read + write + discard
    return [
        ("Read", read),
        ("Write", write),
        ("Sync", sync),
        ("Async", max(total - sync, 0)),
        ("Discard", discard),
        ("Total", total),
    ]


class Sampler:
    """Looks at containers, and remembers the look before for each."""

    def __init__(self) -> None:
        self._before: dict[str, CpuLook] = {}
        self._decode = decoding.decoder(_Look).decode

    def look(self, containers: Iterable[Container]) -> list[Stats]:
        """Return one look at these containers, in their order, by the states that they have.

        One that does not run, or has ended since, has numbers of 0.
        """
        from minidock import _native
        from minidock._errors import translate
        from minidock.containers.runtime_spec import cgroups_path

        containers = list(containers)
        running = [container for container in containers if container.state.pid]
        groups = [(cgroups_path(one.record), _network_pid(one)) for one in running]
        try:
            found = self._decode(_native.container_samples(groups))
        except _native.NativeError as error:
            raise translate(error) from error
        by_id = dict(zip((one.id for one in running), found.samples, strict=True))
        return [self._stats(one, found, by_id.get(one.id)) for one in containers]

    def _stats(self, container: Container, look: _Look, sample: _Sample | None) -> Stats:
        if sample is None:
            self._before.pop(container.id, None)
            return Stats(container.id, container.name)
        now = CpuLook(look.time_ns, sample.cpu or Cpu(), look.host.cpu_ns, look.host.cpus)
        before = self._before.get(container.id)
        self._before[container.id] = now
        return Stats(
            container.id,
            container.name,
            now,
            before,
            sample.memory or Memory(),
            look.host.memory,
            sample.pids or Pids(),
            sample.io or (),
            sample.networks or None,
            sample.pressure,
        )


def _network_pid(container: Container) -> int:
    """Return the process whose network interfaces are the container's own; 0 when it uses the host's."""
    return 0 if container.record.host_config.network_mode == "host" else container.state.pid


class StatsStream:
    """Looks at one container, one every ``interval`` seconds, the first at once; it ends when the container does."""

    def __init__(self, container: Container, interval: float) -> None:
        self._container: Container | None = container
        self._sampler = Sampler()
        self._interval = interval
        self._next = 0.0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Stats:
        container = self._container
        if container is None:
            raise StopIteration
        now = time.monotonic()
        if self._next > now:
            time.sleep(self._next - now)
        self._next = max(self._next, now) + self._interval
        try:
            container.reload()
        except ContainerNotFound:
            self.close()
            raise StopIteration from None
        found = self._sampler.look([container])[0]
        if not found.running:
            self.close()
            raise StopIteration
        return found

    def close(self) -> None:
        """End it."""
        self._container = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_interval(interval: float) -> float:
    """Return ``interval``; raise InvalidArgument unless it is a number of seconds, 0 or more, below a day."""
    if not 0 <= interval < 86_400:
        raise InvalidArgument(f"interval: {interval} must be a number of seconds from 0 to a day")
    return interval


def once(container: Container, interval: float) -> Stats:
    """Return one look at a container; with ``interval`` a second one so many seconds later, which knows its CPU use."""
    sampler = Sampler()
    container.reload()
    found = sampler.look([container])[0]
    if interval and found.running:
        time.sleep(interval)
        container.reload()
        found = sampler.look([container])[0]
    return found
