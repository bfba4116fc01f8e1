"""Bodies that clients send, where they are more than what is stored."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from minidock.spec.docker import (
    DeviceMapping,
    EndpointSettings,
    Flags,
    Healthcheck,
    HostConfig,
    RestartPolicy,
    ThrottleDevice,
    Ulimit,
    WeightDevice,
)
from minidock.spec.docker_network import IPAM, ConfigReference

__all__ = [
    "ConnectBody",
    "CreateBody",
    "DisconnectBody",
    "ExecCreateBody",
    "ExecStartBody",
    "NetworkBody",
    "SwarmBody",
    "UpdateBody",
    "VolumeBody",
]


ConsoleCells = Annotated[int, Meta(ge=0, lt=1 << 32)]
"""Rows or columns; as Go reads arrays, fewer of them are zero and more are passed over."""


class NetworkingConfig(Struct, rename="pascal"):
    """A container's networks, by name or id."""

    endpoints_config: dict[str, EndpointSettings] = {}


class CreateBody(Struct, kw_only=True, rename="pascal"):
    """``POST /containers/create``."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: Flags | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] = []
    cmd: list[str] | str | None = None
    healthcheck: Healthcheck | None = None
    image: str = ""
    volumes: Flags | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None
    host_config: HostConfig = field(default_factory=lambda: HostConfig(memory_swappiness=None))
    networking_config: NetworkingConfig = field(default_factory=NetworkingConfig)


class UpdateBody(Struct, kw_only=True, rename="pascal"):
    """``POST /containers/{id}/update``."""

    restart_policy: RestartPolicy | None = None
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    blkio_weight: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    kernel_memory: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    pids_limit: int | None = None
    # What Docker's form has, and no update changes
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    devices: list[DeviceMapping] | None = None
    ulimits: list[Ulimit] | None = None


class ExecCreateBody(Struct, kw_only=True, rename="pascal"):
    """``POST /containers/{id}/exec``."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[ConsoleCells] | None = None
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    env: list[str] = []
    working_dir: str = ""
    cmd: list[str] | str | None = None


class ExecStartBody(Struct, kw_only=True, rename="pascal"):
    """``POST /exec/{id}/start``."""

    detach: bool = False
    tty: bool = False
    console_size: list[ConsoleCells] | None = None


class NetworkBody(Struct, kw_only=True, rename="pascal"):
    """``POST /networks/create``."""

    name: str = ""
    driver: str = "bridge"
    scope: str = ""
    enable_ipv4: bool | None = field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = field(default=None, name="EnableIPv6")
    ipam: IPAM | UnsetType = field(default=UNSET, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference = field(default_factory=ConfigReference)
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class ConnectBody(Struct, kw_only=True, rename="pascal"):
    """``POST /networks/{id}/connect``."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None


class DisconnectBody(Struct, kw_only=True, rename="pascal"):
    """``POST /networks/{id}/disconnect``."""

    container: str = ""
    force: bool = False


class VolumeBody(Struct, kw_only=True, rename="pascal"):
    """``POST /volumes/create``."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = {}
    labels: dict[str, str] = {}


class SwarmBody(Struct, rename="pascal"):
    """``POST /swarm/init``, ``POST /swarm/join``."""

    listen_addr: str = ""
