"""The files of a container's bundle, made from its record at every start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import _native
from minidock.containers import document, health, logging, network_files
from minidock.containers.base import translated
from minidock.containers.liveness import read
from minidock.containers.parse import keyvalues, signals
from minidock.containers.runtime_spec import Inputs, runtime_spec
from minidock.security import lsm
from minidock.spec import decoding
from minidock.spec.oci_runtime import IDMapping, Seccomp
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from minidock.config import Config
    from minidock.containers.host import Host
    from minidock.containers.record import Record
    from minidock.containers.walls import Walls
    from minidock.spec.oci_runtime import Mount
    from minidock.store.paths import Paths

_encode = msgspec.json.Encoder().encode
_DEFAULT_STOP_SIGNAL = 15
_DEFAULT_STOP_TIMEOUT = 10


class Start(msgspec.Struct, kw_only=True):
    """What is decided anew at every start."""

    record: Record
    walls: Walls
    stdio: str
    """``inherit`` or ``relay``."""
    stdin: bool
    attached: tuple[str, ...] = ()
    detach_keys: str | None = None
    exit_command: list[str] = []
    events: dict[str, str] = {}
    """What every event of the container says of it."""
    joined: dict[str, int] = {}
    owner: document.Owner | None = None
    runtime: document.Runtime | None = None
    """None is minidock's own."""
    files_of: str = ""
    """The container whose hosts, hostname and resolv.conf this one shares; empty is itself."""
    gateways: list[str] = []
    """What ``host-gateway`` means."""
    linked: list[tuple[str, str]] = []
    """Address and names of the containers that it is linked to."""
    linked_environment: list[str] = []
    """What its variables say of them."""
    network: document.Network | None = None
    exchanged: dict[str, Any] = {}
    """Maps of ids of mounts, by destination."""
    sources: list[Any] = []
    """Where mounts come from that are no plain path."""


def files(start: Start, paths: Paths, host: Host) -> dict[str, bytes]:
    """Return the bundle's files by name that do not depend on its networks.

    Raises InvalidArgument for a device that this host does not have.
    """
    record, walls = start.record, start.walls
    directory = paths.container(record.id)
    spec = runtime_spec(
        record,
        Inputs(
            host=host,
            bundle=directory if not start.files_of else paths.container(start.files_of),
            capabilities=walls.capabilities,
            no_new_privileges=walls.no_new_privileges,
            apparmor_profile=record.app_armor_profile,
            process_label=record.process_label if lsm.host()[1] else "",
            mount_label=record.mount_label if lsm.host()[1] else "",
            uid_mappings=[IDMapping(*part) for part in record.uid_map],
            gid_mappings=[IDMapping(*part) for part in record.gid_map],
            joined=start.joined,
            linked_environment=start.linked_environment,
            seccomp=None if start.runtime is None else _seccomp(walls),
            user_mounts=_user_mounts(start, paths),
        ),
    )
    if record.step is not None and record.step.environment and spec.process is not None:
        more = (read(record.step.environment) or b"").decode().split("\0")[:-1]
        spec.process.env = keyvalues.merge_environment(spec.process.env, more)
    return {"config.json": _encode(spec)}


def _user_mounts(start: Start, paths: Paths) -> list[Mount]:
    if start.record.step is not None:
        from minidock.spec.oci_runtime import Mount

        made = [Mount(*one) for one in start.record.step.mounts]
        for mount in made:
            if "idmap" in mount.options:
                mount.uid_mappings = [IDMapping(*part) for part in start.record.uid_map]
                mount.gid_mappings = [IDMapping(*part) for part in start.record.gid_map]
        return made
    if not start.record.mounts and not start.record.host_config.tmpfs:
        return []
    from minidock.containers.runtime_spec.user_mounts import user_mounts

    return user_mounts(start.record, paths, start.exchanged)


def late_files(start: Start, paths: Paths, config: Config, host: Host) -> dict[str, bytes]:
    """Return the bundle's other files, once the container has its endpoints; the record's ``snapshot`` is there too."""
    record = start.record
    made = {"minidock.json": supervisor_document(start, paths)}
    if start.files_of:
        return made
    on_host = record.host_config.network_mode == "host"
    host_hosts = (read("/etc/hosts") or b"").decode(errors="replace") if on_host else ""
    more = [*network_files.extra_hosts(record, start.gateways), *start.linked]
    if record.step is None:
        more += host_lines(record)
    for name, text in network_files.contents(record, config, host_hosts, host.resolv_conf(), more):
        made[name] = text.encode()
    return made


