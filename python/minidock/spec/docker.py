"""Docker Engine API 1.51 bodies: what a container record stores, and what ``inspect`` prints on every face.

Python names are Docker's in snake case; the encoded names are Docker's own. A field that Docker leaves out when it is
empty is ``UNSET`` by default; one that Docker prints as ``null`` is ``None``.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from minidock.spec.oci_image import Healthcheck

__all__ = ["Healthcheck"]

API_VERSION = "1.51"
ZERO_TIME = "0001-01-01T00:00:00Z"

_WORDS = {
    "id": "ID",
    "ids": "IDs",
    "ip": "IP",
    "ipv6": "IPv6",
    "uts": "UTS",
    "oom": "OOM",
    "iops": "IOps",
    "io": "IO",
    "ipam": "IPAM",
    "dns": "DNS",
    "tcp": "TCP",
    "fs": "FS",
    "os": "Os",
}


def _go(name: str) -> str:
    """The Go spelling of a field's name: ``oom_killed`` → ``OOMKilled``."""
    return "".join(_WORDS.get(word) or word.capitalize() for word in name.split("_"))


Flags = dict[str, dict[str, Any]]
"""Docker's form of a set: each key maps to an empty object."""


class PortBinding(Struct, rename="pascal"):
    """Where a port of a container is published."""

    host_ip: str = ""
    host_port: str = ""


PortMap = dict[str, list[PortBinding] | None]


class ContainerConfig(Struct, rename="pascal"):
    """``Config``: what a container runs, portable between hosts."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: Flags | UnsetType | None = UNSET
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | UnsetType | None = UNSET
    args_escaped: bool | UnsetType = UNSET
    image: str = ""
    volumes: Flags | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    network_disabled: bool | UnsetType = UNSET
    mac_address: str | UnsetType = UNSET
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | UnsetType = UNSET
    stop_timeout: int | UnsetType | None = UNSET
    shell: list[str] | UnsetType | None = UNSET


class LogConfig(Struct, rename="pascal"):
    """A container's log driver."""

    type: str = ""
    config: dict[str, str] | None = None


class RestartPolicy(Struct, rename="pascal"):
    """When a container is started again: ``no``, ``always``, ``unless-stopped``, ``on-failure``."""

    name: str = "no"
    maximum_retry_count: int = 0


class WeightDevice(Struct, rename="pascal"):
    """Weight (10 to 1000) of one block device."""

    path: str
    weight: int


class ThrottleDevice(Struct, rename="pascal"):
    """Rate of one block device, in bytes or operations per second."""

    path: str
    rate: int


class DeviceMapping(Struct, rename="pascal"):
    """A host device in a container; permissions are letters of ``rwm``."""

    path_on_host: str
    path_in_container: str = ""
    cgroup_permissions: str = "rwm"


class DeviceRequest(Struct, rename={"driver": "Driver", "count": "Count", "device_ids": "DeviceIDs"}):
    """A request to a device driver (GPUs, CDI)."""

    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = None
    capabilities: list[list[str]] | None = field(default=None, name="Capabilities")
    options: dict[str, str] | None = field(default=None, name="Options")


class Ulimit(Struct, rename="pascal"):
    """One resource limit such as ``nofile``; -1 is unlimited."""

    name: str
    hard: int
    soft: int


class BindOptions(Struct, omit_defaults=True, rename="pascal"):
    """Options of a bind mount."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False
    idmap: bool = False
    """Not Docker's."""


class VolumeDriver(Struct, omit_defaults=True, rename="pascal"):
    """Driver of a volume made with a mount."""

    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(Struct, omit_defaults=True, rename="pascal"):
    """Options of a volume mount."""

    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: VolumeDriver | None = None
    subpath: str = ""
    idmap: bool = False
    """Not Docker's."""


class ImageOptions(Struct, omit_defaults=True, rename="pascal"):
    """Options of an image mount."""

    subpath: str = ""


class TmpfsOptions(Struct, omit_defaults=True, rename="pascal"):
    """Options of a tmpfs mount; size in bytes."""

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class MountRequest(Struct, omit_defaults=True, rename="pascal"):
    """One ``--mount``: type ``bind``, ``volume``, ``tmpfs``, ``image``, or our own ``overlay``."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(Struct, rename=_go):
    """``HostConfig``: what a container gets from this host. Sizes in bytes, CPU times in microseconds."""

    binds: list[str] | None = None
    container_id_file: str = field(default="", name="ContainerIDFile")
    log_config: LogConfig = field(default_factory=LogConfig)
    network_mode: str = "default"
    port_bindings: PortMap | None = None
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: tuple[int, int] = (0, 0)
    annotations: dict[str, str] | UnsetType | None = UNSET
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = field(default=None, name="Dns")
    dns_options: list[str] | None = field(default=None, name="DnsOptions")
    dns_search: list[str] | None = field(default=None, name="DnsSearch")
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = field(default=0, name="OomScoreAdj")
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | UnsetType | None = UNSET
    tmpfs: dict[str, str] | UnsetType | None = UNSET
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | UnsetType | None = UNSET
    runtime: str | UnsetType = UNSET
    isolation: str = ""
    # limits of the cgroup
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int | UnsetType = UNSET
    kernel_memory_tcp: int | UnsetType = UNSET
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = field(default=None, name="OomKillDisable")
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    # Windows only; Docker prints them everywhere
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0
    mounts: list[MountRequest] | UnsetType | None = UNSET
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | UnsetType | None = UNSET


class HealthResult(Struct, rename="pascal"):
    """One run of a health check; times are RFC 3339."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(Struct, rename="pascal"):
    """Health of a container: ``starting``, ``healthy``, ``unhealthy`` or ``none``."""

    status: str = "none"
    failing_streak: int = 0
    log: list[HealthResult] | None = None


