"""Subnets: which one is chosen, and which one will do."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.config import AddressPool
from minidock.errors import AddressInUse, InvalidArgument, PoolExhausted
from minidock.networks import addresses, pools
from minidock.networks.addresses import Prefix, Span, parse_prefix, span


def _spans(*texts: str) -> list[Span]:
    return [parse_prefix(text).span for text in texts]


@given(st.ip_addresses())
def test_addresses_are_read_and_shown(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    version, number = addresses.parse(str(address))
    assert (version, number) == (address.version, int(address))
    assert addresses.parse(addresses.show(version, number)) == (version, number)


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_subnets_are_read_as_the_library_reads_them(address: ipaddress.IPv4Address, length: int) -> None:
    library = ipaddress.ip_network(f"{address}/{length}", strict=False)
    ours = parse_prefix(f"{address}/{length}", strict=False)
    assert str(ours) == str(library)
    assert ours.last == int(library.broadcast_address)


@pytest.mark.parametrize(
    "text",
    ["", "/", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0/8", "::/129", "10.0.0.1/8"],
)
def test_what_is_no_subnet(text: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        parse_prefix(text)


def test_the_first_choices() -> None:
    nothing = pools.Taken((), ())
    assert str(nothing.free(pools.DEFAULT)) == "172.17.0.0/16"
    assert str(nothing.free(pools.USER)) == "172.18.0.0/24"
    assert str(nothing.free(pools.unique_local("0123456789"))) == "fd01:2345:6789::/64"


def test_what_networks_and_routes_have_is_passed_over() -> None:
    taken = pools.Taken(_spans("172.18.0.0/24", "172.18.2.128/25"), _spans("172.17.3.0/24", "172.18.1.7/32"))
    assert str(taken.free(pools.DEFAULT)) == "172.19.0.0/16"
    assert str(taken.free(pools.USER)) == "172.18.3.0/24"


def test_a_vpn_that_wants_everything_leaves_room() -> None:
    taken = pools.Taken((), _spans("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"))
    assert str(taken.free(pools.DEFAULT)) == "172.17.0.0/16"


def test_the_next_range_follows() -> None:
    taken = pools.Taken((), _spans("172.16.0.0/12"))
    assert str(taken.free(pools.USER)) == "192.168.0.0/24"
    assert str(taken.free(pools.DEFAULT)) == "10.128.0.0/16"


def test_thousands_of_networks_and_no_overlap() -> None:
    own: list[Span] = []
    for _ in range(400):
        own.append(pools.Taken(own, _spans("172.18.7.0/25")).free(pools.USER).span)
    assert len(set(own)) == 400
    assert sum(count for _, _, count in pools.USER) > 30_000


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(20, 32)), max_size=30),
    st.integers(22, 28),
)
def test_a_chosen_subnet_overlaps_nothing(spans: list[tuple[int, int, int]], size: int) -> None:
    routes = [span(f"10.1.{third}.{fourth}/{length}") for third, fourth, length in spans]
    ranges = ((parse_prefix("10.1.0.0/16"), size, 1 << (size - 16)),)
    every = [Prefix(4, ranges[0][0].first + (at << (32 - size)), size) for at in range(1 << (size - 16))]
    free = [one for one in every if not any(one.overlaps(route) for route in routes)]
    taken = pools.Taken((), routes)
    if free:
        assert taken.free(ranges) == free[0]
    else:
        with pytest.raises(PoolExhausted, match="all predefined address pools have been fully subnetted"):
            taken.free(ranges)


def test_configured_pools() -> None:
    ranges4, ranges6 = pools.configured([AddressPool("10.9.0.0/23", 24), AddressPool("fd00::/56", 64)])
    one = pools.Taken((), ()).free(ranges4)
    two = pools.Taken([one.span], ()).free(ranges4)
    assert (str(one), str(two)) == ("10.9.0.0/24", "10.9.1.0/24")
    with pytest.raises(PoolExhausted):
        pools.Taken([one.span, two.span], ()).free(ranges4)
    assert str(pools.Taken((), ()).free(ranges6)) == "fd00::/64"
    for base, size in (("10.9.0.0/24", 16), ("10.9.0.0/24", 33), ("nonsense", 24)):
        with pytest.raises(InvalidArgument, match="default-address-pools"):
            pools.configured([AddressPool(base, size)])


def test_a_subnet_that_the_user_says_may_be_the_hosts_but_no_other_networks() -> None:
    taken = pools.Taken(_spans("10.9.0.0/24"), _spans("192.0.2.0/24"))
    taken.check(parse_prefix("192.0.2.0/24"))
    for text in ("10.9.0.0/25", "10.0.0.0/8", "0.0.0.0/0"):
        with pytest.raises(AddressInUse, match="Pool overlaps with other one on this address space"):
            taken.check(parse_prefix(text))


@pytest.mark.parametrize("text", ["127.0.0.0/24", "224.0.0.0/24", "0.1.0.0/16", "ff02::/64", "::ffff:10.9.0.0/120"])
def test_addresses_that_no_network_can_have(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid subnet .*addresses$"):
        pools.check_kind(parse_prefix(text))
