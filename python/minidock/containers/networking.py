"""What a container has on its networks: interfaces, names, routes, published ports, name servers. Pure.

The addresses are leases of :mod:`minidock.networks`; what is planned here goes into the section
``network`` of ``minidock.json``, which the supervisor carries out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from minidock.containers import document
from minidock.containers.draft.network import is_user_defined
from minidock.containers.endpoints import Endpoint
from minidock.errors import InvalidArgument
from minidock.networks import addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from minidock.config import Config
    from minidock.containers.endpoints import Wanted
    from minidock.containers.listing import AnyRecord
    from minidock.containers.record import Record
    from minidock.networks.leases import Lease
    from minidock.networks.record import Record as Network

SYSCTLS = "com.docker.network.endpoint.sysctls"
_BINDING_ADDRESS = "com.docker.network.bridge.host_binding_ipv4"
_GATEWAY_MODES = "com.docker.network.bridge.gateway_mode_ipv"
_INTERFACE_NAME = "com.docker.network.endpoint.ifname"
_INTERFACE_PREFIX = "com.docker.network.container_iface_prefix"


def ordered(networks: Iterable[str]) -> list[str]:
    """Return the names of networks in the order of their interfaces: the default one first, as in Docker."""
    return sorted(networks, key=lambda name: (name != "bridge", name))


def host_interface(endpoint_id: str) -> str:
    """Return the name of an interface's other end on the host."""
    return f"veth{endpoint_id[:7]}"


def endpoint(record: Record, name: str, network: Network, lease: Lease) -> Endpoint:
    """Return what a container has on a network, but for the default route: :func:`route` says who has that."""
    wanted = record.networks[name]
    interface = next_interface((one.interface for one in record.endpoints.values()), network)
    more = [f"{one}/{64 if ':' in one else 16}" for one in wanted.link_local or ()]
    return Endpoint(
        network=network.id,
        id=lease.endpoint_id,
        interface=(wanted.driver_opts or {}).get(_INTERFACE_NAME, "") or interface,
        host_interface=host_interface(lease.endpoint_id) if network.driver == "bridge" else "",
        mac=lease.mac if network.driver != "ipvlan" else "",  # its parent's
        addresses=lease.addresses + more,
        router4=gateway_of(network, lease.ipv4),
        router6=gateway_of(network, lease.ipv6),
        names=names(record, name),
        driver=network.driver,
    )


def next_interface(used: Iterable[str], network: Network) -> str:
    """Return the first name that is free: ``eth0``, ``eth1``, …"""
    prefix = network.options.get(_INTERFACE_PREFIX) or "eth"
    taken = set(used)
    number = 0
    while f"{prefix}{number}" in taken:
        number += 1
    return f"{prefix}{number}"


def names(record: AnyRecord, network: str) -> list[str]:
    """Return what others on a network call a container; nothing on the default one."""
    if not is_user_defined(network):
        return []
    aliases = record.networks[network].aliases or ()
    return list(dict.fromkeys((record.name, *aliases, record.id[:12], record.config.hostname)))


def links(wanted: Wanted) -> dict[str, str]:
    """Return the names that only this container has for others on a network."""
    pairs = (link.partition(":") for link in wanted.links or ())
    return {alias or name: name for name, _, alias in pairs}


def rename(record: Record) -> None:
    """Give the endpoints of a container the names that it has now."""
    for name, one in record.endpoints.items():
        if one.names:
            one.names = names(record, name)


def route(record: Record, networks: Mapping[str, Network]) -> None:
    """Say in a record which endpoints have the default routes, and which one serves the published ports.

    That is the one of the highest priority, and of several the one whose network's name comes first; never that of a
    network without a way out.
    """
    # Connections through published ports go on when another network is connected.
    serving = next((name for name, one in record.endpoints.items() if one.serves_ports), "")
    for one in record.endpoints.values():
        one.gateways, one.serves_ports = [], False
    for version in (4, 6):
        able = [
            (-record.networks[name].gw_priority, name, gateway)
            for name, one in record.endpoints.items()
            if (gateway := _way_out(networks[name], one.ipv4 if version == 4 else one.ipv6))
        ]
        if able:
            _, name, gateway = min(able)
            record.endpoints[name].gateways.append(gateway)
            serving = serving or name
    if serving:
        record.endpoints[serving].serves_ports = True


def _way_out(network: Network, address: str) -> str:
    """Return what the default route of who has ``address`` leads to; nothing if there is no way out.

    In the modes ``l3`` of ipvlan that is the interface alone, with no router: the unspecified address stands for it.
    """
    routed = network.driver == "ipvlan" and network.options.get("ipvlan_mode", "").startswith("l3")
    if address and routed and not network.internal:
        return "::" if ":" in address else "0.0.0.0"  # noqa: S104 - nothing is bound
    return gateway_of(network, address)


