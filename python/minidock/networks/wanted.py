"""What a user wants of a new network's addresses: read from every form, and checked in Docker's words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.errors import AddressInUse, InvalidArgument
from minidock.networks import addresses, pools
from minidock.networks.addresses import Prefix, parse_prefix
from minidock.networks.ipam import unusable
from minidock.networks.record import Subnet
from minidock.spec.docker_network import IPAMConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_KEYS = {
    "Subnet": "subnet",
    "IPRange": "ip_range",
    "Gateway": "gateway",
    "AuxiliaryAddresses": "auxiliary_addresses",
    "AuxAddress": "auxiliary_addresses",
}


def from_ipam(ipam: Mapping[str, Any]) -> tuple[str, dict[str, str] | None, list[IPAMConfig]]:
    """Return driver, options and subnets of an IPAM in the form of Docker's API. Raises InvalidArgument."""
    for key in ipam:
        if key not in ("Driver", "Config", "Options"):
            raise InvalidArgument(f"ipam: unknown key {str(key)[:100]!r}: use Driver, Config, Options")
    found = []
    for entry in ipam.get("Config") or ():
        config = IPAMConfig()
        for key, value in entry.items():
            if key not in _KEYS:
                raise InvalidArgument(f"ipam: unknown key {str(key)[:100]!r} in Config: use {', '.join(_KEYS)}")
            if value:
                setattr(config, _KEYS[key], dict(value) if key.startswith("Aux") else str(value))
        found.append(config)
    options = ipam.get("Options")
    return ipam.get("Driver") or "default", None if options is None else dict(options), found


def from_flags(
    subnets: Sequence[str], gateways: Sequence[str], ranges: Sequence[str], auxiliary: Mapping[str, str]
) -> list[IPAMConfig]:
    """Return subnets with the gateways, ranges and auxiliary addresses that lie in them, as ``docker network create``.

    Raises InvalidArgument for one that lies in none.
    """
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise InvalidArgument("every ip-range or gateway must have a corresponding subnet")
    found: dict[str, IPAMConfig] = {}
    for subnet in subnets:
        if any(_matches(subnet, other) or _matches(other, subnet) for other in found):
            raise InvalidArgument("multiple overlapping subnet configuration is not supported")
        found[subnet] = IPAMConfig(subnet=subnet)
    for text in ranges:
        for config in _matching(found, text, "range"):
            if config.ip_range:
                raise InvalidArgument(
                    f"cannot configure multiple ranges ({text}, {config.ip_range}) on the same subnet ({config.subnet})"
                )
            config.ip_range = text
    for text in gateways:
        for config in _matching(found, text, "gateway"):
            if config.gateway:
                raise InvalidArgument(
                    f"cannot configure multiple gateways ({text}, {config.gateway}) for the same subnet "
                    f"({config.subnet})"
                )
            config.gateway = text
    for name, text in auxiliary.items():
        for config in _matching(found, text, "aux-address"):
            config.auxiliary_addresses = {**(config.auxiliary_addresses or {}), name: text}
    return list(found.values())


def _matching(found: Mapping[str, IPAMConfig], text: str, what: str) -> list[IPAMConfig]:
    matching = [config for subnet, config in found.items() if _matches(subnet, text)]
    if not matching:
        raise InvalidArgument(f"no matching subnet for {what} {text[:100]}")
    return matching


