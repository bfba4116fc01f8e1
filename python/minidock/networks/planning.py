"""From what a user wants of a network to its record. Pure, but for its id and the time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from minidock.containers.status import rfc3339
from minidock.errors import Conflict, InvalidArgument, Unsupported
from minidock.networks import options, pools, wanted
from minidock.networks.record import PREDEFINED, Record
from minidock.spec.docker_network import IPAMConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from minidock.config import Config

DRIVERS = ("bridge", "macvlan", "ipvlan")
NAME_MAX = 255
_OPERATORS = (
    "configuration network can only contain network specific fields. Network operator fields like "
    "[ ingress | internal | attachable | scope ] are not supported."
)
_DEPENDS = "user specified configurations are not supported if the network depends on a configuration network"


class Request(Struct, kw_only=True):
    """Everything that ``network create`` can say."""

    name: str
    driver: str = "bridge"
    options: dict[str, str] = {}
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    subnets: list[IPAMConfig] = []
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    scope: str = ""
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    labels: dict[str, str] = {}
    config_only: bool = False
    config_from: str = ""


class Plan(Struct):
    """A record that lacks its subnets, what the user wants of them, and what its options mean."""

    record: Record
    subnets: list[IPAMConfig]
    settings: options.Settings


def check_name(name: str) -> None:
    """Raise InvalidArgument, or Conflict for a predefined one, unless a network may have the name."""
    if not name.strip():
        raise InvalidArgument("invalid name: name is empty")
    if not name.isprintable() or len(name) > NAME_MAX:
        raise InvalidArgument(f"invalid name: {name[:100]!a}: {NAME_MAX} characters at most, and printable ones only")
    if name in (*PREDEFINED, "default"):
        raise Conflict(f"operation is not permitted on predefined {name} network")


def plan(request: Request, config: Config, other: Callable[[str], Record | None]) -> Plan:
    """Return the plan of a network that is wanted; ``other`` finds a network by name.

    Raises InvalidArgument, Conflict and Unsupported, in Docker's words.
    """
    check_name(request.name)
    _check_scope(request)
    enable_ipv4 = _enabled(request.enable_ipv4, request.options, options.IPV4, default=True)
    enable_ipv6 = _enabled(request.enable_ipv6, request.options, options.IPV6, default=False)
    record = Record(
        id=os.urandom(32).hex(),
        name=request.name,
        created=rfc3339(time.time_ns()),
        driver=request.driver,
        enable_ipv4=enable_ipv4,
        enable_ipv6=enable_ipv6,
        ipam_driver=request.ipam_driver,
        ipam_options=request.ipam_options,
        ipam_config=list(request.subnets) or None,
        internal=request.internal,
        attachable=request.attachable,
        options=dict(request.options),
        labels=dict(request.labels),
    )
    if request.ipam_driver != "default":
        raise InvalidArgument(f'plugin "{request.ipam_driver[:100]}" not found: "default" is the only IPAM driver')
    wanted.check(request.subnets, ipv6=enable_ipv6)
    if request.config_only:
        if request.internal or request.attachable or request.ingress or request.scope:
            raise InvalidArgument(_OPERATORS)
        if request.config_from:
            raise InvalidArgument("a configuration network cannot depend on another configuration network")
        record.config_only = True
        record.driver = "null"
        return Plan(record, [], options.Settings())
    _check_driver(request.driver)
    if request.config_from:
        _inherit(record, request, other)
    else:
        record.options = {**config.default_network_opts.get(request.driver, {}), **record.options}
    if not record.enable_ipv4 and not record.enable_ipv6:
        raise InvalidArgument("IPv4 or IPv6 must be enabled")
    settings = options.settings(record.driver, record.options, internal=record.internal)
    options.check_mtu(settings.mtu, ipv6=record.enable_ipv6)
    found = list(record.ipam_config or ())
    for version, enabled in ((4, record.enable_ipv4), (6, record.enable_ipv6)):
        if record.driver == "bridge" and enabled and len(wanted.subnets_of(found, version)) > 1:
            raise InvalidArgument("bridge driver doesn't support multiple subnets")
    if record.driver == "bridge":
        record.bridge = settings.bridge or f"mdn-{record.id[:11]}"
    elif not settings.parent:
        record.internal = True  # below it is an interface that leads nowhere
        settings.parent = f"dm-{record.id[:12]}"
    return Plan(record, found, settings)


def complete(planned: Plan, taken: pools.Taken, config: Config, seed: Callable[[], str]) -> None:
    """Give a planned record its subnets, of those that are not ``taken``. ``seed`` is the host's, for IPv6.

    Raises AddressInUse for a subnet of another network, PoolExhausted, InvalidArgument.
    """
    record = planned.record
    ranges4, ranges6 = pools.configured(config.default_address_pools)
    shown = list(planned.subnets)
    for version, enabled in ((4, record.enable_ipv4), (6, record.enable_ipv6)):
        if not enabled:
            continue
        gateway = has_gateway(record, planned.settings, version)
        own = wanted.subnets_of(planned.subnets, version)
        for one in own:
            record.subnets.append(wanted.settled(one, taken, gateway=gateway))
        if not own:
            ranges = (ranges4 or pools.USER) if version == 4 else (ranges6 or pools.unique_local(seed()))
            subnet = wanted.chosen(taken.free(ranges), gateway=gateway)
            record.subnets.append(subnet)
            shown.append(IPAMConfig(subnet=subnet.subnet, gateway=subnet.gateway))
    record.ipam_config = shown or None


def has_gateway(record: Record, settings: options.Settings, version: int) -> bool:
    """Whether anything leads out of the network's addresses of one version, or to the host."""
    if record.driver == "bridge":
        return (settings.mode4 if version == 4 else settings.mode6) != "isolated"
    return not record.internal and not settings.mode.startswith("l3")


