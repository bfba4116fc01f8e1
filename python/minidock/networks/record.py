"""What the store keeps of a network, as JSON."""

from __future__ import annotations

import msgspec

from minidock.networks import addresses
from minidock.networks.ipam import Pool, unusable
from minidock.spec import decoding
from minidock.spec.docker_network import IPAM, ConfigReference, IPAMConfig, NetworkInspect

VERSION = 1
DEFAULT = "bridge"
PREDEFINED = (DEFAULT, "host", "none")
"""Networks that are always there. ``default`` means the first of them."""


class Subnet(msgspec.Struct, omit_defaults=True):
    """A subnet in use, with what was chosen for it; ``inspect`` shows less of one that the user said."""

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    auxiliary: dict[str, str] = {}
    """Addresses that nobody gets, by what they are for."""
    own: str = ""
    """The bridge's address, where that is not the gateway."""
    user: bool = False
    """The user said the subnet."""


class Record(msgspec.Struct, omit_defaults=True):
    """The record of one network: what ``inspect`` prints and what its live file says are made from it."""

    id: str
    name: str
    created: str
    """RFC 3339 with nanoseconds."""
    driver: str = "bridge"
    scope: str = "local"
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    ipam_config: list[IPAMConfig] | None = None
    """As ``inspect`` shows it."""
    subnets: list[Subnet] = []
    """In use: IPv4 before IPv6; empty in a network that is only a configuration."""
    internal: bool = False
    attachable: bool = False
    config_from: str = ""
    config_only: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    bridge: str = ""
    """The bridge's interface name; empty with other drivers."""
    borrowed: bool = False
    """The bridge is the host's own, and stays."""
    configured: str = ""
    """Of the default network: what of the configuration it was made from."""
    version: int = VERSION

    @property
    def predefined(self) -> bool:
        """Whether it is one of those that are always there."""
        return self.name in PREDEFINED


encode = msgspec.json.Encoder().encode


def decode(text: bytes) -> Record:
    """Return the record that ``text`` holds."""
    return decoding.decode(text, Record)


def pools(record: Record, version: int) -> list[Pool]:
    """The subnets of one version (4 or 6) as leases see them."""
    found = []
    for one in record.subnets:
        subnet = addresses.parse_prefix(one.subnet)
        if subnet.version != version:
            continue
        gateway = addresses.parse(one.gateway)[1] if one.gateway else None
        reserved = unusable(subnet)
        reserved.update(addresses.parse(text)[1] for text in one.auxiliary.values())
        reserved.update(addresses.parse(text)[1] for text in (one.gateway, one.own) if text)
        wanted = addresses.parse_prefix(one.ip_range) if one.ip_range else subnet
        found.append(Pool(subnet, wanted, gateway, frozenset(reserved), one.user))
    return found


def inspect(record: Record) -> NetworkInspect:
    """The document of ``GET /networks/{id}``, without containers."""
    return NetworkInspect(
        name=record.name,
        id=record.id,
        created=record.created,
        scope=record.scope,
        driver=record.driver,
        enable_ipv4=record.enable_ipv4,
        enable_ipv6=record.enable_ipv6,
        ipam=IPAM(record.ipam_driver, record.ipam_options, record.ipam_config),
        internal=record.internal,
        attachable=record.attachable,
        config_from=ConfigReference(record.config_from),
        config_only=record.config_only,
        options=dict(record.options),
        labels=dict(record.labels),
    )
