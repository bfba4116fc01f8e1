"""Options of networks, of published ports, and of name resolution; and what of them does not fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minidock.containers.draft.base import Draft, Handler, flag, one_or_more, text, texts
from minidock.containers.endpoints import Wanted
from minidock.containers.parse import hosts
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.spec.docker import PortMap

BUILT_IN = ("bridge", "host", "none")


def is_user_defined(name: str) -> bool:
    """Whether a network's name is that of one that a user has made."""
    return name not in BUILT_IN and name != "default" and not name.startswith("container:")


def _network(draft: Draft, value: object) -> None:
    for entry in ["default"] if value == "" else one_or_more(value):
        _add(draft, *_parsed(entry))


def _parsed(entry: str) -> tuple[str, Wanted]:
    if entry in BUILT_IN or entry == "default":
        return entry, Wanted()
    from minidock.containers.parse import networks

    return networks.network(entry)


def _add(draft: Draft, name: str, wanted: Wanted) -> None:
    if name == "default":
        name = default_network(draft)
    if name in draft.networks:
        raise InvalidArgument(f'network "{name}" is specified multiple times')
    draft.networks[name] = wanted


def default_network(draft: Draft) -> str:
    """Return the network of who asks for none: ``bridge``, or ``none`` where the configuration has no bridge."""
    return "none" if draft.defaults.bridge == "none" else "bridge"


def _network_mode(draft: Draft, value: object) -> None:
    if draft.networks:
        raise InvalidArgument("network and network_mode exclude each other")
    from minidock.containers.parse import networks

    _add(draft, networks.check_name(text(value) or "default"), Wanted())


def _networking_config(draft: Draft, value: Any) -> None:
    from minidock.containers.parse import networks

    settings = value.get("EndpointsConfig", value)
    for name, endpoint in (settings or {}).items():
        wanted = networks.endpoint(endpoint)
        if name in draft.networks and draft.networks[name] == Wanted():
            draft.networks[name] = wanted
        else:
            _add(draft, networks.check_name(text(name)), wanted)


def _network_aliases(draft: Draft, value: object) -> None:
    from minidock.containers.parse import networks

    draft.endpoint.aliases = [networks.alias(entry) for entry in texts(value)] or None


def _ip(draft: Draft, value: object) -> None:
    draft.endpoint.ipv4 = text(value)


def _ip6(draft: Draft, value: object) -> None:
    draft.endpoint.ipv6 = text(value)


def _link_local_ips(draft: Draft, value: object) -> None:
    draft.endpoint.link_local = texts(value) or None


def _mac_address(draft: Draft, value: object) -> None:
    from minidock.containers.parse import networks

    draft.endpoint.mac = networks.mac_address(given) if (given := text(value)) else ""


def _links(draft: Draft, value: Any) -> None:
    from minidock.containers.parse import networks

    if isinstance(value, str):
        raise TypeError
    entries = value.items() if hasattr(value, "items") else value
    found = [networks.link(entry if isinstance(entry, str) else ":".join(filter(None, entry))) for entry in entries]
    draft.endpoint.links = found or None


def _publish(draft: Draft, value: object) -> None:
    from minidock.containers.parse import ports

    _bind(draft, ports.published(one_or_more(value)))


def _ports(draft: Draft, value: Any) -> None:
    from minidock.containers.parse import ports

    _bind(draft, ports.mapping(value))


def _bind(draft: Draft, bindings: PortMap) -> None:
    bound = draft.host_config.port_bindings
    assert bound is not None  # noqa: S101 - a new draft has one
    for port, added in bindings.items():
        bound[port] = [*(bound.get(port) or ()), *(added or ())]
    _expose_all(draft, bindings)


def _publish_all_ports(draft: Draft, value: object) -> None:
    draft.host_config.publish_all_ports = flag(value)


def _expose(draft: Draft, value: Any) -> None:
    from minidock.containers.parse import ports

    if isinstance(value, (str, Mapping)):
        raise TypeError
    for entry in value:
        if isinstance(entry, bool):
            raise TypeError
        _expose_all(draft, ports.expose(text(str(entry) if isinstance(entry, int) else entry)))


def _expose_all(draft: Draft, names: Any) -> None:
    exposed = draft.config.exposed_ports
    draft.config.exposed_ports = {**(exposed if isinstance(exposed, dict) else {}), **{name: {} for name in names}}


def _extra_hosts(draft: Draft, value: Any) -> None:
    draft.host_config.extra_hosts = hosts.extra_hosts(value)


def _dns(draft: Draft, value: object) -> None:
    draft.host_config.dns = [hosts.dns_server(entry) for entry in texts(value)]


