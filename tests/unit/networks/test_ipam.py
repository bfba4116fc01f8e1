"""Properties of address choice, against a model that knows every address."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.networks import addresses, ipam
from minidock.networks.addresses import Prefix
from minidock.networks.record import Record, Subnet, pools


class Taken:
    """Addresses that somebody has."""

    def __init__(self, numbers: set[int]) -> None:
        self.numbers = sorted(numbers)

    def __call__(self, first: int, last: int) -> Iterator[int]:
        at = bisect.bisect_left(self.numbers, first)
        while at < len(self.numbers) and self.numbers[at] <= last:
            yield self.numbers[at]
            at += 1


@st.composite
def networks(draw: st.DrawFn) -> list[ipam.Pool]:
    """One to three small subnets of one version, with ranges, gateways and auxiliary addresses."""
    version = draw(st.sampled_from((4, 6)))
    bits = addresses.BITS[version]
    base = addresses.parse("10.1.0.0" if version == 4 else "fd00:1::")[1]
    subnets = []
    for at in range(draw(st.integers(1, 3))):
        length = draw(st.integers(bits - 6, bits))
        subnet = Prefix(version, base + (at << 8), length)
        size = draw(st.integers(length, bits))
        start = subnet.first + (draw(st.integers(0, (1 << (size - length)) - 1)) << (bits - size))
        own = st.integers(subnet.first, subnet.last)
        gateway = addresses.show(version, draw(own)) if draw(st.booleans()) else ""
        auxiliary = {str(n): addresses.show(version, n) for n in draw(st.sets(own, max_size=4))}
        subnets.append(Subnet(str(subnet), gateway, str(Prefix(version, start, size)), auxiliary))
    return pools(Record("", "", "", subnets=subnets), version)


def everything(found: list[ipam.Pool]) -> list[int]:
    """All addresses that a container can get, in order."""
    return [
        number
        for pool in found
        for number in range(pool.range.first, pool.range.last + 1)
        if number not in pool.reserved
    ]


@given(networks(), st.data())
def test_a_free_address_is_found_if_and_only_if_there_is_one(found: list[ipam.Pool], data: st.DataObject) -> None:
    can = everything(found)
    taken = set(data.draw(st.lists(st.sampled_from(can)))) if can else set()
    refused = set(data.draw(st.lists(st.sampled_from(can), max_size=3))) if can else set()
    near = [pool.range.first + d for pool in found for d in (-1, 0, 1, 7)]
    cursor = data.draw(st.sampled_from([0, *near, *can]))
    number = ipam.choose(found, cursor, Taken(taken), refused)
    free = [one for one in can if one not in taken and one not in refused]
    if not free:
        assert number is None
        return
    assert number in free
    order = {one: at for at, one in enumerate(can)}
    holding = next((pool for pool in found if pool.range.first <= cursor <= pool.range.last), None)
    if holding is not None:
        behind = [one for one in free if cursor < one <= holding.range.last]
        if behind:
            assert number == behind[0]
    else:
        assert order[number] == min(order[one] for one in free)


@given(networks(), st.lists(st.booleans(), max_size=150))
def test_never_twice_and_given_back_last(found: list[ipam.Pool], takes: list[bool]) -> None:
    can = everything(found)
    cursor = 0
    held: list[int] = []
    given_back: list[int] = []
    for take in takes:
        if take:
            number = ipam.choose(found, cursor, Taken(set(held)))
            if number is None:
                assert len(held) == len(can)
                continue
            assert number in can
            assert number not in held
            unused = [one for one in can if one not in held and one not in given_back]
            assert number in unused or not unused, "an address that was never used goes first"
            if number in given_back:
                given_back.remove(number)
            held.append(number)
            cursor = number
        elif held:
            given_back.append(held.pop(0))


def test_a_whole_subnet_is_given_out_exactly() -> None:
    record = Record("", "", "", subnets=[Subnet("10.0.0.0/24", "10.0.0.1", auxiliary={"a": "10.0.0.100"})])
    found = pools(record, 4)
    got: set[int] = set()
    while (number := ipam.choose(found, max(got, default=0), Taken(got))) is not None:
        got.add(number)
    assert [addresses.show(4, number).rpartition(".")[2] for number in sorted(got)] == [
        str(n) for n in range(2, 255) if n != 100
    ]


@pytest.mark.parametrize(
    ("subnet", "gateway", "count"),
    [
        ("10.0.0.0/30", "10.0.0.1", 1),
        ("10.0.0.0/31", "10.0.0.0", 1),
        ("10.0.0.0/32", "10.0.0.0", 0),
        ("fd00::/127", "fd00::1", 0),
        ("fd00::/126", "fd00::1", 2),
    ],
)
def test_smallest_subnets(subnet: str, gateway: str, count: int) -> None:
    version = 6 if ":" in subnet else 4
    assert len(everything(pools(Record("", "", "", subnets=[Subnet(subnet, gateway)]), version))) == count
