"""The OCI runtime-spec 1.2 document ``config.json``, Linux part: the language between the engine and the helper."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

VERSION = "1.2.1"


class Box(Struct, omit_defaults=True, rename="camel"):
    """Size of a terminal in characters."""

    height: int
    width: int


class User(Struct, omit_defaults=True, rename="camel"):
    """Ids inside the container's user namespace."""

    uid: int
    gid: int
    umask: int | None = None
    additional_gids: list[int] = field(default_factory=list)


class Capabilities(Struct, omit_defaults=True, rename="camel"):
    """Capability sets by names such as ``CAP_CHOWN``."""

    bounding: list[str] | None = None
    effective: list[str] | None = None
    inheritable: list[str] | None = None
    permitted: list[str] | None = None
    ambient: list[str] | None = None


class Rlimit(Struct, rename="camel"):
    """One resource limit, such as ``RLIMIT_NOFILE``."""

    type: str
    hard: int
    soft: int


class Scheduler(Struct, omit_defaults=True, rename="camel"):
    """sched_setattr(2)."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: list[str] = field(default_factory=list)
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IOPriority(Struct, omit_defaults=True, rename="camel"):
    """ioprio_set(2); ``class`` is such as ``IOPRIO_CLASS_BE``."""

    class_: str = field(name="class")
    priority: int = 0


class CPUAffinity(Struct, omit_defaults=True, rename="camel"):
    """CPUs of a process before and after it enters the container (``exec`` only)."""

    initial: str = ""
    final: str = ""


class Process(Struct, omit_defaults=True, rename="camel"):
    """What PID 1, or an exec session, is."""

    cwd: str
    user: User = field(default_factory=lambda: User(0, 0))
    args: list[str] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    terminal: bool = False
    console_size: Box | None = None
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = field(default_factory=list)
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: int | None = None
    selinux_label: str = ""
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CPUAffinity | None = field(default=None, name="execCPUAffinity")


class Root(Struct, omit_defaults=True, rename="camel"):
    """The root filesystem; ``path`` is relative to the bundle or absolute."""

    path: str
    readonly: bool = False


class IDMapping(Struct, rename={"container_id": "containerID", "host_id": "hostID"}):
    """A range of ids of a user namespace or of an idmapped mount."""

    container_id: int
    host_id: int
    size: int


class Mount(Struct, omit_defaults=True, rename="camel"):
    """One mount, made in order."""

    destination: str
    type: str = ""
    source: str = ""
    options: list[str] = field(default_factory=list)
    uid_mappings: list[IDMapping] = field(default_factory=list)
    gid_mappings: list[IDMapping] = field(default_factory=list)


class Hook(Struct, omit_defaults=True, rename="camel"):
    """A program that the runtime runs; ``timeout`` is in seconds."""

    path: str
    args: list[str] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    timeout: int | None = None


class Hooks(Struct, omit_defaults=True, rename="camel"):
    """Programs run at points of the life cycle."""

    prestart: list[Hook] = field(default_factory=list)
    create_runtime: list[Hook] = field(default_factory=list)
    create_container: list[Hook] = field(default_factory=list)
    start_container: list[Hook] = field(default_factory=list)
    poststart: list[Hook] = field(default_factory=list)
    poststop: list[Hook] = field(default_factory=list)


class Namespace(Struct, omit_defaults=True, rename="camel"):
    """A namespace to make, or to join when ``path`` is set."""

    type: str
    path: str = ""


class Device(Struct, omit_defaults=True, rename="camel"):
    """A device node to make; ``file_mode`` is a number."""

    type: str
    path: str
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class NetDevice(Struct, omit_defaults=True, rename="camel"):
    """A network interface moved into the container, under ``name`` if set."""

    name: str = ""


class DeviceCgroup(Struct, omit_defaults=True, rename="camel"):
    """One rule of the device cgroup; None is a wildcard."""

    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Memory(Struct, omit_defaults=True, rename="camel"):
    """Limits in bytes; -1 is unlimited. ``swap`` counts memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = field(default=None, name="kernelTCP")
    swappiness: int | None = None
    disable_oom_killer: bool | None = field(default=None, name="disableOOMKiller")
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class CPU(Struct, omit_defaults=True, rename="camel"):
    """CPU shares, quotas (microseconds) and sets."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(Struct, omit_defaults=True, rename="camel"):
    """Number of tasks; 0 or less is unlimited."""

    limit: int


class WeightDevice(Struct, omit_defaults=True, rename="camel"):
    """Weight of a block device."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(Struct, rename="camel"):
    """Rate of a block device in bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIO(Struct, omit_defaults=True, rename="camel"):
    """Block input and output."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: list[WeightDevice] = field(default_factory=list)
    throttle_read_bps_device: list[ThrottleDevice] = field(default_factory=list)
    throttle_write_bps_device: list[ThrottleDevice] = field(default_factory=list)
    throttle_read_iops_device: list[ThrottleDevice] = field(default_factory=list, name="throttleReadIOPSDevice")
    throttle_write_iops_device: list[ThrottleDevice] = field(default_factory=list, name="throttleWriteIOPSDevice")


