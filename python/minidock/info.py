"""What ``docker info`` and ``docker version`` print: ``GET /info`` and ``GET /version`` of the Engine API, cheap."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from minidock import _native
from minidock._errors import translate
from minidock.security import lsm
from minidock.spec.docker import API_VERSION

if TYPE_CHECKING:
    from minidock.config import Config
    from minidock.engine import Engine

MIN_API_VERSION = "1.24"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

_LIMITS = (
    ("memory_limit", "No memory limit support", True),
    ("swap_limit", "No swap limit support", True),
    ("oom_kill_disable", "No oom kill disable support", False),
    ("cpu_cfs_quota", "No cpu cfs quota support", True),
    ("cpu_cfs_period", "No cpu cfs period support", True),
    ("cpu_shares", "No cpu shares support", True),
    ("cpuset", "No cpuset support", True),
    ("pids_limit", "No pids limit support", True),
    ("blkio_throttle", "No block I/O rate limit support", True),
    ("devices", "No device rules support", True),
)
"""Key of ``cgroup_host``, Docker's warning, and whether cgroup version 2 has the limit at all."""


class Plugins(Struct, rename="pascal"):
    """Drivers by kind."""

    volume: list[str] = field(default_factory=lambda: ["local"])
    network: list[str] = field(default_factory=lambda: ["bridge", "host", "ipvlan", "macvlan", "null"])
    authorization: list[str] | None = None
    log: list[str] = field(default_factory=lambda: ["journald", "json-file", "local", "syslog"])


class IndexConfig(Struct, rename="pascal"):
    """One registry: ``secure`` is TLS with a checked certificate."""

    name: str
    mirrors: list[str] = []
    secure: bool = True
    official: bool = False


class RegistryConfig(
    Struct, rename={"cidrs": "InsecureRegistryCIDRs", "indexes": "IndexConfigs", "mirrors": "Mirrors"}
):
    """Registries that the configuration names."""

    cidrs: list[str] = field(default_factory=lambda: ["::1/128", "127.0.0.0/8"])
    indexes: dict[str, IndexConfig] = {}
    mirrors: list[str] = []


class RuntimeInfo(Struct, omit_defaults=True, rename={"runtime_args": "runtimeArgs"}):
    """An OCI runtime."""

    path: str
    runtime_args: list[str] = []


class Commit(Struct, rename={"id": "ID"}):
    """Version of a part; empty for parts that minidock does without."""

    id: str = ""


class Swarm(Struct):
    """minidock has no swarm."""

    node_id: str = field(default="", name="NodeID")
    node_addr: str = field(default="", name="NodeAddr")
    local_node_state: str = field(default="inactive", name="LocalNodeState")
    control_available: bool = field(default=False, name="ControlAvailable")
    error: str = field(default="", name="Error")
    remote_managers: None = field(default=None, name="RemoteManagers")


_NAMES = {
    "id": "ID",
    "cpu_cfs_period": "CpuCfsPeriod",
    "cpu_cfs_quota": "CpuCfsQuota",
    "cpu_shares": "CPUShares",
    "cpu_set": "CPUSet",
    "ipv4_forwarding": "IPv4Forwarding",
    "n_fd": "NFd",
    "n_goroutines": "NGoroutines",
    "n_events_listener": "NEventsListener",
    "os_version": "OSVersion",
    "os_type": "OSType",
    "n_cpu": "NCPU",
    "cdi_spec_dirs": "CDISpecDirs",
}


def _go(name: str) -> str:
    return _NAMES.get(name) or "".join(word.capitalize() for word in name.split("_"))


class SystemInfo(Struct, kw_only=True, rename=_go):
    """``GET /info``; sizes in bytes."""

    id: str
    containers: int = 0
    containers_running: int = 0
    containers_paused: int = 0
    containers_stopped: int = 0
    images: int = 0
    driver: str
    driver_status: list[tuple[str, str]]
    plugins: Plugins = field(default_factory=Plugins)
    memory_limit: bool
    swap_limit: bool
    cpu_cfs_period: bool
    cpu_cfs_quota: bool
    cpu_shares: bool
    cpu_set: bool
    pids_limit: bool
    oom_kill_disable: bool
    ipv4_forwarding: bool
    debug: bool = False
    n_fd: int
    n_goroutines: int
    system_time: str
    logging_driver: str
    cgroup_driver: str = "cgroupfs"
    cgroup_version: str
    n_events_listener: int = 0
    kernel_version: str
    operating_system: str
    os_version: str
    os_type: str = "linux"
    architecture: str
    n_cpu: int
    mem_total: int
    index_server_address: str = "https://index.docker.io/v1/"
    registry_config: RegistryConfig
    generic_resources: list[str] | None = None
    docker_root_dir: str
    http_proxy: str
    https_proxy: str
    no_proxy: str
    name: str
    labels: list[str]
    experimental_build: bool
    server_version: str
    runtimes: dict[str, RuntimeInfo]
    default_runtime: str
    swarm: Swarm = field(default_factory=Swarm)
    live_restore_enabled: bool
    isolation: str = ""
    init_binary: str = "minidock-runtime"
    containerd_commit: Commit = field(default_factory=Commit)
    runc_commit: Commit = field(default_factory=Commit)
    init_commit: Commit = field(default_factory=Commit)
    security_options: list[str]
    default_address_pools: list[dict[str, Any]] | None = None
    cdi_spec_dirs: list[str] = []
    warnings: list[str]


