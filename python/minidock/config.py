"""The configuration file: daemon.json's keys, read once per engine.

The file is ``/etc/minidock/config.json`` unless ``MINIDOCK_CONFIG`` or an argument names another; a missing default
file is an empty one. An unknown key is an error that names file and key. ``docs/configuration.md`` says for every key
which part of minidock reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from minidock import errors
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = "/etc/minidock/config.json"

LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")

# Values of dockerd's keys that would change what our firewall and our listeners always do, and why they cannot.
_ALWAYS: tuple[tuple[str, str, str], ...] = (
    ("allow-direct-routing", "True", "give the network the gateway mode nat-unprotected instead"),
    ("iptables", "False", "networks are kept apart by minidock's own nf_tables table, and need it"),
    ("ip6tables", "False", "networks are kept apart by minidock's own nf_tables table, and need it"),
    ("userland-proxy", "False", "ports on loopback are served by the container's supervisor"),
    ("firewall-backend", "iptables", "minidock has nf_tables alone"),
)

# Keys of dockerd that cannot mean anything here, and why.
REFUSED: dict[str, str] = {
    "authorization-plugins": "minidock has no plug-ins",
    "bridge-accept-fwmark": "minidock's firewall looks at interfaces and addresses only",
    "cdi-spec-dirs": "CDI devices are not supported",
    "containerd": "minidock needs no containerd",
    "containerd-namespace": "minidock needs no containerd",
    "containerd-plugins-namespace": "minidock needs no containerd",
    "init-path": "the init is part of minidock's helper",
    "metrics-addr": "minidock serves no metrics",
    "node-generic-resources": "minidock has no swarm",
    "pidfile": "minidock has no daemon",
    "raw-logs": "minidock has no daemon",
    "swarm-default-advertise-addr": "minidock has no swarm",
    "tls": "minidock listens on Unix sockets only",
    "tlscacert": "minidock listens on Unix sockets only",
    "tlscert": "minidock listens on Unix sockets only",
    "tlskey": "minidock listens on Unix sockets only",
    "tlsverify": "minidock listens on Unix sockets only",
    "userland-proxy-path": "the proxy is part of minidock's helper",
}


class UlimitDefault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="pascal"):
    """One entry of ``default-ulimits``."""

    hard: int
    soft: int
    name: str = ""


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"runtime_args": "runtimeArgs"}):
    """One entry of ``runtimes``: another OCI runtime by its path."""

    path: str
    runtime_args: tuple[str, ...] = ()


class AddressPool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``default-address-pools``."""

    base: str
    size: int


