"""Networks on this host: their bridges, what happens to them when processes die, and many at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

import minidock
from minidock.config import Config
from minidock.errors import (
    AddressInUse,
    Conflict,
    InvalidArgument,
    MinidockError,
    NameInUse,
    NetworkInUse,
    NetworkNotFound,
    NotFound,
    PoolExhausted,
)
from minidock.networks import machine
from minidock.networks.addresses import parse_prefix
from minidock.networks.collection import NetworkCollection
from tests.conftest import Cli, Roots
from tests.integration.networks import clear, interfaces

BRIDGE_NAME = "com.docker.network.bridge.name"


@pytest.fixture
def networks(roots: Roots) -> Iterator[NetworkCollection]:
    """The networks of an engine that has a default one; all are removed at the end."""
    with minidock.Engine(str(roots.data), str(roots.run), Config(cgroup_parent=roots.cgroup_parent)) as engine:
        yield engine.networks
        clear(engine)


def _live(roots: Roots) -> list[str]:
    folder = roots.run / "networks"
    return sorted(name for name in os.listdir(folder) if len(name) >= 64) if folder.exists() else []


def test_a_network_has_its_bridge(networks: NetworkCollection, roots: Roots) -> None:
    web = networks.create("web", labels={"a": "b"}, options={"com.docker.network.driver.mtu": 1400})
    bridge = f"mdn-{web.id[:11]}"
    assert (Path("/sys/class/net") / bridge / "mtu").read_text().strip() == "1400"
    assert (Path("/sys/class/net") / bridge / "bridge").is_dir()
    subnet = web.attrs["IPAM"]["Config"][0]["Subnet"]
    assert parse_prefix(subnet).span in machine.host.spans(ipv6=False)
    assert networks.get("web") == networks.get(web.short_id) == web
    assert web.labels == {"a": "b"}
    web.remove()
    assert bridge not in interfaces()
    assert parse_prefix(subnet).span not in machine.host.spans(ipv6=False)
    assert web.id not in _live(roots)
    with pytest.raises(NetworkNotFound, match=r"^network web not found$"):
        networks.get("web")
    with pytest.raises(NetworkNotFound):
        web.reload()


def test_the_default_network_comes_up_when_it_is_used(networks: NetworkCollection) -> None:
    names = {network.name for network in networks.list()}
    assert names == {"bridge", "host", "none"}
    record = networks.record("default")
    assert record.bridge.startswith("mdb-")
    assert record.bridge not in interfaces()
    networks.live(record)
    assert record.bridge in interfaces()
    with pytest.raises(Conflict, match=r"^bridge is a pre-defined network and cannot be removed$"):
        networks.get("bridge").remove()


def test_the_configuration_changes_the_default_network(networks: NetworkCollection, roots: Roots) -> None:
    before = networks.record("bridge")
    networks.live(before)
    config = Config(cgroup_parent=roots.cgroup_parent, bip="10.213.7.1/24")
    with minidock.Engine(str(roots.data), str(roots.run), config) as other:
        lease = networks.leases.allocate(before, "0" * 64)
        assert other.networks.record("bridge").id == before.id, "somebody is on it"
        networks.leases.release(lease.container_id)
        now = other.networks.record("bridge")
        assert now.id != before.id
        assert now.subnets[0].subnet == "10.213.7.0/24"
        other.networks.live(now)
        assert now.bridge in interfaces()
        assert networks.record("bridge").id not in (now.id, before.id), "and back again"


def test_a_subnet_is_neither_a_networks_nor_the_hosts(networks: NetworkCollection) -> None:
    routes = machine.host.spans(ipv6=True)
    one = networks.create("one").record
    two = networks.create("two").record
    chosen = [parse_prefix(record.subnets[0].subnet) for record in (one, two)]
    assert not chosen[0].overlaps(chosen[1].span)
    assert not any(subnet.overlaps(route) for route in routes for subnet in chosen)
    with pytest.raises(AddressInUse, match="Pool overlaps with other one on this address space"):
        networks.create("three", subnet=str(chosen[0]))
    with pytest.raises(NetworkNotFound):
        networks.get("three")


def test_what_cannot_be_made_leaves_nothing(networks: NetworkCollection, roots: Roots) -> None:
    networks.list()
    before = interfaces(), _live(roots)
    networks.create("web").remove()
    for name, said, error in (
        ("a", {"options": {BRIDGE_NAME: "lo"}}, Conflict),
        ("a", {"driver": "macvlan", "options": {"parent": "nosuch0"}}, NotFound),
        ("a", {"driver": "macvlan", "options": {"parent": "nosuch0.7"}}, NotFound),
        ("bridge", {}, Conflict),
    ):
        with pytest.raises(error):
            networks.create(name, **said)  # type: ignore[arg-type]
    assert (interfaces(), _live(roots)) == before
    networks.create("a")


def test_names_of_interfaces(networks: NetworkCollection) -> None:
    name = f"mdt{os.getpid() % 10**6}"
    networks.create("one", options={BRIDGE_NAME: name})
    assert name in interfaces()
    with pytest.raises(Conflict, match="networks have same bridge name"):
        networks.create("two", options={BRIDGE_NAME: name})
    with pytest.raises(NameInUse, match=r"^network with name one already exists$"):
        networks.create("one")


def test_exhausted_pools(roots: Roots) -> None:
    from minidock.config import AddressPool

    config = Config(cgroup_parent=roots.cgroup_parent, default_address_pools=(AddressPool("10.227.0.0/23", 24),))
    with minidock.Engine(str(roots.data), str(roots.run), config) as engine:
        engine.networks.create("one")
        engine.networks.create("two")
        try:
            for need in (lambda: engine.networks.create("three"), lambda: engine.networks.get("bridge")):
                with pytest.raises(PoolExhausted, match="all predefined address pools have been fully subnetted"):
                    need()
            engine.networks.create("three", subnet="10.227.2.0/24")
            assert {network.name for network in engine.networks.list()} == {"host", "none", "one", "two", "three"}
        finally:
            clear(engine)


def test_a_network_in_use_stays(networks: NetworkCollection, roots: Roots) -> None:
    web = networks.create("web")
    lease = networks.leases.allocate(web.record, "ab" * 32)
    with pytest.raises(NetworkInUse) as caught:
        web.remove()
    assert str(caught.value) == (
        "error while removing network: network web has active endpoints "
        f'(name:"abababababab" id:"{lease.endpoint_id[:12]}")'
    )
    assert networks.prune().networks_deleted is None
    networks.leases.release("ab" * 32)
    assert networks.prune().networks_deleted == ["web"]


def test_filters(networks: NetworkCollection) -> None:
    networks.create("web", labels=["a=1", "b"])
    networks.create("db", internal=True)
    used = networks.create("used").record
    networks.leases.allocate(used, "0" * 64)

    def names(**filters: Any) -> list[str]:
        return sorted(network.name for network in networks.list(filters=filters))

    assert names(driver="bridge") == ["bridge", "db", "used", "web"]
    assert names(type="builtin") == ["bridge", "host", "none"]
    assert names(type="custom") == ["db", "used", "web"]
    assert names(name="we") == ["web"]
    assert names(name="^(we|d)b$") == ["db", "web"]
    assert names(id=used.id[:12]) == ["used"]
    assert names(label=["a=1", "b"]) == ["web"]
    assert names(label="a=2") == []
    assert names(scope="swarm") == []
    assert names(dangling=True) == ["db", "web"]
    assert names(dangling=False) == ["bridge", "host", "none", "used"]
    assert [network.name for network in networks.list(names=["web"])] == ["web"]


def test_200_networks_at_once(networks: NetworkCollection, roots: Roots) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: networks.create(f"n{number}"), range(200)))
    subnets = {network.record.subnets[0].subnet for network in made}
    assert len(subnets) == 200
    assert {network.record.bridge for network in made} <= interfaces()
    outcome = networks.remove([network.name for network in made])
    assert outcome == [None] * 200
    assert not {network.record.bridge for network in made} & interfaces()
    assert _live(roots) == []


_MAKER = """
import sys
import minidock
from minidock.config import Config
with minidock.Engine(sys.argv[1], sys.argv[2], Config(cgroup_parent=sys.argv[3])) as engine:
    for number in range(int(sys.argv[5])):
        print(engine.networks.create(f"{sys.argv[4]}{number}").record.subnets[0].subnet, flush=True)
