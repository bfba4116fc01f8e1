"""Which subnet a network gets, and whether one that the user said will do. Pure: the caller says what is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.errors import AddressInUse, InvalidArgument, PoolExhausted
from minidock.networks.addresses import BITS, Prefix, parse_prefix, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from minidock.networks.addresses import Span

OVERLAP = "invalid pool request: Pool overlaps with other one on this address space"
_HALF = {4: (1 << 31) - 1, 6: (1 << 127) - 1}
"""Routes to a half of all addresses are those of a VPN that wants everything: no less room than a default route."""


def _range(first: str, length: int, size: int, count: int | None = None) -> tuple[Prefix, int, int]:
    """Subnets of ``size`` from ``first/length`` on: all in it, or ``count`` of them."""
    prefix = parse_prefix(f"{first}/{length}", strict=False)
    return prefix, size, count if count is not None else 1 << (size - length)


# 172.17 to 172.31, then what is seldom used: small companies' 192.168, and the upper half of 10.
DEFAULT = (
    (Prefix(4, 0xAC110000, 16), 16, 15),
    _range("10.128.0.0", 9, 16),
    _range("192.168.0.0", 16, 24),
)
"""For the default network: where to begin, the size of a subnet, and how many there are."""
USER = (
    (Prefix(4, 0xAC120000, 24), 24, 14 * 256),
    _range("192.168.0.0", 16, 24),
    _range("10.128.0.0", 9, 24),
)
"""For other networks."""


def configured(
    entries: Iterable[Any],
) -> tuple[tuple[tuple[Prefix, int, int], ...], tuple[tuple[Prefix, int, int], ...]]:
    """The ranges of IPv4 and of IPv6 that ``default-address-pools`` says. Raises InvalidArgument."""
    found: dict[int, list[tuple[Prefix, int, int]]] = {4: [], 6: []}
    for entry in entries:
        try:
            base = parse_prefix(entry.base, strict=False)
        except ValueError:
            raise InvalidArgument(f"default-address-pools: invalid base {entry.base!r}: not ADDRESS/LENGTH") from None
        if not base.length <= entry.size <= BITS[base.version]:
            raise InvalidArgument(f"default-address-pools: invalid size {entry.size} for base {entry.base}")
        found[base.version].append((base, entry.size, 1 << (entry.size - base.length)))
    return tuple(found[4]), tuple(found[6])


def unique_local(seed: str) -> tuple[tuple[Prefix, int, int], ...]:
    """The /64s of the host's own part of IPv6's private addresses; ``seed`` is ten hexadecimal digits."""
    first = 0xFD << 120 | int(seed, 16) << 80
    return ((Prefix(6, first, 64), 64, 1 << 16),)


class Taken:
    """Addresses that are in use: by networks, and by routes of the host."""

    def __init__(self, own: Iterable[Span], routes: Iterable[Span]) -> None:
        self.own = list(own)
        self.routes = [route for route in routes if route[2] - route[1] < _HALF[route[0]]]

    def free(self, ranges: Sequence[tuple[Prefix, int, int]]) -> Prefix:
        """The first subnet of the ranges that overlaps neither a network nor a route of the host.

        Raises PoolExhausted, in Docker's words.
        """
        version = ranges[0][0].version if ranges else 4
        taken = sorted(one[1:] for one in (*self.own, *self.routes) if one[0] == version)
        for base, size, count in ranges:
            step = 1 << (BITS[version] - size)
            first, end = base.first, base.first + step * count
            for low, high in taken:
                if high < first:
                    continue
                if low >= first + step:
                    break
                first = (high // step + 1) * step
            if first < end:
                return Prefix(version, first, size)
        raise PoolExhausted(
            "all predefined address pools have been fully subnetted: give a subnet with --subnet, remove networks, or "
            "set default-address-pools in the configuration"
        )

    def check(self, subnet: Prefix) -> None:
        """Raise AddressInUse if a subnet that the user said is another network's. The host's routes are the user's."""
        if subnet.length == 0 or any(subnet.overlaps(other) for other in self.own):
            raise AddressInUse(OVERLAP)


def default_gateway(subnet: Prefix, wanted: Prefix, unusable: set[int]) -> int:
    """The first address that can be used of the part ``wanted`` of a subnet. Raises PoolExhausted."""
    for number in range(wanted.first, min(wanted.last, wanted.first + 2) + 1):
        if number not in unusable:
            return number
    raise PoolExhausted(f"failed to allocate gateway: no available addresses on this pool: {subnet}")


def check_kind(subnet: Prefix) -> None:
    """Raise InvalidArgument for addresses that no network of containers can have."""
    version, first = subnet.version, subnet.first
    kinds = (
        (("127.0.0.0/8", "loopback"), ("224.0.0.0/4", "multicast"), ("0.0.0.0/8", "unspecified"))
        if version == 4
        else (("::/96", "loopback"), ("ff00::/8", "multicast"), ("::ffff:0:0/96", "IPv4-mapped"))
    )
    for text, kind in kinds:
        if parse_prefix(text).covers(version, first) and subnet.length:
            raise InvalidArgument(f"invalid subnet {show(version, first)}/{subnet.length}: {kind} addresses")