class Proxies(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The proxies for registries."""

    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """What the configuration file says; an attribute per key, ``None`` or empty where it says nothing."""

    # where things are
    data_root: str = ""
    exec_root: str = ""
    storage_driver: str = ""
    storage_opts: tuple[str, ...] = ()
    # defaults of containers
    cgroup_parent: str = ""
    default_cgroupns_mode: str = ""
    default_ipc_mode: str = ""
    default_runtime: str = ""
    default_shm_size: int | str | None = None
    default_ulimits: dict[str, UlimitDefault] = {}
    dns: tuple[str, ...] = ()
    dns_opts: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    exec_opts: tuple[str, ...] = ()
    init: bool = False
    no_new_privileges: bool = False
    runtimes: dict[str, Runtime] = {}
    seccomp_profile: str = ""
    selinux_enabled: bool | None = None
    userns_remap: str = ""
    # the engine itself
    debug: bool = False
    experimental: bool = False
    features: dict[str, bool] = {}
    labels: tuple[str, ...] = ()
    log_level: str = ""
    log_format: str = ""
    # registries
    insecure_registries: tuple[str, ...] = ()
    max_concurrent_downloads: Annotated[int, msgspec.Meta(ge=0)] | None = None  # 0 is the default
    max_concurrent_uploads: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_download_attempts: Annotated[int, msgspec.Meta(ge=0)] | None = None
    proxies: Proxies | None = None
    registry_mirrors: tuple[str, ...] = ()
    # life cycle
    live_restore: bool = True
    log_driver: str = ""
    log_opts: dict[str, str] = {}
    oom_score_adjust: int | None = None
    shutdown_timeout: int | None = None
    # networks
    allow_direct_routing: bool = False
    bip: str = ""
    bip6: str = ""
    bridge: str = ""
    default_address_pools: tuple[AddressPool, ...] = ()
    default_gateway: str = ""
    default_gateway_v6: str = msgspec.field(default="", name="default-gateway-v6")
    default_network_opts: dict[str, dict[str, str]] = {}
    firewall_backend: str = ""
    fixed_cidr: str = ""
    fixed_cidr_v6: str = msgspec.field(default="", name="fixed-cidr-v6")
    host_gateway_ip: str = ""
    host_gateway_ips: tuple[str, ...] = ()
    icc: bool = True
    ip: str = ""
    ip_forward: bool = True
    ip_forward_no_drop: bool = False
    ip_masq: bool = True
    ip6tables: bool = True
    iptables: bool = True
    ipv6: bool = False
    mtu: int | None = None
    userland_proxy: bool = True
    # builds, and the server of the API
    builder: dict[str, msgspec.Raw] = {}
    group: str = ""
    hosts: tuple[str, ...] = ()


def load(path: str | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Return the configuration in ``path``, in ``$MINIDOCK_CONFIG``, or in ``/etc/minidock/config.json`` if it exists.

    Raises :class:`~minidock.errors.InvalidArgument` for a named file that cannot be read, text that is not JSON, an
    unknown key, or a value of the wrong type; the text names file and key.
    """
    named = path or (environment or {}).get("MINIDOCK_CONFIG")
    file = named or DEFAULT_PATH
    try:
        with open(file, "rb") as handle:
            text = handle.read(1 << 20)
    except FileNotFoundError as error:
        if not named:
            return Config()
        raise errors.InvalidArgument(f"read configuration {file}: no such file") from error
    except OSError as error:
        raise errors.InvalidArgument(f"read configuration {file}: {(error.strerror or 'failed').lower()}") from error
    return parse(text, file)


def parse(text: bytes, file: str) -> Config:
    """Return the configuration that the JSON ``text`` of ``file`` says; errors as in :func:`load`."""
    if not text.strip():
        return Config()
    try:
        keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.InvalidArgument(f"configuration {file}: not a JSON object: {error}") from error
    known = {field.encode_name for field in msgspec.structs.fields(Config)}
    for key in keys:
        if key in REFUSED:
            raise errors.InvalidArgument(f'configuration {file}: key "{key}" is not supported: {REFUSED[key]}')
        if key not in known:
            raise errors.InvalidArgument(f'configuration {file}: unknown key "{key}"')
    try:
        config = decoding.decode(text, Config)
    except msgspec.ValidationError as error:
        raise errors.InvalidArgument(f"configuration {file}: {_lower(str(error))}") from error
    _check(config, file)
    return config


def _check(config: Config, file: str) -> None:
    """Refuse values that no part of minidock could act on."""
    for key, value, allowed in (
        ("log-level", config.log_level, LOG_LEVELS),
        ("storage-driver", config.storage_driver, ("overlay2", "overlay", "vfs")),
        ("default-cgroupns-mode", config.default_cgroupns_mode, ("host", "private")),
        ("default-ipc-mode", config.default_ipc_mode, ("private", "shareable")),
    ):
        if value and value not in allowed:
            raise errors.InvalidArgument(f'configuration {file}: {key}: "{value}" is not one of {", ".join(allowed)}')
    for key, refused, reason in _ALWAYS:
        if str(getattr(config, key.replace("-", "_"))) == refused:
            raise errors.InvalidArgument(f"configuration {file}: {key}: {refused.lower()} is not supported: {reason}")
    for option in config.storage_opts:
        if option not in ("keep-blobs=true", "keep-blobs=false"):
            raise errors.InvalidArgument(
                f'configuration {file}: storage-opts: "{option}" is not keep-blobs=true or keep-blobs=false'
            )
    for key, value in (("data-root", config.data_root), ("exec-root", config.exec_root)):
        if value and not value.startswith("/"):
            raise errors.InvalidArgument(f'configuration {file}: {key}: "{value}" is not an absolute path')


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