def _check_scope(request: Request) -> None:
    if request.ingress:
        raise InvalidArgument("Ingress network can only be global scope network, and minidock has no swarm")
    if request.scope in ("swarm", "global"):
        raise InvalidArgument("cannot create a swarm scoped network when swarm is not active; minidock has no swarm")
    if request.scope not in ("", "local"):
        raise InvalidArgument(f"invalid scope {request.scope[:100]!a}: local is the only one")


def _check_driver(driver: str) -> None:
    if driver in DRIVERS:
        return
    if driver in ("host", "null"):
        raise Conflict(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise Unsupported("driver overlay is not part of minidock: it runs containers of one host; there is no swarm")
    raise InvalidArgument(f'plugin "{driver[:100]}" not found: the drivers are {", ".join(DRIVERS)}')


def _enabled(given: bool | None, texts: Mapping[str, str], name: str, *, default: bool) -> bool:
    """What a flag says, else the option of that name, else the default."""
    if name in texts:
        try:
            value = options.boolean(texts[name])
        except ValueError:
            raise InvalidArgument(f'driver-opt "{name}" is not a valid bool') from None
        return value if given is None else given
    return default if given is None else given


def _inherit(record: Record, request: Request, other: Callable[[str], Record | None]) -> None:
    """Take the configuration of the network that ``config_from`` names."""
    if request.options:
        raise InvalidArgument(
            "network driver options are not supported if the network depends on a configuration network"
        )
    if request.subnets or request.ipam_options or request.labels or request.enable_ipv6 or request.enable_ipv4 is False:
        raise InvalidArgument(_DEPENDS)
    source = other(request.config_from)
    if source is None or not source.config_only:
        raise InvalidArgument(f'configuration network "{request.config_from[:100]}" does not exist')
    record.config_from = source.name
    record.options = dict(source.options)
    record.labels = dict(source.labels)
    record.ipam_driver = source.ipam_driver
    record.ipam_options = source.ipam_options
    record.ipam_config = source.ipam_config
    record.enable_ipv4, record.enable_ipv6 = source.enable_ipv4, source.enable_ipv6
