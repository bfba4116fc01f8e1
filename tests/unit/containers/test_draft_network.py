"""Options of networks and ports → networks, HostConfig, Config; what excludes what, in Docker's words."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.config import Config
from minidock.containers.endpoints import Wanted
from minidock.errors import InvalidArgument
from minidock.spec.docker import PortBinding
from minidock.spec.oci_image import ExecutionConfig
from tests.unit.containers.test_draft import made

MAC = "02:42:ac:11:00:99"


@pytest.mark.parametrize(
    ("options", "mode", "networks"),
    [
        ({}, "bridge", {"bridge": Wanted()}),
        ({"network": ""}, "bridge", {"bridge": Wanted()}),
        ({"network": []}, "bridge", {"bridge": Wanted()}),
        ({"network": "default"}, "bridge", {"bridge": Wanted()}),
        ({"network": "none"}, "none", {"none": Wanted()}),
        ({"network_mode": "host"}, "host", {"host": Wanted()}),
        ({"network": "container:x"}, "container:x", {}),
        ({"network_mode": "container:x"}, "container:x", {}),
        ({"network": ["b", "a"]}, "b", {"b": Wanted(), "a": Wanted()}),
        ({"network": "name=a,alias=x"}, "a", {"a": Wanted(aliases=["x"])}),
        ({"network": ["a", "b"], "network_aliases": ["x"]}, "a", {"a": Wanted(aliases=["x"]), "b": Wanted()}),
        ({"network": ["a", "b"], "ip": "10.0.0.9"}, "a", {"a": Wanted(ipv4="10.0.0.9"), "b": Wanted()}),
        ({"network": "a", "ip6": "fd00::9"}, "a", {"a": Wanted(ipv6="fd00::9")}),
        ({"network": "a", "links": ["db:x"]}, "a", {"a": Wanted(links=["db:x"])}),
        ({"network": "a", "links": {"db": "x"}}, "a", {"a": Wanted(links=["db:x"])}),
        ({"network": "a", "links": [("db", "x"), ("y", None)]}, "a", {"a": Wanted(links=["db:x", "y:y"])}),
        ({"link_local_ips": ["169.254.1.1"]}, "bridge", {"bridge": Wanted(link_local=["169.254.1.1"])}),
        ({"networking_config": {"a": {"Aliases": ["x"]}}}, "a", {"a": Wanted(aliases=["x"])}),
        ({"networking_config": {"EndpointsConfig": {"a": None}}}, "a", {"a": Wanted()}),
        ({"network": "a", "networking_config": {"a": {"GwPriority": 3}, "b": {}}}, "a",
         {"a": Wanted(gw_priority=3), "b": Wanted()}),
    ],
)  # fmt: skip
def test_networks(options: dict[str, Any], mode: str, networks: dict[str, Wanted]) -> None:
    draft = made(**options)
    assert (draft.host_config.network_mode, draft.networks) == (mode, networks)


def test_without_a_default_network() -> None:
    config = Config(bridge="none")
    assert made(config=config).host_config.network_mode == "none"
    assert made(config=config, network="default").networks == {"none": Wanted()}
    assert made(config=config, network="bridge").host_config.network_mode == "bridge"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mac_address": MAC}, MAC),
        ({"network": f"name=a,mac-address={MAC}"}, MAC),
        ({"network": ["a", f"name=b,mac-address={MAC}"]}, None),
        ({"mac_address": ""}, None),
    ],
)
def test_mac_address(options: dict[str, Any], expected: str | None) -> None:
    found = made(**options).config.mac_address
    assert (found if isinstance(found, str) else None) == expected


def test_ports() -> None:
    image = ExecutionConfig(exposed_ports={"99/tcp": {}, "80/tcp": {}})
    draft = made(image=image, publish=["8080:80", "[::1]::53/udp"], ports={80: 81}, expose=[7, "1-2/udp"])
    assert draft.host_config.port_bindings == {
        "80/tcp": [PortBinding("", "8080"), PortBinding("127.0.0.1", "81")],
        "53/udp": [PortBinding("::1", "")],
    }
    exposed = draft.config.exposed_ports
    assert isinstance(exposed, dict)
    assert set(exposed) == {"99/tcp", "80/tcp", "53/udp", "7/tcp", "1/udp", "2/udp"}
    assert list(exposed) == sorted(exposed)
    assert made(publish_all_ports=True).host_config.publish_all_ports


def test_links_on_the_default_network_are_the_containers() -> None:
    draft = made(links=["db:x"])
    assert draft.host_config.links == ["db:x"]
    assert draft.networks == {"bridge": Wanted()}


def test_what_is_discarded_is_warned_of() -> None:
    for options in ({"publish": ["80"]}, {"publish_all_ports": True}):
        warnings = made(network="host", **options).warnings
        assert "published ports are discarded when using host network mode" in warnings


JOINED = "This would result in undefined behavior"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"network": "container:"}, "invalid network mode: invalid container format container:<name|id>"),
        ({"network": [""]}, "no name set for network"),
        ({"network": ["a", "a"]}, 'network "a" is specified multiple times'),
        ({"network": ["bridge", "default"]}, 'network "bridge" is specified multiple times'),
        ({"network": ["bridge", "a"]}, "conflicting options: cannot attach both user-defined and non-user-defined"),
        ({"network": ["a", "host"]}, "conflicting options: cannot attach both user-defined and non-user-defined"),
        ({"network": ["none", "bridge"]}, "with one of the networks in private (none) mode"),
        ({"network": ["host", "bridge"]}, "container sharing network namespace with another container or host"),
        ({"network": ["container:a", "bridge"]}, "container sharing network namespace with another container or host"),
        ({"network": "a", "network_mode": "b"}, "network and network_mode exclude each other"),
        ({"network_aliases": ["x"]}, "network-scoped aliases are only supported for user-defined networks"),
        ({"network": "name=bridge,alias=x"}, "network-scoped aliases are only supported for user-defined networks"),
        ({"network": "host", "network_aliases": ["x"]}, "network-scoped aliases are only supported"),
        ({"network": "none", "network_aliases": ["x"]}, "network-scoped aliases are only supported"),
        ({"network": "container:x", "network_aliases": ["x"]}, "network-scoped aliases are only supported"),
        ({"network": "name=a,ip=1.1.1.1", "ip": "1.1.1.2"}, "cannot specify both --ip and per-network IPv4 address"),
        ({"network": "name=a,ip6=::2", "ip6": "::3"}, "cannot specify both --ip6 and per-network IPv6 address"),
        ({"network": "name=a,alias=z", "network_aliases": ["q"]},
         "cannot specify both --network-alias and per-network alias"),
        ({"network": f"name=a,mac-address={MAC}", "mac_address": MAC},
         "cannot specify both --mac-address and per-network MAC address"),
        ({"network": "name=a,link-local-ip=169.254.1.1", "link_local_ips": ["169.254.1.1"]},
         "cannot specify both --link-local-ip and per-network link-local IP addresses"),
        ({"mac_address": "xx"}, "xx is not a valid mac address"),
        ({"network": "host", "links": ["a"]}, f"host type networking can't be used with links. {JOINED}"),
        ({"network": "container:x", "links": ["a"]}, f"container type network can't be used with links. {JOINED}"),
        ({"network": "container:x", "hostname": "h"}, "conflicting options: hostname and the network mode"),
        ({"network": "container:x", "domainname": "h"}, "conflicting options: hostname and the network mode"),
        ({"network": "container:x", "dns": ["1.1.1.1"]}, "conflicting options: dns and the network mode"),
        ({"network": "container:x", "dns_search": ["a"]}, "conflicting options: dns and the network mode"),
        ({"network": "container:x", "extra_hosts": ["a:1.1.1.1"]},
         "conflicting options: custom host-to-IP mapping and the network mode"),
        ({"network": "container:x", "mac_address": MAC}, "conflicting options: mac-address and the network mode"),
        ({"network": "container:x", "publish": ["80"]},
         "conflicting options: port publishing and the container type network mode"),
        ({"network": "container:x", "publish_all_ports": True},
         "conflicting options: port publishing and the container type network mode"),
        ({"network": "container:x", "expose": [80]},
         "conflicting options: port exposing and the container type network mode"),
        ({"network": "container:x", "ip": "1.1.1.1"},
         "invalid config for network container:x: invalid endpoint settings: user specified IP address is"),
    ],
)  # fmt: skip
def test_what_excludes_what(options: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        made(**options)
    assert error in str(caught.value)


def test_what_an_image_exposes_does_not_exclude_anothers_network() -> None:
    draft = made(image=ExecutionConfig(exposed_ports={"80/tcp": {}}), network="container:x")
    assert draft.config.exposed_ports == {"80/tcp": {}}


@pytest.mark.parametrize(
    "options",
    [
        {"network": 5}, {"network_mode": ["a"]}, {"networking_config": 5}, {"network_aliases": "a"}, {"links": "a"},
        {"links": 5}, {"ports": "80"}, {"ports": [80]}, {"expose": "80"}, {"expose": {80: 1}}, {"expose": [True]},
        {"publish": 80}, {"publish_all_ports": 1}, {"ip": 5}, {"mac_address": 5}, {"link_local_ips": "169.254.1.1"},
        {"networking_config": {"a": 5}}, {"networking_config": {"a": {"Aliases": "x"}}},
    ],
)  # fmt: skip
def test_values_of_the_wrong_type(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=f"^{next(iter(options))}: "):
        made(**options)
