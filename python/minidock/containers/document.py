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
    """Which of stdin, stdout and stderr the supervisor's own descriptors are for."""
    detach_keys: str | None = None
    restart: Restart = Restart("no")
    events: Events | None = None
    log: Log | None = None
    """As :mod:`minidock.containers.logging` makes it."""
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
