"""What the record of a container says of its networks: what was asked for, and what the current run has."""

from __future__ import annotations

import msgspec


class Wanted(msgspec.Struct, omit_defaults=True):
    """What a container is to have on one network; empty is whatever the network gives."""

    ipv4: str = ""
    ipv6: str = ""
    link_local: list[str] | None = None
    links: list[str] | None = None
    """``CONTAINER:ALIAS``."""
    aliases: list[str] | None = None
    mac: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network: str = ""
    """The network's id, once a start has found it out."""


class Endpoint(msgspec.Struct, omit_defaults=True):
    """What a container has on one network, from its start, or the moment it was connected, to its end."""

    network: str
    """The network's id."""
    id: str
    """The endpoint's own, 64 hexadecimal digits."""
    interface: str
    host_interface: str
    mac: str
    addresses: list[str]
    """With the lengths of the prefixes: ``172.18.0.2/24``; the link-local ones come last."""
    router4: str = ""
    """The network's way out, where it has one."""
    router6: str = ""
    gateways: list[str] = []
    """The routers that its default routes go to; none if another network has them."""
    names: list[str] = []
    """What others on the network call it; none on the default network."""
    serves_ports: bool = False
    driver: str = "bridge"

    @property
    def ipv4(self) -> str:
        """Its IPv4 address with the prefix's length, or nothing."""
        return next((one for one in self.addresses if ":" not in one), "")

    @property
    def ipv6(self) -> str:
        """Its IPv6 address with the prefix's length, or nothing."""
        return next((one for one in self.addresses if ":" in one), "")