class Component(Struct, rename="pascal"):
    """A part with a version of its own."""

    name: str
    version: str
    details: dict[str, str] = {}


class Platform(Struct, rename="pascal"):
    """The product."""

    name: str = "minidock"


class VersionInfo(
    Struct,
    kw_only=True,
    rename={"min_api_version": "MinAPIVersion"}
    | {
        name: "".join(word.capitalize() for word in name.split("_"))
        for name in (
            "platform",
            "components",
            "version",
            "api_version",
            "git_commit",
            "go_version",
            "os",
            "arch",
            "kernel_version",
            "build_time",
            "experimental",
        )
    },
):
    """``GET /version``."""

    platform: Platform = field(default_factory=Platform)
    components: list[Component]
    version: str
    api_version: str = API_VERSION
    min_api_version: str = MIN_API_VERSION
    git_commit: str = ""
    go_version: str = ""
    os: str = "linux"
    arch: str
    kernel_version: str
    experimental: bool = False
    build_time: str = ""


def info(engine: Engine) -> dict[str, Any]:
    """Return :func:`system_info` with Docker's field names."""
    found: dict[str, Any] = msgspec.to_builtins(system_info(engine))
    return found


def version(engine: Engine) -> dict[str, Any]:
    """Return :func:`version_info` with Docker's field names."""
    found: dict[str, Any] = msgspec.to_builtins(version_info(experimental=engine.config.experimental))
    return found


def version_info(*, experimental: bool = False) -> VersionInfo:
    """Return the versions of minidock, of the API whose documents it writes, and of the kernel."""
    import sqlite3
    import sys

    host = os.uname()
    arch = _ARCHITECTURES.get(host.machine, host.machine)
    engine = {
        "ApiVersion": API_VERSION,
        "Arch": arch,
        "Experimental": str(experimental).lower(),
        "KernelVersion": host.release,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
    }
    python = ".".join(str(part) for part in sys.version_info[:3])
    return VersionInfo(
        components=[
            Component("Engine", _native.__version__, engine),
            Component("minidock-runtime", _native.__version__),
            Component("Python", python),
            Component("SQLite", sqlite3.sqlite_version),
        ],
        version=_native.__version__,
        arch=arch,
        kernel_version=host.release,
        experimental=experimental,
    )


def system_info(engine: Engine) -> SystemInfo:
    """Return what this engine has and what this host can do.

    Makes nothing on disk. Raises Denied when the data root may not be read.
    """
    from minidock.containers import scopes

    config = engine.config
    host = os.uname()
    limits = _limits()
    release = _os_release()
    forwarding = _read("/proc/sys/net/ipv4/ip_forward") == "1"
    warnings = [
        f"WARNING: {text}" for key, text, both in _LIMITS if not limits.get(key) and _expected(limits, both=both)
    ]
    if not forwarding:
        warnings.append("WARNING: IPv4 forwarding is disabled")
    driver, status = _driver(engine)
    proxies = config.proxies
    default_runtime = config.default_runtime or "minidock"
    found = SystemInfo(
        id=_id(engine.data_root),
        driver=driver,
        driver_status=status,
        memory_limit=bool(limits.get("memory_limit")),
        swap_limit=bool(limits.get("swap_limit")),
        cpu_cfs_period=bool(limits.get("cpu_cfs_period")),
        cpu_cfs_quota=bool(limits.get("cpu_cfs_quota")),
        cpu_shares=bool(limits.get("cpu_shares")),
        cpu_set=bool(limits.get("cpuset")),
        pids_limit=bool(limits.get("pids_limit")),
        oom_kill_disable=bool(limits.get("oom_kill_disable")),
        ipv4_forwarding=forwarding,
        debug=config.debug,
        n_fd=_descriptors(),
        n_goroutines=_threads(),
        system_time=_now(),
        logging_driver=config.log_driver or "json-file",
        cgroup_driver=scopes.driver(config.exec_opts),
        cgroup_version=str(limits.get("version", "")),
        kernel_version=host.release,
        operating_system=release.get("PRETTY_NAME") or release.get("NAME") or "Linux",
        os_version=release.get("VERSION_ID", ""),
        architecture=host.machine,
        n_cpu=len(os.sched_getaffinity(0)),
        mem_total=_memory(),
        registry_config=_registries(config),
        docker_root_dir=engine.data_root,
        http_proxy=(proxies.http_proxy if proxies else "") or os.environ.get("HTTP_PROXY", ""),
        https_proxy=(proxies.https_proxy if proxies else "") or os.environ.get("HTTPS_PROXY", ""),
        no_proxy=(proxies.no_proxy if proxies else "") or os.environ.get("NO_PROXY", ""),
        name=host.nodename,
        labels=list(config.labels),
        experimental_build=config.experimental,
        server_version=_native.__version__,
        runtimes={
            "minidock": RuntimeInfo("minidock-runtime"),
            **{name: RuntimeInfo(one.path, list(one.runtime_args)) for name, one in config.runtimes.items()},
        },
        default_runtime=default_runtime,
        live_restore_enabled=config.live_restore,
        security_options=_security(config, limits),
        default_address_pools=[{"Base": pool.base, "Size": pool.size} for pool in config.default_address_pools] or None,
        warnings=warnings,
    )
    _count(engine, found)
    return found


