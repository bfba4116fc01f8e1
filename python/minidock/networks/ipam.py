"""Which address of a network a container gets. Pure: what is taken comes from the caller."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from minidock.networks.addresses import BITS, Prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence


class Pool(NamedTuple):
    """One subnet of a network as leases see it."""

    subnet: Prefix
    range: Prefix
    """What addresses are chosen from: the subnet, or the part of it that the user said."""
    gateway: int | None
    reserved: frozenset[int]
    """Addresses that nobody gets: gateway, auxiliary ones, network and broadcast."""
    user: bool
    """Whether the user said the subnet, and may therefore ask for addresses in it."""


def unusable(subnet: Prefix) -> set[int]:
    """The addresses of a subnet that no interface can have: its lowest, and of IPv4 its highest.

    The lowest of IPv6 is every router's. In an IPv4 subnet of one or two addresses all of them can be used.
    """
    if subnet.version == 6:
        return {subnet.first}
    return {subnet.first, subnet.last} if subnet.length < BITS[4] - 1 else set()


def choose(
    pools: Sequence[Pool],
    after: int,
    taken: Callable[[int, int], Iterable[int]],
    refused: Collection[int] = (),
) -> int | None:
    """Return the first free address behind ``after``, else from the beginning; None when there is none.

    ``taken`` yields, in order, the taken addresses between two, both included; it is read no further than needed.
    """
    for first, last, reserved in _legs(pools, after):
        candidate = first
        for used in chain(taken(first, last), (last + 1,)):
            while candidate < used:
                if candidate not in reserved and candidate not in refused:
                    return candidate
                candidate += 1
            candidate = used + 1
    return None


def _legs(pools: Sequence[Pool], after: int) -> Iterator[tuple[int, int, frozenset[int]]]:
    """All ranges, in order, rotated so that they begin behind ``after`` if one of them has it."""
    at = next((at for at, pool in enumerate(pools) if pool.range.first <= after <= pool.range.last), None)
    if at is None:
        yield from ((pool.range.first, pool.range.last, pool.reserved) for pool in pools)
        return
    middle = pools[at]
    yield after + 1, middle.range.last, middle.reserved
    yield from ((pool.range.first, pool.range.last, pool.reserved) for pool in (*pools[at + 1 :], *pools[:at]))
    yield middle.range.first, after, middle.reserved