"""


def _maker(roots: Roots, name: str, number: int, run: str = "") -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", _MAKER, str(roots.data) + run, str(roots.run) + run, roots.cgroup_parent, name]
    return subprocess.Popen([*argv, str(number)], stdout=subprocess.PIPE, text=True)


def test_a_name_that_begins_several_ids(networks: NetworkCollection) -> None:
    ids = [networks.create(f"n{number}").id for number in range(17)]  # two of them begin with the same digit
    digit = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    with pytest.raises(InvalidArgument, match="ambiguous"):
        networks.get(digit)
    made = networks.create(digit)
    assert networks.get(digit).id == made.id
    with pytest.raises(NameInUse):
        networks.create(digit)


def test_processes_that_make_at_once(networks: NetworkCollection, roots: Roots) -> None:
    makers = [_maker(roots, name, 15) for name in "abc"] + [_maker(roots, "d", 15, "2")]
    found: list[str] = []
    for maker in makers:
        output, _ = maker.communicate(timeout=120)
        assert maker.returncode == 0
        found += output.split()
    try:
        assert len(found) == len(set(found)) == 60
    finally:
        with minidock.Engine(f"{roots.data}2", f"{roots.run}2", Config()) as other:
            clear(other)
    assert len(networks.list(filters={"type": "custom"})) == 45


def test_a_process_that_is_killed(networks: NetworkCollection, roots: Roots) -> None:
    networks.list()
    for after in range(1, 13):
        maker = _maker(roots, f"k{after}-", 1000)
        assert maker.stdout is not None
        for _ in range(after % 4):
            maker.stdout.readline()
        maker.send_signal(signal.SIGKILL)
        maker.communicate()
    networks.create("last")
    records = [network.record for network in networks.list(filters={"type": "custom"})]
    assert set(_live(roots)) == {record.id for record in records}
    assert {name for name in interfaces() if name.startswith("mdn-")} >= {record.bridge for record in records}
    assert networks.repair() == []
    ours = {
        json.loads((roots.run / "networks" / record.id / "network.json").read_text())["bridge"] for record in records
    }
    assert ours == {record.bridge for record in records}


def test_repair_says_what_it_does(networks: NetworkCollection, roots: Roots) -> None:
    web = networks.create("web").record
    gone = networks.create("gone").record
    networks.leases.allocate(web, "cd" * 32)
    endpoints = roots.run / "networks" / web.id / "endpoints"
    (endpoints / ("ef" * 32)).write_bytes(msgspec.json.encode({"container": "ef" * 32, "addresses": []}))
    subprocess.run(["ip", "link", "delete", web.bridge], check=True)
    networks.table.delete(gone.id)
    done = networks.repair()
    assert done == [
        f"removed what was left of network {gone.id[:12]}",
        f"gave back the addresses of container cdcdcdcdcdcd, which is gone, on network {web.id[:12]}",
        "removed container efefefefefef, which has ended, from network web",
        f"made the bridge {web.bridge} of network web",
    ]
    assert web.bridge in interfaces()
    assert gone.bridge not in interfaces()
    assert networks.repair() == []


def test_a_live_file_of_an_earlier_boot_is_written_anew(networks: NetworkCollection, roots: Roots) -> None:
    web = networks.create("web").record
    path = roots.run / "networks" / web.id / "network.json"
    now = path.read_bytes()
    path.write_bytes(msgspec.json.encode({**json.loads(now), "boot": "another"}))
    subprocess.run(["ip", "link", "delete", web.bridge], check=True)
    networks.live(web)
    assert path.read_bytes() == now
    assert web.bridge in interfaces()


def test_a_network_of_another_data_root_is_left_alone(networks: NetworkCollection, roots: Roots) -> None:
    web = networks.create("web").record
    other = roots.data.with_name("other")
    config = Config(cgroup_parent=roots.cgroup_parent, bridge="none")
    with minidock.Engine(str(other), str(roots.run), config) as engine:
        engine.networks.create("web").remove()
        assert web.bridge in interfaces()
        assert networks.repair() == []


def test_nobody_waits_inside_a_transaction(networks: NetworkCollection) -> None:
    from minidock.networks.leases import StillLeaving

    def act() -> None:
        with networks.table.database.transaction():
            networks.record("bridge")

    with machine.lock(patient=True), pytest.raises(StillLeaving):
        act()
    act()


def test_commands(roots: Roots, cli: Cli) -> None:
    roots.config.write_text(json.dumps({"cgroup-parent": roots.cgroup_parent, "bridge": "none"}))
    assert (
        cli.ok("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}") == "host host local\nnone null local\n"
    )
    one = cli.ok("network", "create", "--label", "a=b", "one").strip()
    assert re.fullmatch("[0-9a-f]{64}", one)
    two = cli.ok("network", "create", "--subnet", "10.213.9.0/24,fd13:9::/64", "--ipv6", "two").strip()
    assert cli.ok("network", "ls", "-q", "--no-trunc", "-f", "type=custom") == f"{one}\n{two}\n"
    shown = json.loads(cli.ok("network", "inspect", "two"))
    assert shown[0]["IPAM"]["Config"] == [{"Subnet": "10.213.9.0/24"}, {"Subnet": "fd13:9::/64"}]
    template = "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}};{{end}}"
    assert cli.ok("network", "inspect", "-f", template, "two") == "10.213.9.0/24 ;fd13:9::/64 ;\n"
    assert cli.ok("inspect", "--type", "network", "-f", "{{.Name}}", two) == "two\n"
    done = cli("network", "rm", "one", "nosuch", "host")
    assert (done.returncode, done.stdout) == (1, b"one\n")
    assert done.stderr == (
        b"minidock: network nosuch not found\nminidock: host is a pre-defined network and cannot be removed\n"
    )
    assert cli.ok("network", "rm", "-f", "one") == ""
    assert cli.ok("network", "prune", "-f", "--filter", "label=x") == ""
    assert cli("network", "prune", input=b"n\n").stdout.startswith(b"WARNING! This will remove all custom networks")
    assert cli.ok("network", "prune", "-f") == "Deleted Networks:\ntwo\n\n"
    assert cli.ok("network", "repair") == ""
    with minidock.Engine(str(roots.data), str(roots.run), str(roots.config)) as engine:
        clear(engine)


def test_events(networks: NetworkCollection) -> None:
    web = networks.create("web")
    web.remove()
    networks.prune()
    found = networks._engine.events(since=0, filters={"type": "network"})
    assert [(event.action, event.id, event.attributes) for event in found] == [
        ("create", web.id, {"name": "web", "type": "bridge"}),
        ("destroy", web.id, {"name": "web", "type": "bridge"}),
        ("prune", "", {"reclaimed": "0"}),
    ]


def test_a_configuration_network(networks: NetworkCollection) -> None:
    networks.create("conf", config_only=True, subnet="10.213.8.0/24", options={"com.docker.network.driver.mtu": "1400"})
    web = networks.create("web", config_from="conf")
    assert web.attrs["ConfigFrom"] == {"Network": "conf"}
    assert web.attrs["Options"] == {"com.docker.network.driver.mtu": "1400"}
    with pytest.raises(Conflict, match=r'^configuration network "conf" is in use$'):
        networks.get("conf").remove()
    assert networks.prune().networks_deleted == ["web"]
    networks.get("conf").remove()


def test_every_failure_is_one_line(networks: NetworkCollection) -> None:
    networks.create("web")
    for said in ({"name": "web"}, {"name": ""}, {"name": "x", "driver": "foo"}, {"name": "x", "subnet": "foo"}):
        with pytest.raises(MinidockError) as caught:
            networks.create(**said)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