class HugepageLimit(Struct, rename="camel"):
    """Limit in bytes for one page size, such as ``2MB``."""

    page_size: str
    limit: int


class InterfacePriority(Struct):
    """Priority of one network interface."""

    name: str
    priority: int


class NetworkResources(Struct, omit_defaults=True):
    """net_cls and net_prio."""

    class_id: int | None = field(default=None, name="classID")
    priorities: list[InterfacePriority] = field(default_factory=list)


class Rdma(Struct, omit_defaults=True, rename="camel"):
    """Limits of one RDMA device."""

    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(Struct, omit_defaults=True, rename="camel"):
    """Limits of the container's cgroup."""

    devices: list[DeviceCgroup] = field(default_factory=list)
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = field(default=None, name="blockIO")
    hugepage_limits: list[HugepageLimit] = field(default_factory=list)
    network: NetworkResources | None = None
    rdma: dict[str, Rdma] = field(default_factory=dict)
    unified: dict[str, str] = field(default_factory=dict)


class SeccompArg(Struct, omit_defaults=True, rename="camel"):
    """A condition on one argument of a system call."""

    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompRule(Struct, omit_defaults=True, rename="camel"):
    """What happens to the named system calls."""

    names: list[str]
    action: str
    errno_ret: int | None = None
    args: list[SeccompArg] = field(default_factory=list)


class Seccomp(Struct, omit_defaults=True, rename="camel"):
    """A system call filter."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[SeccompRule] = field(default_factory=list)


class IntelRdt(Struct, omit_defaults=True, rename="camel"):
    """Intel Resource Director Technology."""

    clos_id: str = field(default="", name="closID")
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_cmt: bool = field(default=False, name="enableCMT")
    enable_mbm: bool = field(default=False, name="enableMBM")


class Personality(Struct, omit_defaults=True, rename="camel"):
    """personality(2)."""

    domain: str
    flags: list[str] = field(default_factory=list)


class TimeOffset(Struct, omit_defaults=True, rename="camel"):
    """Offset of a clock of a time namespace."""

    secs: int = 0
    nanosecs: int = 0


class Linux(Struct, omit_defaults=True, rename="camel"):
    """The Linux part of the document."""

    uid_mappings: list[IDMapping] = field(default_factory=list)
    gid_mappings: list[IDMapping] = field(default_factory=list)
    sysctl: dict[str, str] = field(default_factory=dict)
    resources: Resources | None = None
    cgroups_path: str = ""
    namespaces: list[Namespace] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    net_devices: dict[str, NetDevice] = field(default_factory=dict)
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: list[str] = field(default_factory=list)
    readonly_paths: list[str] = field(default_factory=list)
    mount_label: str = ""
    intel_rdt: IntelRdt | None = None
    personality: Personality | None = None
    time_offsets: dict[str, TimeOffset] = field(default_factory=dict)


class Spec(Struct, omit_defaults=True, rename="camel"):
    """``config.json`` of a bundle."""

    oci_version: str = field(name="ociVersion")
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: list[Mount] = field(default_factory=list)
    hooks: Hooks | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    linux: Linux | None = None


class State(Struct, omit_defaults=True, rename="camel"):
    """What ``state`` prints and hooks read."""

    oci_version: str = field(name="ociVersion")
    id: str
    status: str
    bundle: str
    pid: int = 0
    annotations: dict[str, Any] = field(default_factory=dict)
