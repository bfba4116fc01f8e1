"""``minidock.json``: the supervisor's own document (docs/supervisor.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from minidock.containers.logging import Log

VERSION = 2


class User(msgspec.Struct):
    """``name-or-uid[:group-or-gid]`` and more groups; the helper resolves them inside the root filesystem."""

    user: str
    group_add: list[str]


class Owner(msgspec.Struct):
    """The process whose end is the container's end too."""

    pid: int
    start_time: int


class Runtime(msgspec.Struct):
    """Another OCI runtime: its program, and what comes before the arguments of every call."""

    path: str
    args: list[str]


class Restart(msgspec.Struct, frozen=True):
    """When it is started again: ``no``, ``on-failure``, ``always``, ``unless-stopped``; 0 retries are any number."""

    name: str
    maximum_retry_count: int = 0


class Events(msgspec.Struct):
    """The directory of the host's events, and what each of this container's has."""

    dir: str
    attributes: dict[str, str]


class Endpoint(msgspec.Struct):
    """An interface on a network."""

    network: dict[str, Any]
    """The content of the network's live file."""
    interface: str
    host_interface: str
    """Empty with drivers whose interfaces have no other end."""
    mac: str | None
    addresses: list[str]
    gateways: list[str]
    names: list[str]
    links: dict[str, str]
    """Names that only this container has for others: alias to name."""
    sysctls: dict[str, str]
    serves_ports: bool


class Port(msgspec.Struct):
    """A port to publish. No address is all of the host's; port 0 is any, ``host_port_end`` the end of a range."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int
    host_port_end: int


class Dns(msgspec.Struct):
    """Where the container's name server looks up what no container is called."""

    upstream: list[str]
    """Asked from the container's network."""
    loopback_upstream: list[str]
    """Asked from the host's."""
    forward: bool


class Network(msgspec.Struct):
    """Section ``network``."""

    run_networks: str
    table: str
    endpoints: list[Endpoint]
    ports: list[Port]
    dns: Dns | None


class Document(msgspec.Struct):
    """The document; paths are absolute, times in milliseconds."""

    id: str
    run_dir: str
    exit_file: str
    rootfs: dict[str, Any]
    """As :mod:`minidock.snapshots` makes it."""
    user: User
    stdio: str
    stdin: bool = False
    stdin_once: bool = False
    attached: tuple[str, ...] = ()
    """Which of stdin, stdout (or ``framed``, for both outputs) and stderr the supervisor's own descriptors are for."""
    detach_keys: str | None = None
    restart: Restart = Restart("no")
    events: Events | None = None
    log: Log | None = None
    """As :mod:`minidock.containers.logging` makes it."""
    network: Network | None = None
    """As :mod:`minidock.containers.networking` makes it; none with the host's or another container's network."""
    sources: list[Any] | msgspec.UnsetType = msgspec.UNSET
    """As :mod:`minidock.containers.runtime_spec.user_mounts` makes them."""
    health: dict[str, Any] | None = None
    """As :mod:`minidock.containers.health` makes it."""
    exit_command: list[str] = []
    seccomp_bpf: str | None = None
    init: bool = False
    timeout_ms: int | None = None
    stop_signal: int = 15
    stop_signal_chosen: bool = False
    stop_timeout_ms: int = 10_000
    annotations: dict[str, str] = {}
    owner: Owner | None = None
    runtime: Runtime | None = None
    """None is minidock's own."""
    version: int = VERSION


encode = msgspec.json.Encoder().encode