def _matches(subnet: str, text: str) -> bool:
    """Whether an address, or the one of a prefix, lies in a subnet. What is no subnet is complained of later."""
    try:
        prefix = parse_prefix(subnet, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid subnet {subnet[:100]}: invalid CIDR block notation") from None
    try:
        return prefix.covers(*addresses.parse(text.partition("/")[0]))
    except ValueError:
        return False


def check(configs: Iterable[IPAMConfig], *, ipv6: bool) -> None:
    """Raise InvalidArgument, in Docker's words, for subnets, gateways, … that make no sense."""
    problems: list[str] = []
    for config in configs:
        try:
            subnet = parse_prefix(config.subnet, strict=False)
        except ValueError:
            problems.append(f"invalid subnet {config.subnet[:100]}: invalid CIDR block notation")
            continue
        if subnet.version == 6 and not ipv6:
            continue
        if not _exact(config.subnet):
            problems.append(f"invalid subnet {config.subnet}: it should be {subnet}")
        problems += _range_problems(config.ip_range, subnet)
        if problem := _address_problem(config.gateway, subnet):
            problems.append(f"invalid gateway {config.gateway[:100]}: {problem}")
        for name, text in (config.auxiliary_addresses or {}).items():
            if problem := _address_problem(text, subnet):
                problems.append(f"invalid auxiliary address {name[:100]}: {problem}")
    if problems:
        raise InvalidArgument(f"invalid network config: {'; '.join(problems)}")


def _exact(text: str) -> bool:
    try:
        parse_prefix(text)
    except ValueError:
        return False
    return True


def _range_problems(text: str, subnet: Prefix) -> list[str]:
    if not text:
        return []
    try:
        prefix = parse_prefix(text, strict=False)
    except ValueError:
        return [f"invalid ip-range {text[:100]}: invalid CIDR block notation"]
    if prefix.version != subnet.version:
        return [f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block"]
    problems = []
    if prefix.length < subnet.length:
        problems.append(f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}")
    if not _exact(text):
        problems.append(f"invalid ip-range {text}: it should be {prefix}")
    if not prefix.overlaps(subnet.span):
        problems.append(f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range")
    return problems


def _address_problem(text: str, subnet: Prefix) -> str:
    if not text:
        return ""
    try:
        version, number = addresses.parse(text)
    except ValueError:
        return "invalid address"
    if version != subnet.version:
        return f"parent subnet is an IPv{subnet.version} block"
    return "" if subnet.covers(version, number) else f"parent subnet {subnet} doesn't contain this address"


def subnets_of(configs: Sequence[IPAMConfig], version: int) -> list[IPAMConfig]:
    """Those of the wanted subnets that are of one version; they have been checked."""
    return [config for config in configs if (":" in config.subnet) == (version == 6)]


def settled(config: IPAMConfig, taken: pools.Taken, *, gateway: bool) -> Subnet:
    """Return the subnet that a user wants, with its gateway; without ``gateway`` it has none.

    Raises AddressInUse when it is another network's, or its gateway or an auxiliary address cannot be one.
    """
    prefix = parse_prefix(config.subnet)
    pools.check_kind(prefix)
    taken.check(prefix)
    version = prefix.version
    reserved = unusable(prefix)
    found = Subnet(str(prefix), ip_range=config.ip_range, user=True)
    if config.gateway:
        _reserve(reserved, config.gateway, f"failed to allocate gateway ({config.gateway})")
        found.gateway = config.gateway
    elif gateway:
        wanted = parse_prefix(config.ip_range) if config.ip_range else prefix
        number = pools.default_gateway(prefix, wanted, reserved)
        reserved.add(number)
        found.gateway = addresses.show(version, number)
    for name, text in (config.auxiliary_addresses or {}).items():
        _reserve(reserved, text, f"failed to allocate secondary ip address ({name}:{text})")
    found.auxiliary = dict(config.auxiliary_addresses or {})
    if not gateway and found.gateway:
        found.auxiliary = {**found.auxiliary, "": found.gateway}  # nobody gets it, and nothing leads there
        found.gateway = ""
    return found


def _reserve(reserved: set[int], text: str, what: str) -> None:
    number = addresses.parse(text)[1]
    if number in reserved:
        raise AddressInUse(f"{what}: Address already in use")
    reserved.add(number)


def chosen(prefix: Prefix, *, gateway: bool) -> Subnet:
    """Return a subnet that nobody asked for, with its gateway."""
    found = Subnet(str(prefix))
    if gateway:
        found.gateway = addresses.show(prefix.version, pools.default_gateway(prefix, prefix, unusable(prefix)))
    return found
