"""Making and removing networks, on a host that is pretended: order, failures, deaths at every step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock import _native
from minidock.config import Config
from minidock.engine import Engine
from minidock.errors import AddressInUse, Conflict, InvalidArgument, NetworkNotFound
from minidock.networks import machine, records
from tests.unit.networks import pretended
from tests.unit.networks.pretended import CONFIG, Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path)
    for name, function in found.functions.items():
        monkeypatch.setattr(_native, name, function, raising=False)
    monkeypatch.setattr(machine, "host", found)
    monkeypatch.setattr(machine, "_LOCKS", (str(tmp_path / "lock"),))
    return found


@pytest.fixture
def engine(tmp_path: Path, host: Host) -> Iterator[Engine]:
    with Engine(str(tmp_path / "data"), str(tmp_path / "run"), CONFIG) as it:
        yield it


def _check(engine: Engine, host: Host) -> None:
    """Rows, live files and bridges agree."""
    records = [network.record for network in engine.networks.list(filters={"type": "custom"})]
    assert host.interfaces() == {record.bridge for record in records}
    folder = engine.store.paths.run_networks
    assert set(os.listdir(folder)) == {record.id for record in records}
    spans = engine.store.database.rows("SELECT network_id FROM network_subnets")
    assert {row[0] for row in spans} == {record.id for record in records}


def test_made_and_removed(engine: Engine, host: Host) -> None:
    engine.networks.create("one")
    two = engine.networks.create("two")
    _check(engine, host)
    two.remove()
    _check(engine, host)
    assert [str(error) for error in engine.networks.remove(["one", "two", "one"])] == [
        "None",
        "network two not found",
        "network one not found",
    ]
    _check(engine, host)


def test_a_failure_of_the_kernel_leaves_nothing(engine: Engine, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.networks.create("one")

    def fail(document: bytes, networks: str, *, forward: bool) -> list[str]:
        host.network_ensure(document, networks, forward=forward)
        raise _native.NativeError("make bridge x: no", "conflict", "make bridge", "x", None)

    monkeypatch.setattr(_native, "network_ensure", fail)
    with pytest.raises(Conflict, match=r"^make bridge x: no$"):
        engine.networks.create("two")
    _check(engine, host)
    monkeypatch.setattr(_native, "network_ensure", host.network_ensure)
    engine.networks.create("two")
    _check(engine, host)


def test_what_could_not_be_taken_down_is_taken_down_later(
    engine: Engine, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = engine.networks.create("one")

    def fail(documents: list[bytes], networks: str) -> None:
        raise _native.NativeError("remove bridges: no", "system", "remove bridges", "", 5)

    monkeypatch.setattr(_native, "networks_remove", fail)
    with pytest.raises(Exception, match=r"^remove bridges: no$"):
        one.remove()
    with pytest.raises(NetworkNotFound):
        engine.networks.get("one")
    monkeypatch.setattr(_native, "networks_remove", host.networks_remove)
    assert engine.networks.repair() == [f"removed what was left of network {one.short_id}"]
    _check(engine, host)


@pytest.mark.parametrize("verb", ["create", "remove"])
def test_death_at_every_step(tmp_path: Path, engine: Engine, host: Host, verb: str) -> None:
    engine.networks.create("zero")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for step in range(1, 60):
        name = f"n{step}"
        if verb == "remove":
            engine.networks.create(name)
        argv = [sys.executable, pretended.__file__, str(tmp_path), str(step), verb, name]
        code = subprocess.run(argv, env=environment, check=False, timeout=60).returncode
        assert code in (0, 9)
        engine.networks.create(f"after{step}", subnet=f"10.213.{step}.0/24").remove()
        _check(engine, host)
        if verb == "create" and code == 9:
            for network in engine.networks.list(names=[f"^{name}$"]):
                network.remove()
            engine.networks.create(name)
            _check(engine, host)
        if code == 0:
            assert step > 4
            return
    raise AssertionError("it never comes to its end")


def test_interfaces_of_the_host_stay(engine: Engine, host: Host) -> None:
    (host.links / "eth0").write_text("192.0.2.0/24")
    (host.links / "eth0.7").write_text("192.0.3.0/24")
    for name, parent in (("one", "eth0"), ("two", "eth0.7"), ("three", "eth0.8"), ("four", "eth0.8")):
        engine.networks.create(name, driver="macvlan", options={"parent": parent})
    (host.links / "eth0.8").write_text("")  # by the first of them
    assert engine.networks.remove(["one", "two", "three"]) == [None] * 3
    assert host.interfaces() == {"eth0", "eth0.7", "eth0.8"}, "the fourth is on it"
    engine.networks.get("four").remove()
    assert host.interfaces() == {"eth0", "eth0.7"}


def test_one_bridge_for_one_network(engine: Engine, host: Host) -> None:
    (host.links / "br7").write_text("10.9.0.0/24")
    option = "com.docker.network.bridge.name"
    with pytest.raises(Conflict, match="the host has an interface br7"):
        engine.networks.create("one", options={option: "br7"})
    engine.networks.create("one", options={option: "br8"})
    with pytest.raises(Conflict, match="networks have same bridge name"):
        engine.networks.create("two", options={option: "br8"})
    with pytest.raises(AddressInUse):
        engine.networks.create("two", subnet=engine.networks.get("one").record.subnets[0].subnet)
    engine.networks.create("two", subnet="10.9.0.0/24")


@pytest.mark.parametrize(
    ("others", "said", "error"),
    [
        ([{}], {"options": {"parent": "eth0", "macvlan_mode": "passthru"}}, "cannot use mode passthru"),
        ([{"macvlan_mode": "passthru"}], {"options": {"parent": "eth0"}}, "cannot use mode passthru"),
        ([], {"options": {"parent": "eth1"}}, "invalid subinterface vlan name eth1"),
        ([], {"options": {"parent": "eth1.7"}}, "failed to create eth1.7: the host has no interface eth1"),
        ([], {"options": {"parent": "eth0.4095"}}, "invalid subinterface vlan name"),
        ([], {"options": {"parent": "eth0.7"}}, ""),
        ([{}], {"options": {"parent": "eth0"}}, ""),
    ],
)
def test_parents(engine: Engine, host: Host, others: list[dict[str, str]], said: dict[str, Any], error: str) -> None:
    (host.links / "eth0").write_text("192.0.2.0/24")
    for at, options in enumerate(others):
        record = engine.networks.create(f"o{at}", driver="macvlan", options={"parent": "eth0", **options}).record
        assert record.borrowed
    if not error:
        record = engine.networks.create("n", driver="macvlan", **said).record
        assert record.borrowed == (said["options"]["parent"] == "eth0")
        return
    with pytest.raises(Exception, match=error.replace(".", r"\.")):
        engine.networks.create("n", driver="macvlan", **said)


def test_a_bridge_of_the_host_is_used_as_it_is(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.links / "br7").write_text("10.9.0.0/24")
    monkeypatch.setattr(records, "interface_address", lambda name: "10.9.0.7/24" if name == "br7" else "")
    roots = str(tmp_path / "data"), str(tmp_path / "run")
    with Engine(*roots, Config(bridge="br7")) as engine:
        record = engine.networks.record("default")
        assert record.borrowed
        assert (record.subnets[0].subnet, record.subnets[0].gateway) == ("10.9.0.0/24", "10.9.0.7")
        engine.networks.live(record)
    with Engine(*roots, Config(bridge="br7", bip="10.8.0.1/24")) as engine:
        with pytest.raises(InvalidArgument, match="the interface br7 exists and has"):
            engine.networks.record("bridge")
        assert "br7" in host.interfaces()
    with Engine(*roots, Config()) as engine:
        record = engine.networks.record("bridge")
        assert (record.borrowed, record.subnets[0].subnet) == (False, "172.17.0.0/16")
        engine.networks.live(record)
        assert host.interfaces() == {"br7", record.bridge}


def test_a_default_network_makes_room_for_the_hosts_routes(tmp_path: Path, host: Host) -> None:
    roots = str(tmp_path / "data"), str(tmp_path / "run")
    with Engine(*roots, Config()) as engine:
        before = engine.networks.record("bridge")
        assert before.subnets[0].subnet == "172.17.0.0/16"
    (host.links / "vpn0").write_text("172.17.5.0/24")
    with Engine(*roots, Config()) as engine:
        now = engine.networks.record("bridge")
        assert now.subnets[0].subnet == "172.18.0.0/16"
        engine.networks.live(now)
    (host.links / "vpn1").write_text("172.18.5.0/24")
    with Engine(*roots, Config()) as engine:
        assert engine.networks.record("bridge") == now, "it is up"


def test_a_default_bridge_that_was_left_over_is_made_anew(tmp_path: Path, host: Host) -> None:
    with Engine(str(tmp_path / "data"), str(tmp_path / "run"), Config()) as engine:
        name = engine.networks.record("bridge").bridge
        engine.networks.live(engine.networks.record("bridge"))
    (host.links / name).write_text("10.9.0.0/24")
    with Engine(str(tmp_path / "other"), str(tmp_path / "run"), Config()) as engine:
        with pytest.raises(Conflict, match="is that of data root"):
            engine.networks.record("bridge")
        assert {network.name for network in engine.networks.list()} == {"host", "none"}
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / "run")
    with Engine(str(tmp_path / "data"), str(tmp_path / "run"), Config()) as engine:
        engine.networks.live(engine.networks.record("bridge"))
        assert (host.links / name).read_text() == "172.17.0.0/16"