class RunUsage(
    Struct,
    rename={
        **{"memory_peak": "MemoryPeak", "cpu_seconds": "CPUSeconds", "wall_seconds": "WallSeconds"},
        **{"read_bytes": "ReadBytes", "write_bytes": "WriteBytes"},
    },
):
    """What the last run of a container has used, from its start to its end; minidock's own."""

    memory_peak: int
    cpu_seconds: float
    wall_seconds: float
    read_bytes: int
    write_bytes: int


class ContainerState(Struct, rename=_go):
    """State of a container; ``status`` is created, running, paused, restarting, removing, exited or dead."""

    status: str = "created"
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = False
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    health: Health | UnsetType = UNSET
    usage: RunUsage | UnsetType = UNSET
    """Not Docker's: there once a run is over."""


class EndpointIPAMConfig(
    Struct, omit_defaults=True, rename={"ipv4_address": "IPv4Address", "ipv6_address": "IPv6Address"}
):
    """Addresses that a user asked for on one network."""

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: list[str] | None = field(default=None, name="LinkLocalIPs")


class EndpointSettings(Struct, rename=_go):
    """A container's endpoint on one network."""

    ipam_config: EndpointIPAMConfig | None = field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = ""
    endpoint_id: str = ""
    gateway: str = ""
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    dns_names: list[str] | None = None


class NetworkSettings(Struct, rename=_go):
    """A container's networks and published ports."""

    bridge: str = ""
    sandbox_id: str = ""
    sandbox_key: str = ""
    ports: PortMap | None = field(default_factory=dict)
    hairpin_mode: bool = False
    link_local_ipv6_address: str = ""
    link_local_ipv6_prefix_len: int = 0
    secondary_ip_addresses: list[str] | None = None
    secondary_ipv6_addresses: list[str] | None = None
    endpoint_id: str = ""
    gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    mac_address: str = ""
    networks: dict[str, EndpointSettings] | None = field(default_factory=dict)


class MountPoint(Struct, rename={"rw": "RW"}):
    """A mount of a container as ``inspect`` shows it."""

    type: str = field(name="Type")
    source: str = field(name="Source")
    destination: str = field(name="Destination")
    name: str | UnsetType = field(default=UNSET, name="Name")
    driver: str | UnsetType = field(default=UNSET, name="Driver")
    mode: str = field(default="", name="Mode")
    rw: bool = True
    propagation: str = field(default="", name="Propagation")


class GraphDriver(Struct, rename="pascal"):
    """Where a container's or image's files are."""

    name: str = "overlay2"
    data: dict[str, str] | None = None


class ContainerInspect(Struct, rename=_go):
    """``GET /containers/{id}/json``."""

    id: str = field(name="Id")
    created: str
    path: str
    args: list[str]
    state: ContainerState
    image: str
    resolv_conf_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    log_path: str = ""
    name: str = ""
    restart_count: int = 0
    driver: str = "overlay2"
    platform: str = "linux"
    mount_label: str = ""
    process_label: str = ""
    app_armor_profile: str = ""
    exec_ids: list[str] | None = None
    host_config: HostConfig = field(default_factory=HostConfig)
    graph_driver: GraphDriver = field(default_factory=GraphDriver)
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = field(default=UNSET, name="SizeRootFs")
    mounts: list[MountPoint] = field(default_factory=list)
    config: ContainerConfig = field(default_factory=ContainerConfig)
    network_settings: NetworkSettings = field(default_factory=NetworkSettings)


class Port(Struct, rename=_go):
    """A port in a list of containers."""

    private_port: int
    type: str
    ip: str | UnsetType = UNSET
    public_port: int | UnsetType = UNSET


class SummaryHostConfig(Struct, rename="pascal"):
    """The part of ``HostConfig`` that a list shows."""

    network_mode: str = "default"
    annotations: dict[str, str] | UnsetType | None = UNSET


class SummaryNetworkSettings(Struct, rename="pascal"):
    """The part of ``NetworkSettings`` that a list shows."""

    networks: dict[str, EndpointSettings] = field(default_factory=dict)


class ContainerSummary(Struct, rename=_go):
    """One entry of ``GET /containers/json``; ``created`` in seconds since 1970."""

    id: str = field(name="Id")
    names: list[str]
    image: str
    image_id: str
    command: str
    created: int
    ports: list[Port] = field(default_factory=list)
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = field(default=UNSET, name="SizeRootFs")
    labels: dict[str, str] = field(default_factory=dict)
    state: str = "created"
    status: str = ""
    host_config: SummaryHostConfig = field(default_factory=SummaryHostConfig)
    network_settings: SummaryNetworkSettings = field(default_factory=SummaryNetworkSettings)
    mounts: list[MountPoint] = field(default_factory=list)


class ContainerCreated(Struct, rename="pascal"):
    """Answer of ``POST /containers/create``."""

    id: str
    warnings: list[str] = field(default_factory=list)


class WaitError(Struct, rename="pascal"):
    """Why waiting failed."""

    message: str


class ContainerWait(Struct, rename="pascal"):
    """Answer of ``POST /containers/{id}/wait``."""

    status_code: int
    error: WaitError | UnsetType = UNSET


class Message(Struct):
    """An error body."""

    message: str
