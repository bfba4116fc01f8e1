"""Small parts of making and removing networks."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from minidock.containers.status import rfc3339
from minidock.errors import Conflict, InvalidArgument, NetworkInUse, NotFound
from minidock.networks import options
from minidock.networks.addresses import show
from minidock.networks.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minidock.networks.machine import Host
    from minidock.networks.planning import Plan
    from minidock.store.networks import EndpointRow
    from minidock.store.store import Store

_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B


def plain(name: str, driver: str) -> Record:
    """The record of a predefined network that has no addresses."""
    return Record(id=os.urandom(32).hex(), name=name, created=rfc3339(time.time_ns()), driver=driver)


def check_interfaces(planned: Plan, host: Host, others: Iterable[Record]) -> None:
    """Raise Conflict when a planned network's interface is in use, NotFound without the one that it is to be on."""
    record, parent = planned.record, planned.settings.parent
    if record.bridge:
        for other in others:
            if other.bridge == record.bridge:
                raise Conflict(
                    f"cannot create network {record.id} ({record.bridge}): conflicts with network {other.id} "
                    f"({other.bridge}): networks have same bridge name"
                )
        if host.has_interface(record.bridge):
            raise Conflict(
                f"cannot create network {record.name}: the host has an interface {record.bridge}; choose another name "
                f"with the option {options.NAME}"
            )
        return
    if record.config_only or parent.startswith("dm-"):
        return
    below = {other.id: other for other in others if other.options.get("parent") == parent}
    if planned.settings.mode == "passthru" or any(o.options.get("macvlan_mode") == "passthru" for o in below.values()):
        for other in below.values():
            raise Conflict(
                f"cannot use mode passthru, {other.driver} network {other.id} is already using parent interface "
                f"{parent}"
            )
    if host.has_interface(parent):
        # Not ours to remove, unless another network of ours has made it.
        record.borrowed = not any(not other.borrowed for other in below.values())
        return
    base, _, vlan = parent.rpartition(".")
    if not base or not re.fullmatch("[0-9]{1,4}", vlan) or not 0 < int(vlan) < 4095:
        raise NotFound(f"invalid subinterface vlan name {parent}, example formatting is eth0.10; the host has no such "
                       "interface")  # fmt: skip
    if not host.has_interface(base):
        raise NotFound(f"failed to create {parent}: the host has no interface {base}")


def in_use(record: Record, store: Store, on: Sequence[EndpointRow]) -> NetworkInUse:
    """The error for a network that containers are on, in Docker's words."""
    named = []
    for endpoint in on:
        row = store.containers.find(endpoint.container_id)
        named.append((row.name if row is not None else endpoint.container_id[:12], endpoint.id[:12]))
    shown = ", ".join(f'name:"{name}" id:"{id}"' for name, id in sorted(named))
    return NetworkInUse(f"error while removing network: network {record.name} has active endpoints ({shown})")


def interface_address(name: str) -> str:
    """``ADDRESS/LENGTH`` of an interface of the host. Raises InvalidArgument when it has no IPv4 address."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        request = struct.pack("256s", name.encode()[:15])
        try:
            address = fcntl.ioctl(sock, _SIOCGIFADDR, request)[20:24]
            mask = fcntl.ioctl(sock, _SIOCGIFNETMASK, request)[20:24]
        except OSError:
            raise InvalidArgument(
                f"configuration: bridge {name}: the interface exists and has no IPv4 address; give it one, or remove "
                "it to have it made"
            ) from None
    return f"{show(4, int.from_bytes(address, 'big'))}/{int.from_bytes(mask, 'big').bit_count()}"