def _expected(limits: dict[str, Any], *, both: bool) -> bool:
    """Whether this version of cgroups has the limit, so that its lack is worth a warning."""
    return both or limits.get("version") == "1"


def _limits() -> dict[str, Any]:
    """What cgroups can limit; nothing where none are mounted."""
    try:
        found: dict[str, Any] = msgspec.json.decode(_native.cgroup_host())
    except _native.NativeError as error:
        if error.args[1] == "unsupported":
            return {}
        raise translate(error) from error
    return found


def _count(engine: Engine, found: SystemInfo) -> None:
    """Count containers by state, and images; a data root that nobody used yet has none."""
    from minidock.containers import states
    from minidock.store.failures import from_os

    path = engine.store.paths.database
    try:
        os.stat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os(error, "read", path) from error
    store = engine.store
    found.images = len(store.images.all())
    for row in store.containers.all():
        found.containers += 1
        status = row.state
        if status == states.RUNNING:
            # Kernel facts beat records.
            status = engine.lifecycle.settle(row)[1].status
        if status == states.RUNNING:
            found.containers_running += 1
        elif status == "paused":
            found.containers_paused += 1
        else:
            found.containers_stopped += 1


def _driver(engine: Engine) -> tuple[str, list[tuple[str, str]]]:
    """The storage driver, without trying anything that was not tried yet."""
    from minidock.snapshots.backend import link_of

    status = [("Backing Filesystem", _file_system(engine.data_root))]
    driver = "vfs" if engine.config.storage_driver == "vfs" else "overlay2"
    if not engine.config.storage_driver:
        try:
            known = os.readlink(link_of(engine.store.paths))
        except OSError:
            known = "yes"
        if known != "yes":
            driver = "vfs"
            status.append(("Overlay", known))
    if driver == "overlay2":
        status += [("Supports d_type", "true"), ("Native Overlay Diff", "true")]
    return driver, status


def _file_system(path: str) -> str:
    """Type of the file system that has ``path`` or the nearest directory above it that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    best = ("", "unknown")
    for line in _read("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split(" ")
        point = words[4]
        if words[2] == wanted:
            return rest.split(" ")[0]
        # btrfs has a device number for each subvolume; the longest mount point above the path decides.
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) > len(best[0]):
            best = (point, rest.split(" ")[0])
    return best[1]


def _id(data_root: str) -> str:
    """An id that stays the same for this machine and data root."""
    import hashlib

    machine = _read("/etc/machine-id") or os.uname().nodename
    digest = hashlib.sha256(f"minidock\0{machine}\0{data_root}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def _security(config: Config, limits: dict[str, Any]) -> list[str]:
    options = []
    if lsm.host()[0]:
        options.append("name=apparmor")
    if os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        profile = config.seccomp_profile or "builtin"
        options.append(f"name=seccomp,profile={profile}")
    if lsm.selinux(config.selinux_enabled):
        options.append("name=selinux")
    if config.userns_remap:
        options.append("name=userns")
    private = (
        limits.get("mode") == "v2" if not config.default_cgroupns_mode else config.default_cgroupns_mode == "private"
    )
    if private and os.path.exists("/proc/self/ns/cgroup"):
        options.append("name=cgroupns")
    if config.no_new_privileges:
        options.append("name=no-new-privileges")
    return options


def _registries(config: Config) -> RegistryConfig:
    found = RegistryConfig(mirrors=list(config.registry_mirrors))
    found.indexes["docker.io"] = IndexConfig("docker.io", list(config.registry_mirrors), official=True)
    for name in config.insecure_registries:
        if "/" in name:
            found.cidrs.append(name)
        else:
            found.indexes[name] = IndexConfig(name, secure=False)
    return found


def _memory() -> int:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _now() -> str:
    """Now, in Docker's form: RFC 3339 with nanoseconds."""
    import time

    now = time.time_ns()
    seconds, fraction = divmod(now, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


def _os_release() -> dict[str, str]:
    """os-release(5)."""
    found = {}
    text = _read("/etc/os-release") or _read("/usr/lib/os-release")
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