def gateway_of(network: Network, address: str) -> str:
    """Return the router of a network for who has ``address`` on it; nothing if there is none, or no way out."""
    if not address or network.internal:
        return ""
    version, number = addresses.parse(address.partition("/")[0])
    if network.options.get(f"{_GATEWAY_MODES}{version}") == "isolated":
        return ""
    for one in network.subnets:
        if addresses.parse_prefix(one.subnet).covers(version, number):
            return one.gateway
    return ""


def sysctls(wanted: Wanted) -> dict[str, str]:
    """Return the kernel parameters of an interface, whose name is ``IFNAME`` there. Raises InvalidArgument."""
    found = {}
    for entry in filter(None, (wanted.driver_opts or {}).get(SYSCTLS, "").split(",")):
        key, equals, value = entry.strip().partition("=")
        parts = key.split(".")
        sound = len(parts) == 5 and parts[0] == "net" and parts[1] in ("ipv4", "ipv6", "mpls")
        if not (
            equals and sound and parts[2] in ("conf", "neigh") and parts[3] == "IFNAME" and parts[4].isidentifier()
        ):
            raise InvalidArgument(f"invalid sysctl {entry!a} of an endpoint: use net.ipv4.conf.IFNAME.NAME=VALUE")
        found[key] = value
    return found


class Facts(NamedTuple):
    """What the section is made of besides the record; networks by name."""

    networks: Mapping[str, Network]
    live: Mapping[str, dict[str, Any]]
    """The contents of their live files."""
    run_networks: str
    dns: document.Dns | None


def section(record: Record, facts: Facts, config: Config) -> document.Network | None:
    """Return section ``network`` of ``minidock.json``; None for a container without endpoints."""
    if not record.endpoints:
        return None
    made = []
    address = ""
    for name, one in record.endpoints.items():
        if one.serves_ports:
            address = binding_address(facts.networks[name], config)
        made.append(
            document.Endpoint(
                network=facts.live[name],
                interface=one.interface,
                host_interface=one.host_interface,
                mac=one.mac or None,
                addresses=one.addresses,
                gateways=one.gateways,
                names=one.names,
                links=links(record.networks[name]) if one.names else {},
                sysctls=sysctls(record.networks[name]),
                serves_ports=one.serves_ports,
            )
        )
    serves = any(one.serves_ports for one in made)
    return document.Network(
        run_networks=facts.run_networks,
        table=made[0].network["table"],
        endpoints=made,
        ports=ports(record, address) if serves else [],
        dns=facts.dns,
    )


def binding_address(network: Network, config: Config) -> str:
    """Return the host's address for ports that are published without one, where it is not every one."""
    address = network.options.get(_BINDING_ADDRESS, "") or config.ip
    return "" if address == "0.0.0.0" else address  # noqa: S104 - Docker's word for every one, IPv6 too


def ports(record: Record, address: str = "") -> list[document.Port]:
    """Return what is to be published; a binding without an address of its own gets ``address``.

    Those with a number of their own come first, so that nobody who takes any gets theirs.
    """
    fixed: list[document.Port] = []
    others: list[document.Port] = []
    bindings = record.host_config.port_bindings or {}
    wanted = {name: found for name, found in bindings.items() if found}
    if record.host_config.publish_all_ports:
        from minidock.containers.inspect import exposed
        from minidock.spec.docker import PortBinding

        wanted |= {name: [PortBinding()] for name in exposed(record) if name not in wanted}
    for name, found in wanted.items():
        number, _, protocol = name.partition("/")
        for binding in found:
            first, _, last = (binding.host_port or "0").partition("-")
            port = document.Port(
                protocol=protocol,
                container_port=int(number),
                host_ip=binding.host_ip or address,
                host_port=int(first),
                host_port_end=int(last or first),
            )
            (fixed if port.host_port and not last else others).append(port)
    return fixed + others


def resolver(
    record: Record, networks: Mapping[str, Network], config: Config, host_servers: Sequence[str]
) -> document.Dns | None:
    """Return what the container's name server does with names that it does not know; None: it has none.

    A container has one as soon as it is on a user-defined network. The host's own servers on loopback addresses are
    asked from the host's network, all others from the container's.
    """
    if not any(one.names for one in record.endpoints.values()):
        return None
    given = record.host_config.dns or config.dns
    forward = not all(networks[name].internal for name in record.endpoints)
    if given:
        return document.Dns(upstream=list(given), loopback_upstream=[], forward=forward)
    from minidock.containers.network_files import is_loopback

    return document.Dns(
        upstream=[one for one in host_servers if not is_loopback(one)],
        loopback_upstream=[one for one in host_servers if is_loopback(one)],
        forward=forward,
    )
