"""The default network, ``bridge``, as the configuration wants it. Pure, but for its id and the time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from minidock.containers.status import rfc3339
from minidock.errors import InvalidArgument
from minidock.networks import addresses, naming, options, pools, wanted
from minidock.networks.addresses import Prefix, parse_prefix
from minidock.networks.ipam import unusable
from minidock.networks.record import DEFAULT, Record, Subnet
from minidock.spec.docker_network import IPAMConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.config import Config

_MTU = 1500


def make(
    config: Config,
    run_root: str,
    taken: pools.Taken,
    seed: Callable[[], str],
    host_address: str = "",
) -> Record:
    """Return the default network's record. ``host_address`` is what the bridge has if it is the host's own.

    Raises InvalidArgument for a configuration that makes no sense, AddressInUse, PoolExhausted.
    """
    record = Record(
        id=os.urandom(32).hex(),
        name=DEFAULT,
        created=rfc3339(time.time_ns()),
        enable_ipv6=config.ipv6,
        options={
            options.DEFAULT_BRIDGE: "true",
            options.ICC: _word(config.icc),
            options.MASQUERADE: _word(config.ip_masq),
            options.BINDING: config.ip or "0.0.0.0",  # noqa: S104 - Docker's default for published ports
            options.NAME: naming.default_bridge(config, run_root),
            options.MTU: str(config.mtu or _MTU),
        },
        bridge=naming.default_bridge(config, run_root),
        borrowed=bool(host_address),
        configured=naming.fingerprint(config, run_root),
    )
    options.check_mtu(config.mtu or _MTU, ipv6=config.ipv6)
    ranges4, ranges6 = pools.configured(config.default_address_pools)
    found = [_subnet(4, config, taken, lambda: taken.free(ranges4 or pools.DEFAULT), host_address)]
    if config.ipv6:
        found.append(_subnet(6, config, taken, lambda: taken.free(ranges6 or pools.unique_local(seed()))))
    record.subnets = found
    record.ipam_config = [
        IPAMConfig(
            subnet=one.subnet,
            ip_range=one.ip_range,
            gateway=one.own or one.gateway,
            auxiliary_addresses={("DefaultGatewayIPv6" if ":" in one.gateway else "DefaultGatewayIPv4"): one.gateway}
            if one.own
            else None,
        )
        for one in found
    ]
    return record


def _subnet(version: int, config: Config, taken: pools.Taken, free: Callable[[], Prefix], host: str = "") -> Subnet:
    if version == 4:
        keys = ("bip", "fixed-cidr", "default-gateway")
        own, part, gateway = config.bip or host, config.fixed_cidr, config.default_gateway
    else:
        keys = ("bip6", "fixed-cidr-v6", "default-gateway-v6")
        own, part, gateway = config.bip6, config.fixed_cidr_v6, config.default_gateway_v6
    wanted_range = _prefix(keys[1], part, version) if part else None
    if own:
        prefix = _prefix(keys[0], own, version)
        taken.check(prefix)
        number = _address(keys[0], own.partition("/")[0], version, prefix)
    else:
        prefix = wanted_range or free()
        if wanted_range is not None:
            taken.check(prefix)
        number = pools.default_gateway(prefix, prefix, unusable(prefix))
    if wanted_range is not None and not (
        prefix.covers(version, wanted_range.first) and prefix.covers(version, wanted_range.last)
    ):
        raise InvalidArgument(f"configuration: {keys[1]} {part}: not a part of the bridge's subnet {prefix}")
    found = wanted.chosen(prefix, gateway=False)
    found.gateway = addresses.show(version, number)
    if wanted_range is not None and own:
        found.ip_range = str(wanted_range)
    if gateway:
        found.own = found.gateway
        found.gateway = addresses.show(version, _address(keys[2], gateway, version, prefix))
        if found.own == found.gateway:
            found.own = ""
    return found


def _prefix(key: str, text: str, version: int) -> Prefix:
    try:
        found = parse_prefix(text, strict=False)
    except ValueError:
        raise InvalidArgument(f"configuration: {key} {text[:60]!a}: not ADDRESS/LENGTH") from None
    if found.version != version:
        raise InvalidArgument(f"configuration: {key} {text}: not IPv{version}")
    return found


def _address(key: str, text: str, version: int, prefix: Prefix) -> int:
    try:
        kind, number = addresses.parse(text)
    except ValueError:
        raise InvalidArgument(f"configuration: {key} {text[:60]!a}: not an address") from None
    if not prefix.covers(kind, number) or kind != version or number in unusable(prefix):
        raise InvalidArgument(f"configuration: {key} {text}: no interface on {prefix} can have it")
    return number


def _word(value: bool) -> str:
    return "true" if value else "false"