def host_lines(record: Record) -> list[tuple[str, str]]:
    """Return address and names of the lines that /etc/hosts has of the container itself."""
    hostname, domainname = record.config.hostname, record.config.domainname
    shown = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    return [
        (address.partition("/")[0], shown)
        for one in record.endpoints.values()
        for address in (one.ipv4, one.ipv6)
        if address
    ]


def _seccomp(walls: Walls) -> Seccomp | None:
    """Return the filter for a runtime that compiles it itself."""
    if walls.seccomp_bpf is None:
        return None
    from minidock.security import seccomp

    return decoding.decode(seccomp.document(walls.seccomp_profile, walls.capabilities), Seccomp)


def supervisor_document(start: Start, paths: Paths) -> bytes:
    """Return ``minidock.json``; the record's ``snapshot`` must be there."""
    record = start.record
    config, host_config = record.config, record.host_config
    stop_timeout = config.stop_timeout if isinstance(config.stop_timeout, int) else _DEFAULT_STOP_TIMEOUT
    made = document.Document(
        id=record.id,
        run_dir=paths.run_container(record.id),
        exit_file=f"{paths.container(record.id)}/exit.json",
        rootfs=record.snapshot,
        user=document.User(config.user, list(host_config.group_add or ())),
        stdio=start.stdio,
        stdin=start.stdin,
        # Input that a call brings along, to a container without one of its own, is all there is.
        stdin_once=config.stdin_once or not config.open_stdin,
        attached=start.attached,
        detach_keys=start.detach_keys,
        restart=_restart(record),
        events=document.Events(paths.events, start.events),
        log=logging.document(record, paths),
        network=start.network,
        sources=(start.sources if record.step is None else record.step.sources) or msgspec.UNSET,
        health=health.document(record),
        exit_command=start.exit_command,
        seccomp_bpf=start.walls.seccomp_bpf if start.runtime is None else None,
        init=host_config.init is True,
        timeout_ms=record.timeout_ms,
        stop_signal=signals.signal(config.stop_signal) if config.stop_signal else _DEFAULT_STOP_SIGNAL,
        stop_signal_chosen=bool(config.stop_signal),
        # Docker: a negative time waits for ever.
        stop_timeout_ms=stop_timeout * 1000 if stop_timeout >= 0 else (1 << 31) - 1,
        owner=start.owner,
        runtime=start.runtime,
    )
    return document.encode(made)


def _restart(record: Record) -> document.Restart:
    policy = record.host_config.restart_policy
    return document.Restart(policy.name or "no", policy.maximum_retry_count)


def make(directory: str, contents: dict[str, bytes], record: Record) -> None:
    """Write these files of a new bundle into its directory."""
    try:
        for name, text in contents.items():
            write(f"{directory}/{name}", text, os.O_EXCL, record)
    except OSError as error:
        raise from_os(error, "make container directory", directory) from error


def rewrite(directory: str, contents: dict[str, bytes], record: Record) -> None:
    """Write these files of an existing bundle again, and forget how it ended before."""
    try:
        for name, text in contents.items():
            write(f"{directory}/{name}", text, os.O_TRUNC, record)
        if os.path.exists(f"{directory}/exit.json"):
            os.unlink(f"{directory}/exit.json")
    except OSError as error:
        raise from_os(error, "write container directory", directory) from error


_SHARED = frozenset(("hosts", "hostname", "resolv.conf"))
"""Seen by every user of the container, and changed by its root, unlike the rest."""


def write(path: str, text: bytes, flags: int, record: Record | None = None) -> None:
    """Write a file whole; nothing is synced, a crash of the machine ends the container anyway.

    ``record`` is that of the container, whose users see some of its files.
    """
    shared = record if path.rpartition("/")[2] in _SHARED else None
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if shared is not None:
            if (owner := root_ids(shared)) != (0, 0):
                os.fchown(fd, *owner)
            os.fchmod(fd, 0o644)
    finally:
        os.close(fd)
    if shared is not None and shared.mount_label:
        label(path, shared)


def root_ids(record: Record) -> tuple[int, int]:
    """Return the host's uid and gid of the container's root user."""
    if not record.uid_map:
        return 0, 0
    from minidock.security.subids import Range, to_host

    uid = to_host(tuple(Range(*part) for part in record.uid_map), 0)
    return uid, to_host(tuple(Range(*part) for part in record.gid_map), 0)


def label(path: str, record: Record, *, common: bool = False) -> None:
    """Let a container, or all of them, have a file or directory that was made for it, where there is SELinux."""
    if lsm.host()[1]:
        with translated():
            _native.selinux_relabel(path, record.mount_label, common, None)
