"""Device nodes, and the rules of the device cgroup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers.parse.devices import device_cgroup_rule
from minidock.spec.oci_runtime import Device, DeviceCgroup

if TYPE_CHECKING:
    from minidock.containers.host import Host
    from minidock.spec.docker import HostConfig


def _char(major: int, minor: int | None, *, allow: bool = True) -> DeviceCgroup:
    return DeviceCgroup(allow=allow, type="c", major=major, minor=minor, access="rwm")


DEFAULT_RULES: list[DeviceCgroup] = [
    DeviceCgroup(allow=False, access="rwm"),
    _char(1, 3),  # null
    _char(1, 5),  # zero
    _char(1, 7),  # full
    _char(1, 8),  # random
    _char(1, 9),  # urandom
    _char(5, 0),  # tty
    _char(5, 1),  # console
    _char(5, 2),  # ptmx
    _char(136, None),  # pts
    _char(10, 200),  # tun
    _char(10, 229, allow=False),  # fuse
    # Last, as in runc: cgroup v1 cannot take a part of a wider rule back.
    DeviceCgroup(allow=True, type="c", access="m"),
    DeviceCgroup(allow=True, type="b", access="m"),
]
"""SECURITY.md §4: nothing but making nodes, and the devices that every container has."""

ALL = DeviceCgroup(allow=True, type="a", access="rwm")


def extra_devices(host_config: HostConfig, host: Host) -> list[Device]:
    """Return the nodes to make besides the default ones: all of the host's when privileged, else those asked for."""
    nodes: dict[str, Device] = {}
    if host_config.privileged:
        nodes = {node.path: node for node in host.devices("/dev", "/dev")}
    for mapping in host_config.devices or ():
        inside = mapping.path_in_container or mapping.path_on_host
        nodes |= {node.path: node for node in host.devices(mapping.path_on_host, inside)}
    return list(nodes.values())


def device_rules(host_config: HostConfig, devices: list[Device]) -> list[DeviceCgroup]:
    """Return the rules in order; a later one wins."""
    if host_config.privileged:
        return [ALL]
    if not devices and not host_config.device_cgroup_rules:
        return DEFAULT_RULES
    rules = list(DEFAULT_RULES)
    by_path = {node.path: node for node in devices}
    for mapping in host_config.devices or ():
        inside = mapping.path_in_container or mapping.path_on_host
        access = mapping.cgroup_permissions or "rwm"
        rules += [
            DeviceCgroup(allow=True, type=node.type, major=node.major, minor=node.minor, access=access)
            for path, node in by_path.items()
            if path == inside or path.startswith(inside.rstrip("/") + "/")
        ]
    for text in host_config.device_cgroup_rules or ():
        kind, major, minor, access = device_cgroup_rule(text)
        rules.append(DeviceCgroup(allow=True, type=kind, major=major, minor=minor, access=access))
    return rules
