"""What a container has on its networks: names, routes, ports, name servers, files."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.config import Config
from minidock.containers import bundle, network_files, networking
from minidock.containers.document import Dns, Port
from minidock.containers.endpoints import Endpoint, Wanted
from minidock.containers.record import Record
from minidock.errors import InvalidArgument
from minidock.networks.leases import Lease
from minidock.networks.record import Record as Network
from minidock.networks.record import Subnet
from minidock.spec.docker import ContainerConfig, HostConfig, PortBinding

ID = "c" * 64


def network(name: str, subnet: str = "10.1.0.0/24", *more: str, gateway: str = "10.1.0.1", **fields: Any) -> Network:
    """A network with an IPv4 subnet, and perhaps others."""
    subnets = [Subnet(subnet, gateway), *(Subnet(one, one.replace("/64", "1")) for one in more)]
    return Network(id=name[0] * 64, name=name, created="", subnets=subnets, **fields)


def container(*names: str, hostname: str = "h", **wanted: Wanted) -> Record:
    """A container that wants to be on some networks."""
    networks = {name: wanted.get(name, Wanted()) for name in names}
    config = ContainerConfig(hostname=hostname)
    return Record(id=ID, name="web", created="", config=config, host_config=HostConfig(), networks=networks)


def leased(record: Record, **networks: Network) -> Record:
    """Give a container its endpoints."""
    for number, name in enumerate(networking.ordered(record.networks), 2):
        if name in record.endpoints:
            continue
        one = networks[name]
        ipv4 = one.subnets[0].subnet.replace("0/24", str(number))
        ipv6 = one.subnets[1].subnet.replace("/64", str(number)) if len(one.subnets) > 1 else ""
        lease = Lease(one.id, ID, name[0] * 64, ipv4, 24, ipv6, 64 if ipv6 else 0, mac="02:42:0a:01:00:02")
        record.endpoints[name] = networking.endpoint(record, name, one, lease)
    networking.route(record, networks)
    return record


def test_one_endpoint() -> None:
    record = leased(container("bridge"), bridge=network("bridge"))
    assert record.endpoints == {
        "bridge": Endpoint(
            network="b" * 64,
            id="b" * 64,
            interface="eth0",
            host_interface="vethbbbbbbb",
            mac="02:42:0a:01:00:02",
            addresses=["10.1.0.2/24"],
            router4="10.1.0.1",
            gateways=["10.1.0.1"],
            serves_ports=True,
        )
    }


@pytest.mark.parametrize(
    ("mode", "internal", "expected"), [("l2", False, ""), ("l3", False, "0.0.0.0"), ("l3s", True, "")]
)
def test_a_routed_network_has_a_default_route_without_a_router(mode: str, internal: bool, expected: str) -> None:
    made = network("far", driver="ipvlan", gateway="", options={"ipvlan_mode": mode}, internal=internal)
    found = leased(container("far"), far=made).endpoints["far"]
    assert (found.router4, found.gateways) == ("", [expected] if expected else [])


def test_interfaces_are_in_the_order_of_names_and_the_default_network_is_first() -> None:
    nets = {name: network(name, f"10.{number}.0.0/24") for number, name in enumerate(("app", "bridge", "web"))}
    record = leased(container("web", "app", "bridge"), **nets)
    assert [(name, one.interface) for name, one in record.endpoints.items()] == [
        ("bridge", "eth0"),
        ("app", "eth1"),
        ("web", "eth2"),
    ]


@pytest.mark.parametrize(
    ("priorities", "internal", "expected"),
    [
        ({}, (), "app"),
        ({"web": 1}, (), "web"),
        ({"app": -1}, (), "web"),
        ({"app": 9}, ("app",), "web"),
        ({}, ("app", "web"), ""),
    ],
)
def test_the_default_route(priorities: dict[str, int], internal: tuple[str, ...], expected: str) -> None:
    nets = {name: network(name, internal=name in internal) for name in ("web", "app")}
    wanted = {name: Wanted(gw_priority=priority) for name, priority in priorities.items()}
    record = leased(container("web", "app", **wanted), **nets)
    assert [name for name, one in record.endpoints.items() if one.gateways] == [expected] * bool(expected)
    assert [name for name, one in record.endpoints.items() if one.serves_ports] == [expected] * bool(expected)


def test_the_default_route_of_each_version() -> None:
    nets = {"app": network("app"), "web": network("web", "10.2.0.0/24", "fd00::/64", gateway="10.2.0.1")}
    record = leased(container("app", "web"), **nets)
    assert {name: one.gateways for name, one in record.endpoints.items()} == {"app": ["10.1.0.1"], "web": ["fd00::1"]}
    assert record.endpoints["web"].addresses == ["10.2.0.3/24", "fd00::3/64"]
    assert record.endpoints["app"].serves_ports


def test_who_serves_ports_goes_on_when_another_network_comes() -> None:
    nets = {"web": network("web"), "app": network("app")}
    record = leased(container("web"), web=nets["web"])
    record.networks["app"] = Wanted()
    leased(record, **nets)
    assert record.endpoints["app"].gateways
    assert record.endpoints["web"].serves_ports


def test_names() -> None:
    record = container("app", hostname="h", app=Wanted(aliases=["db", "web"]))
    assert networking.names(record, "app") == ["web", "db", "c" * 12, "h"]
    record = leased(record, app=network("app"))
    record.name = "new"
    networking.rename(record)
    assert record.endpoints["app"].names == ["new", "db", "web", "c" * 12, "h"]
    assert leased(container("bridge"), bridge=network("bridge")).endpoints["bridge"].names == []


def test_link_local_addresses_and_an_interface_of_ones_own() -> None:
    options = {"com.docker.network.endpoint.ifname": "wan0"}
    record = container("app", app=Wanted(link_local=["169.254.1.2", "fe80::9"], driver_opts=options))
    one = leased(record, app=network("app")).endpoints["app"]
    assert one.addresses == ["10.1.0.2/24", "169.254.1.2/16", "fe80::9/64"]
    assert one.interface == "wan0"


def test_kernel_parameters_of_an_interface() -> None:
    def given(text: str) -> dict[str, str]:
        return networking.sysctls(Wanted(driver_opts={networking.SYSCTLS: text}))

    assert given("net.ipv4.conf.IFNAME.log_martians=1, net.ipv6.conf.IFNAME.accept_ra=2") == {
        "net.ipv4.conf.IFNAME.log_martians": "1",
        "net.ipv6.conf.IFNAME.accept_ra": "2",
    }
    assert networking.sysctls(Wanted()) == {}
    for text in (
        "net.ipv4.conf.IFNAME.x",
        "net.ipv4.conf.all.x=1",
        "kernel.domainname=x",
        "net.ipv4.conf.IFNAME.a/b=1",
        "net.ipv4.conf.IFNAME.forwarding.x=1",
    ):
        with pytest.raises(InvalidArgument, match="invalid sysctl"):
            given(text)


def test_ports() -> None:
    record = container("bridge")
    record.config.exposed_ports = {"90/tcp": {}, "80/tcp": {}, "nonsense": {}, "9/foo": {}, "70000/tcp": {}, "7": {}}
    record.host_config.publish_all_ports = True
    record.host_config.port_bindings = {
        "80/tcp": [PortBinding("", "8000-8010"), PortBinding("", "0"), PortBinding("", "8080")],
        "53/udp": [PortBinding("::1", "53")],
        "1/tcp": None,
    }
    assert networking.ports(record, "10.0.0.1") == [
        Port("tcp", 80, "10.0.0.1", 8080, 8080),
        Port("udp", 53, "::1", 53, 53),
        Port("tcp", 80, "10.0.0.1", 8000, 8010),
        Port("tcp", 80, "10.0.0.1", 0, 0),
        Port("tcp", 7, "10.0.0.1", 0, 0),
        Port("tcp", 90, "10.0.0.1", 0, 0),
    ]


def section(record: Record, **networks: Network) -> Any:
    facts = networking.Facts(
        networks, {name: {"table": "t", "id": one.id} for name, one in networks.items()}, "/r", None
    )
    return networking.section(record, facts, Config())


def test_the_section() -> None:
    nets = {"app": network("app"), "web": network("web", driver="ipvlan")}
    record = leased(container("app", "web"), **nets)
    record.host_config.port_bindings = {"80/tcp": [PortBinding("", "8080")]}
    found = section(record, **nets)
    assert (found.run_networks, found.table, found.dns) == ("/r", "t", None)
    assert found.ports == [Port("tcp", 80, "", 8080, 8080)]
    app, web = found.endpoints
    assert (app.host_interface, app.mac, app.serves_ports) == ("vethaaaaaaa", "02:42:0a:01:00:02", True)
    assert (web.host_interface, web.mac, web.serves_ports) == ("", None, False)
    assert section(container("none")) is None


def test_nothing_is_published_without_a_way_in() -> None:
    nets = {"app": network("app", internal=True)}
    record = leased(container("app"), **nets)
    record.host_config.port_bindings = {"80/tcp": [PortBinding("", "8080")]}
    assert section(record, **nets).ports == []


@pytest.mark.parametrize(
    ("option", "config", "expected"),
    [("", "", ""), ("0.0.0.0", "", ""), ("10.0.0.1", "10.0.0.2", "10.0.0.1"), ("", "10.0.0.2", "10.0.0.2")],
)
def test_where_ports_without_an_address_are_published(option: str, config: str, expected: str) -> None:
    options = {"com.docker.network.bridge.host_binding_ipv4": option} if option else {}
    assert networking.binding_address(network("app", options=options), Config(ip=config)) == expected


@pytest.mark.parametrize(
    ("dns", "config", "internal", "expected"),
    [
        ([], (), False, Dns(["192.0.2.1"], ["127.0.0.53", "::1"], forward=True)),
        (["127.0.0.1"], (), False, Dns(["127.0.0.1"], [], forward=True)),
        ([], ("192.0.2.9",), False, Dns(["192.0.2.9"], [], forward=True)),
        ([], (), True, Dns(["192.0.2.1"], ["127.0.0.53", "::1"], forward=False)),
    ],
)
def test_name_servers(dns: list[str], config: tuple[str, ...], internal: bool, expected: Dns) -> None:
    nets = {"app": network("app", internal=internal)}
    record = leased(container("app"), **nets)
    record.host_config.dns = dns
    servers = network_files.host_servers("nameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\nnameserver x\n")
    assert networking.resolver(record, nets, Config(dns=config), servers) == expected


def test_the_default_network_has_no_name_server_of_its_own() -> None:
    record = leased(container("bridge"), bridge=network("bridge"))
    assert networking.resolver(record, {"bridge": network("bridge")}, Config(), []) is None


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_resolv_conf_with_a_name_server_of_ones_own() -> None:
    record = leased(container("app"), app=network("app"))
    host = "nameserver 192.0.2.1\nsearch a.example\noptions timeout:1\n"
    text = network_files.resolv_conf(record, Config(), host)
    assert lines(text) == ["nameserver 127.0.0.11", "search a.example", "options timeout:1 ndots:0"]
    assert "# ExtServers: [192.0.2.1]" in text
    text = network_files.resolv_conf(record, Config(), "options ndots:2\n")
    assert lines(text) == ["nameserver 127.0.0.11", "options ndots:2"]


def test_resolv_conf_on_the_default_network() -> None:
    record = leased(container("bridge"), bridge=network("bridge"))
    assert lines(network_files.resolv_conf(record, Config(), "nameserver 127.0.0.53\nnameserver 192.0.2.1\n")) == [
        "nameserver 192.0.2.1"
    ]


def test_hosts() -> None:
    nets = {"app": network("app"), "web": network("web", "10.2.0.0/24", "fd00::/64", gateway="10.2.0.1")}
    record = leased(container("app", "web"), **nets)
    assert bundle.host_lines(record) == [("10.1.0.2", "h"), ("10.2.0.3", "h"), ("fd00::3", "h")]
    record.config.domainname = "example"
    assert bundle.host_lines(record)[0] == ("10.1.0.2", "h.example h")
    record.host_config.extra_hosts = ["a:192.0.2.1", "gw:host-gateway", "b:::1"]
    assert network_files.needs_gateway(record)
    more = network_files.extra_hosts(record, ["10.1.0.1", "fd00::1"])
    assert more == [("192.0.2.1", "a"), ("10.1.0.1", "gw"), ("fd00::1", "gw"), ("::1", "b")]
    assert network_files.hosts(record, "", more).endswith("192.0.2.1\ta\n10.1.0.1\tgw\nfd00::1\tgw\n::1\tb\n")


def test_interfaces_that_are_free() -> None:
    assert networking.next_interface(["eth0", "eth2"], network("app")) == "eth1"
    options = {"com.docker.network.container_iface_prefix": "net"}
    assert networking.next_interface(["eth0"], network("app", options=options)) == "net0"
