"""Docker Engine API 1.51 bodies about networks."""

from __future__ import annotations

from msgspec import Struct, field


class IPAMConfig(Struct, omit_defaults=True):
    """One subnet of a network, as the user asked for it or as it was chosen."""

    subnet: str = field(default="", name="Subnet")
    ip_range: str = field(default="", name="IPRange")
    gateway: str = field(default="", name="Gateway")
    auxiliary_addresses: dict[str, str] | None = field(default=None, name="AuxiliaryAddresses")


class IPAM(Struct, rename="pascal"):
    """How a network gets its addresses."""

    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IPAMConfig] | None = None


class ConfigReference(Struct, rename="pascal"):
    """The network whose configuration this one has."""

    network: str = ""


class EndpointResource(Struct):
    """A container on a network; addresses with the length of their prefix."""

    name: str = field(name="Name")
    endpoint_id: str = field(name="EndpointID")
    mac_address: str = field(name="MacAddress")
    ipv4_address: str = field(name="IPv4Address")
    ipv6_address: str = field(name="IPv6Address")


class NetworkInspect(Struct, kw_only=True, rename="pascal"):
    """``GET /networks/{id}``, and one element of ``GET /networks``."""

    name: str
    id: str
    created: str
    scope: str = "local"
    driver: str = "bridge"
    enable_ipv4: bool = field(default=True, name="EnableIPv4")
    enable_ipv6: bool = field(default=False, name="EnableIPv6")
    ipam: IPAM = field(default_factory=IPAM, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_from: ConfigReference = field(default_factory=ConfigReference)
    config_only: bool = False
    containers: dict[str, EndpointResource] = {}
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class NetworksPruned(Struct, rename="pascal"):
    """``POST /networks/prune``: the names of what was removed; null when there was nothing."""

    networks_deleted: list[str] | None = None
