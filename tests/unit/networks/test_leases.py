"""Leases: who has which address."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from minidock.errors import AddressInUse, InvalidArgument, NetworkNotFound, PoolExhausted
from minidock.networks.leases import StillLeaving, check_static, patiently
from minidock.networks.record import Record, Subnet
from tests.unit.networks.conftest import Bench


def _name(number: int) -> str:
    return f"{number:064x}"


def test_addresses_come_in_order_with_prefix_and_gateway(bench: Bench) -> None:
    web = bench.network(Subnet("172.18.0.0/24", "172.18.0.1"), Subnet("fd00:1::/64", "fd00:1::1"))
    leases = [bench.leases.allocate(web, _name(i)) for i in range(3)]
    assert [lease.addresses for lease in leases] == [
        [f"172.18.0.{i}/24", f"fd00:1::{i}/64"] for i in (2, 3, 4)
    ]  # fmt: skip
    assert leases[0].gateways == ["172.18.0.1", "fd00:1::1"]
    assert len(leases[0].endpoint_id) == 64
    assert bench.leases.on(web) == leases
    assert bench.leases.of(_name(1)) == [leases[1]]


def test_an_address_that_was_given_back_is_used_last(bench: Bench) -> None:
    web = bench.network(Subnet("10.0.0.0/29", "10.0.0.1"))
    for number in range(3):
        bench.leases.allocate(web, _name(number))
    assert bench.leases.release(_name(0)) == 1
    got = [bench.leases.allocate(web, _name(number)).ipv4 for number in range(3, 6)]
    assert got == ["10.0.0.5", "10.0.0.6", "10.0.0.2"]
    with pytest.raises(PoolExhausted, match=r"^no available IPv4 addresses on this network's address pools: web \("):
        bench.leases.allocate(web, _name(6))


def test_an_address_is_used_again_when_its_live_file_is_gone(bench: Bench) -> None:
    web = bench.network(Subnet("10.0.0.0/30", "10.0.0.1"))
    bench.leases.allocate(web, _name(0))
    directory = f"{bench.store.paths.run_networks}/{web.id}/endpoints"
    os.makedirs(directory)
    file = Path(directory, _name(0))
    file.write_text(json.dumps({"version": 1, "container": _name(0), "addresses": ["10.0.0.2"]}))
    bench.leases.release(_name(0))
    with pytest.raises(StillLeaving):
        bench.leases.allocate(web, _name(1))
    tries = []

    def again() -> str:
        tries.append(1)
        if len(tries) == 2:
            file.unlink(missing_ok=True)
        try:
            return bench.leases.allocate(web, _name(1)).ipv4
        finally:
            file.unlink(missing_ok=True)

    assert patiently(again) == "10.0.0.2"
    assert len(tries) == 2


def test_its_own_live_file_keeps_no_container_from_its_address(bench: Bench) -> None:
    web = bench.network(Subnet("10.0.0.0/30", "10.0.0.1", user=True))
    directory = f"{bench.store.paths.run_networks}/{web.id}/endpoints"
    os.makedirs(directory)
    Path(directory, _name(0)).write_text(json.dumps({"container": _name(0), "addresses": ["10.0.0.2"]}))
    assert bench.leases.allocate(web, _name(0), ipv4="10.0.0.2").ipv4 == "10.0.0.2"


def test_static_addresses(bench: Bench) -> None:
    web = bench.network(Subnet("10.0.0.0/24", "10.0.0.1", "10.0.0.128/25", {"router": "10.0.0.9"}, user=True))
    assert bench.leases.allocate(web, _name(0), ipv4="10.0.0.7").ipv4 == "10.0.0.7"
    assert bench.leases.allocate(web, _name(1)).ipv4 == "10.0.0.128"
    with pytest.raises(AddressInUse, match=r"container 000000000000 has 10\.0\.0\.7 on network web$"):
        bench.leases.allocate(web, _name(2), ipv4="10.0.0.7")
    for own in ("10.0.0.0", "10.0.0.1", "10.0.0.9", "10.0.0.255"):
        with pytest.raises(AddressInUse, match=r"is the network's own$"):
            bench.leases.allocate(web, _name(2), ipv4=own)
    assert bench.leases.allocate(web, _name(0)).ipv4 == "10.0.0.7", "its lease stays"
    assert bench.leases.allocate(web, _name(0), ipv4="10.0.0.8").ipv4 == "10.0.0.8", "it wants another"
    assert bench.leases.allocate(web, _name(2), ipv4="10.0.0.7").ipv4 == "10.0.0.7"


@pytest.mark.parametrize(
    ("name", "user", "ipv4", "ipv6", "words"),
    [
        ("bridge", True, "10.0.0.7", None, "user specified IP address is supported on user defined networks only"),
        ("web", False, "10.0.0.7", None, "user specified IP address is supported only when connecting to networks"),
        ("web", True, None, "fd00::7", "user specified IP address is supported only when connecting to networks"),
        ("web", True, "10.0.1.7", None, "no configured subnet or ip-range contain the IP address 10.0.1.7"),
        ("web", True, "foo", None, "invalid IPv4 address: foo"),
        ("web", True, "fd00::1", None, "invalid IPv4 address: fd00::1"),
        ("web", True, None, "10.0.0.7", "invalid IPv6 address: 10.0.0.7"),
    ],
)
def test_addresses_that_nobody_may_ask_for(
    name: str, user: bool, ipv4: str | None, ipv6: str | None, words: str
) -> None:
    record = Record("0" * 64, name, "", subnets=[Subnet("10.0.0.0/24", "10.0.0.1", user=user)])
    with pytest.raises(InvalidArgument, match=r"^invalid endpoint settings: ") as caught:
        check_static(record, ipv4, ipv6)
    assert words in str(caught.value)


def test_a_transaction_that_fails_takes_its_leases_back(bench: Bench) -> None:
    web = bench.network(Subnet("10.0.0.0/24", "10.0.0.1"))

    def fail() -> None:
        with bench.store.database.transaction():
            bench.leases.allocate(web, _name(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert bench.leases.on(web) == []
    assert bench.leases.allocate(web, _name(1)).ipv4 == "10.0.0.2"


def test_a_network_that_was_removed(bench: Bench) -> None:
    web = bench.network(Subnet("10.0.0.0/24", "10.0.0.1"))
    bench.table.delete(web.id)
    with pytest.raises(NetworkNotFound):
        bench.leases.allocate(web, _name(0))


def test_a_container_that_is_deleted_loses_its_leases(bench: Bench) -> None:
    from minidock.store.containers import ContainerRow

    web = bench.network(Subnet("10.0.0.0/24", "10.0.0.1"))
    bench.store.containers.insert(ContainerRow(_name(0), "one", None, 1, "created", b"{}"))
    bench.leases.allocate(web, _name(0), mac="02:00:00:00:00:01", keep=b"x")
    bench.leases.update(web.id, _name(0), mac="02:00:00:00:00:02", keep=b"y")
    [lease] = bench.leases.of(_name(0))
    assert (lease.mac, lease.record) == ("02:00:00:00:00:02", b"y")
    bench.store.database.execute("DELETE FROM containers")
    assert bench.leases.on(web) == []


def test_many_leases_take_few_statements(bench: Bench) -> None:
    web = bench.network(Subnet("172.17.0.0/16", "172.17.0.1"))
    for number in range(500):
        bench.leases.allocate(web, _name(number))
    statements: list[str] = []
    bench.store.database.connection().set_trace_callback(statements.append)
    assert bench.leases.allocate(web, _name(500)).ipv4 == "172.17.1.246"
    bench.store.database.connection().set_trace_callback(None)
    assert len(statements) <= 6, statements