def _dns_opt(draft: Draft, value: object) -> None:
    draft.host_config.dns_options = [hosts.dns_option(entry) for entry in texts(value)]


def _dns_search(draft: Draft, value: object) -> None:
    draft.host_config.dns_search = [hosts.dns_search(entry) for entry in texts(value)]


HANDLERS: dict[str, Handler] = {
    "network": _network,
    "network_mode": _network_mode,
    "networking_config": _networking_config,
    "network_aliases": _network_aliases,
    "ip": _ip,
    "ip6": _ip6,
    "link_local_ips": _link_local_ips,
    "mac_address": _mac_address,
    "links": _links,
    "publish": _publish,
    "ports": _ports,
    "publish_all_ports": _publish_all_ports,
    "expose": _expose,
    "extra_hosts": _extra_hosts,
    "dns": _dns,
    "dns_opt": _dns_opt,
    "dns_search": _dns_search,
}


def complete(draft: Draft) -> None:
    """Give a draft its networks, once all options are in it, and refuse what does not fit together.

    Raises InvalidArgument, in Docker's words.
    """
    networks = draft.networks
    if not networks:
        networks[default_network(draft)] = Wanted()
    mode = draft.host_config.network_mode = next(iter(networks))
    draft.endpoint_given = draft.endpoint != Wanted() or any(wanted != Wanted() for wanted in networks.values())
    if len(networks) > 1:
        _check_several(networks)
    if draft.endpoint != Wanted():
        _settle(draft, mode, networks[mode])
    if mode.startswith("container:"):
        _check_joined(draft, networks[mode])
        networks.clear()
        return
    if mode == "host":
        if draft.host_config.links:
            raise InvalidArgument(
                "conflicting options: host type networking can't be used with links. "
                "This would result in undefined behavior"
            )
        if draft.host_config.port_bindings or draft.host_config.publish_all_ports:
            draft.warnings.append("published ports are discarded when using host network mode")
    for name, wanted in networks.items():
        if wanted.aliases and not is_user_defined(name):
            raise InvalidArgument("network-scoped aliases are only supported for user-defined networks")
    if mac := networks[mode].mac:
        draft.config.mac_address = mac


def _check_several(networks: dict[str, Wanted]) -> None:
    user_defined = {is_user_defined(name) for name in networks}
    if len(user_defined) == 2:
        raise InvalidArgument("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    if "none" in networks:
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
    if False in user_defined:
        raise InvalidArgument(
            "container sharing network namespace with another container or host cannot be connected to any other "
            "network"
        )


_TWICE = (
    ("ipv4", "--ip", "IPv4 address"),
    ("ipv6", "--ip6", "IPv6 address"),
    ("link_local", "--link-local-ip", "link-local IP addresses"),
    ("mac", "--mac-address", "MAC address"),
    ("aliases", "--network-alias", "alias"),
)


def _settle(draft: Draft, mode: str, wanted: Wanted) -> None:
    """Move what was said of the container as a whole to its first network."""
    for attribute, option, noun in _TWICE:
        if given := getattr(draft.endpoint, attribute):
            if getattr(wanted, attribute):
                raise InvalidArgument(f"conflicting options: cannot specify both {option} and per-network {noun}")
            setattr(wanted, attribute, given)
    if is_user_defined(mode):
        wanted.links = draft.endpoint.links
    else:
        draft.host_config.links = draft.endpoint.links


def _check_joined(draft: Draft, wanted: Wanted) -> None:
    """Refuse what a container cannot have of its own when it is in the network of another."""
    host_config = draft.host_config
    if draft.config.hostname or draft.config.domainname:
        raise InvalidArgument("conflicting options: hostname and the network mode")
    if host_config.links:
        raise InvalidArgument(
            "conflicting options: container type network can't be used with links. "
            "This would result in undefined behavior"
        )
    if host_config.dns or host_config.dns_search or host_config.dns_options:
        raise InvalidArgument("conflicting options: dns and the network mode")
    if host_config.extra_hosts:
        raise InvalidArgument("conflicting options: custom host-to-IP mapping and the network mode")
    if wanted.mac:
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    if host_config.port_bindings or host_config.publish_all_ports:
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    if draft.config.exposed_ports:
        raise InvalidArgument("conflicting options: port exposing and the container type network mode")
    if wanted.aliases:
        raise InvalidArgument("network-scoped aliases are only supported for user-defined networks")
    if wanted != Wanted():
        raise InvalidArgument(
            f"invalid config for network {host_config.network_mode}: invalid endpoint settings: "
            "user specified IP address is supported on user defined networks only"
        )
