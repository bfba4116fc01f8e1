"""The draft of a container: what its record will store, while options are applied to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from minidock.containers.endpoints import Wanted
from minidock.spec.docker import ContainerConfig, HostConfig, LogConfig

if TYPE_CHECKING:
    from minidock.config import Config
    from minidock.containers.record import Point

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""Hidden in a container (SECURITY.md §4); those that do not exist are skipped by the helper."""

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

SHM_SIZE = 64 << 20


class Draft:
    """``config`` and ``host_config`` as Docker prints them, and what Docker has no place for."""

    def __init__(self, image: str | None, config: Config, environ: Mapping[str, str]) -> None:
        self.defaults = config
        self.environ = environ
        self.config = ContainerConfig(
            attach_stdout=True, attach_stderr=True, image=image or "", env=[], labels={}, on_build=None
        )
        self.host_config = HostConfig(
            network_mode="none",
            log_config=LogConfig("", {}),
            port_bindings={},
            dns=[],
            dns_options=[],
            dns_search=[],
            blkio_weight_device=[],
            blkio_device_read_bps=[],
            blkio_device_write_bps=[],
            blkio_device_read_iops=[],
            blkio_device_write_iops=[],
            devices=[],
            ulimits=[],
            oom_kill_disable=False,
            masked_paths=list(MASKED_PATHS),
            readonly_paths=list(READONLY_PATHS),
            shm_size=SHM_SIZE,
        )
        self.name: str | None = None
        self.cidfile: str | None = None
        self.platform: str | None = None
        self.pull = "missing"
        self.rootfs: str | None = None
        self.timeout_ms: int | None = None
        self.owned = False
        self.env_file_entries: list[str] = []
        self.label_file_entries: dict[str, str] = {}
        self.entrypoint_given = False
        self.health_on_failure = "none"
        self.networks: dict[str, Wanted] = {}
        """By name; the first is the container's network mode."""
        self.endpoint = Wanted()
        """What was said of the container as a whole, for its first network."""
        self.endpoint_given = False
        """Something was said of an endpoint."""
        self.points: list[Point] = []
        """What ``volumes`` and ``mounts`` mean."""
        self.warnings: list[str] = []


Handler = Callable[[Draft, Any], None]


def text(value: object) -> str:
    """Return ``value`` if it is text without a NUL byte; TypeError and ValueError otherwise."""
    if not isinstance(value, str):
        raise TypeError
    if "\0" in value:
        from minidock.errors import InvalidArgument

        raise InvalidArgument(f"{value[:60]!a} contains a NUL byte")
    value.encode()
    return value


def texts(value: object) -> list[str]:
    """Return ``value`` as a list of texts; a text alone is refused, as its letters are never what is meant."""
    if isinstance(value, (str, bytes, Mapping)):
        raise TypeError
    return [text(entry) for entry in value]  # type: ignore[attr-defined]


def one_or_more(value: object) -> list[str]:
    """Return a text, or several, as a list."""
    return [text(value)] if isinstance(value, str) else texts(value)


def flag(value: object) -> bool:
    """Return ``value`` if it is True or False."""
    if not isinstance(value, bool):
        raise TypeError
    return value
