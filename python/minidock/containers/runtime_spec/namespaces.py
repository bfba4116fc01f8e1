"""Namespaces, and the kernel parameters that live in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.spec.oci_runtime import Namespace

if TYPE_CHECKING:
    from minidock.spec.docker import HostConfig

_MOUNT, _PID, _NETWORK, _IPC, _UTS, _CGROUP, _USER = (
    Namespace(kind) for kind in ("mount", "pid", "network", "ipc", "uts", "cgroup", "user")
)


def namespaces(host_config: HostConfig, joined: dict[str, int], *, remapped: bool) -> list[Namespace]:
    """Return the namespaces that the container makes or joins; the others are the host's."""
    made = [_MOUNT]
    for kind, fresh, shared in (
        ("pid", _PID, host_config.pid_mode == "host"),
        ("network", _NETWORK, host_config.network_mode == "host"),
        ("ipc", _IPC, host_config.ipc_mode == "host"),
        ("uts", _UTS, host_config.uts_mode == "host"),
        ("cgroup", _CGROUP, host_config.cgroupns_mode != "private"),
    ):
        pid = joined.get(kind)
        if pid is not None:
            made.append(Namespace(kind, f"/proc/{pid}/ns/{_FILES[kind]}"))
        elif not shared:
            made.append(fresh)
    if remapped:
        made.append(_USER)
    return made


_FILES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}


def sysctls(host_config: HostConfig, *, remapped: bool) -> dict[str, str]:
    """Return the kernel parameters that are set: Docker's two on a private network, then the user's."""
    settings: dict[str, str] = {}
    if host_config.network_mode != "host":
        settings["net.ipv4.ip_unprivileged_port_start"] = "0"
        if not remapped:
            # The kernel refuses group ids that the user namespace does not map.
            settings["net.ipv4.ping_group_range"] = "0 2147483647"
    given = host_config.sysctls
    return settings | given if isinstance(given, dict) else settings
