"""Networks and ports as users name them; the words are Docker's, capitals aside."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.containers.endpoints import Wanted
from minidock.containers.parse import networks, ports
from minidock.errors import InvalidArgument
from minidock.spec.docker import PortBinding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [("80/tcp", "", "")]),
        ("80/udp", [("80/udp", "", "")]),
        ("80/TCP", [("80/tcp", "", "")]),
        ("80/", [("80/tcp", "", "")]),
        ("80/sctp", [("80/sctp", "", "")]),
        ("8080:80", [("80/tcp", "", "8080")]),
        ("0:80", [("80/tcp", "", "0")]),
        (":80", [("80/tcp", "", "")]),
        ("127.0.0.1:8080:80/udp", [("80/udp", "127.0.0.1", "8080")]),
        ("127.0.0.1::80", [("80/tcp", "127.0.0.1", "")]),
        ("[::1]:8080:80", [("80/tcp", "::1", "8080")]),
        ("[]:8080:80", [("80/tcp", "", "8080")]),
        ("8000-8001:80-81", [("80/tcp", "", "8000"), ("81/tcp", "", "8001")]),
        ("80-81", [("80/tcp", "", ""), ("81/tcp", "", "")]),
        ("8000-8010:80", [("80/tcp", "", "8000-8010")]),
        ("8000-8000:80", [("80/tcp", "", "8000")]),
        ("mode=host,target=80", [("80/tcp", "", "")]),
        ("published=8080,target=80", [("80/tcp", "", "8080")]),
        ("mode=ingress,target=80,published=8080,protocol=udp", [("80/udp", "", "8080")]),
        ("target=80-81,published=8080-8081", [("80/tcp", "", "8080"), ("81/tcp", "", "8081")]),
    ],
)
def test_publish(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert ports.publish(text) == [(name, PortBinding(ip, port)) for name, ip, port in expected]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no port specified: <empty>"),
        ("80:", "no port specified: 80:<empty>"),
        ("8000-8001:80-82", "invalid ranges specified for container and host Ports: 80-82 and 8000-8001"),
        ("8002-8000:80-82", "invalid hostPort: 8002-8000"),
        ("65536:80", "invalid hostPort: 65536"),
        ("-1:80", "invalid hostPort: -1"),
        ("a:80", "invalid hostPort: a"),
        ("80:65536", "invalid containerPort: 65536"),
        ("80:0", "invalid containerPort: 0"),
        ("80:b", "invalid containerPort: b"),
        ("80:٣", "invalid containerPort: ٣"),
        ("80:" + "9" * 5000, "invalid containerPort: 9999"),
        ("80/xyz", "invalid proto: xyz"),
        ("::1:8080:80", "invalid ip address ::1: address ::1:: too many colons in address"),
        ("1:2:3:4", "invalid ip address 1:2: address 1:2:: too many colons in address"),
        ("[::1:8080:80", "invalid ip address [::1: address [::1:: missing ']' in address"),
        ("1.2.3:80:80", "invalid ip address: 1.2.3"),
        ("host:80:80", "invalid ip address: host"),
        ("[1]:80:80", "invalid ip address: 1"),
        ("target=80,foo=1", "invalid field key: foo"),
        ("target=80,foo", "invalid field: foo"),
        ("published=80", "missing mandatory field 'target'"),
        ("target=80,mode=x", "invalid publish mode value (x)"),
        ("target=80,protocol=x", "invalid protocol value (x)"),
        ("target=x", "invalid containerPort: x"),
    ],
)
def test_publish_refuses(text: str, error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ports.publish(text)
    assert str(caught.value).startswith(error)


def test_what_is_published_twice() -> None:
    with pytest.raises(InvalidArgument, match=r"port 0\.0\.0\.0:8080 is published twice for 80/tcp"):
        ports.published(["8080:80", "8080:80"])
    assert ports.published(["80", "80", "8000-8001:80", "8000-8001:80"]) == {
        "80/tcp": [PortBinding(), PortBinding(), *[PortBinding("", "8000-8001")] * 2]
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({80: 8080}, {"80/tcp": [("127.0.0.1", "8080")]}),
        ({"80/udp": None}, {"80/udp": [("127.0.0.1", "")]}),
        ({(80, "udp"): "8080"}, {"80/udp": [("127.0.0.1", "8080")]}),
        ({"80": ("0.0.0.0", 8080)}, {"80/tcp": [("0.0.0.0", "8080")]}),
        ({"80": ("::",)}, {"80/tcp": [("::", "")]}),
        ({"80": [1, ("10.0.0.1", 2)]}, {"80/tcp": [("127.0.0.1", "1"), ("10.0.0.1", "2")]}),
        ({"80": {"HostPort": "7"}}, {"80/tcp": [("127.0.0.1", "7")]}),
        ({"80": "8000-8010"}, {"80/tcp": [("127.0.0.1", "8000-8010")]}),
        ({}, {}),
    ],
)
def test_docker_pys_ports(value: Any, expected: dict[str, list[tuple[str, str]]]) -> None:
    found = {name: [PortBinding(*one) for one in bindings] for name, bindings in expected.items()}
    assert ports.mapping(value) == found


@pytest.mark.parametrize(
    "value", [{"80-81": 1}, {"x": 1}, {80: 70000}, {80: ("x", 1)}, {80: ("0.0.0.0", 1, 2)}, {80: "x"}]
)
def test_docker_pys_ports_refuse(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        ports.mapping(value)


@pytest.mark.parametrize("value", [{80: 1.5}, {80: True}])
def test_docker_pys_ports_of_another_type(value: Any) -> None:
    with pytest.raises(TypeError):
        ports.mapping(value)


@pytest.mark.parametrize(
    ("text", "expected"), [("80", ["80/tcp"]), ("80-82/udp", ["80/udp", "81/udp", "82/udp"]), ("9/SCTP", ["9/sctp"])]
)
def test_expose(text: str, expected: list[str]) -> None:
    assert ports.expose(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("80:90", "invalid port format for --expose: 80:90"),
        ("", "invalid range format for --expose: , error: empty string specified for ports."),
        ("x", 'invalid range format for --expose: x, error: strconv.ParseUint: parsing "x": invalid syntax'),
        ("82-80", "invalid range format for --expose: 82-80, error: invalid range specified for the Port: 82-80"),
        ("70000", 'invalid range format for --expose: 70000, error: strconv.ParseUint: parsing "70000": value out of'),
        ("0", "invalid range format for --expose: 0"),
        ("80/foo", "invalid proto: foo"),
    ],
)
def test_expose_refuses(text: str, error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ports.expose(text)
    assert str(caught.value).startswith(error)


LONG = (
    "alias=x,alias=y,ip=10.0.0.9,ip6=fd00::9,mac-address=02:42:0A:d5:00:09,link-local-ip=169.254.1.2,gw-priority=-5,"
    "driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
)
WANTED = Wanted(
    ipv4="10.0.0.9",
    ipv6="fd00::9",
    link_local=["169.254.1.2"],
    aliases=["x", "y"],
    mac="02:42:0a:d5:00:09",
    driver_opts={"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"},
    gw_priority=-5,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ("web", Wanted())),
        ("container:web", ("container:web", Wanted())),
        ("name=web", ("web", Wanted())),
        (f"name=web,{LONG}", ("web", WANTED)),
        (f"web:{LONG}", ("web", WANTED)),
        ("Name=web, Alias=Db", ("web", Wanted(aliases=["Db"]))),
    ],
)
def test_network(text: str, expected: tuple[str, Wanted]) -> None:
    assert networks.network(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no name set for network"),
        ("container:", "invalid network mode: invalid container format container:<name|id>"),
        ("name=web,foo=bar", "invalid field key foo"),
        ("name=web,alias", "invalid field alias"),
        ("name=web,=x", "invalid field =x"),
        ("alias=x", "network name/id is not specified"),
        ("name=web,gw-priority=z", "invalid gw-priority (z): invalid syntax"),
        ("name=web,mac-address=zz", "zz is not a valid mac address"),
        ("name=web,driver-opt=zz", "invalid key value pair format in driver options"),
        ("name=web,alias=a b", "invalid network alias 'a b'"),
        ("name=web,alias=", "invalid network alias ''"),
        ("a\nb", "invalid network: 'a\\nb'"),
        ("n" * 300, "invalid network: 'nnn"),
    ],
)
def test_network_refuses(text: str, error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        networks.network(text)
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize("text", ["02:42:ac:11:00:99", "02-42-AC-11-00-99", "0242.ac11.0099"])
def test_mac_address(text: str) -> None:
    assert networks.mac_address(text) == "02:42:ac:11:00:99"


@pytest.mark.parametrize(
    "text",
    ["xx", "02:42:ac:11:00:99:aa:bb", "0242ac110099", "03:42:ac:11:00:99", "00:00:00:00:00:00", "02:42:ac:11:0:9"],
)
def test_mac_address_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a valid mac address"):
        networks.mac_address(text)


@pytest.mark.parametrize(("text", "expected"), [("db", "db:db"), ("db:x", "db:x"), ("/db:x", "db:x"), ("db:", "db:db")])
def test_link(text: str, expected: str) -> None:
    assert networks.link(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("foo:bar:baz", "bad format for links: foo:bar:baz"),
        (":bar", 'could not get container for : invalid name or ID supplied: ""'),
        ("", "empty string specified for links"),
        ("a:b c", "invalid network alias"),
    ],
)
def test_link_refuses(text: str, error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        networks.link(text)
    assert str(caught.value).startswith(error)


def test_dockers_endpoint_settings() -> None:
    settings = {
        "IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9", "LinkLocalIPs": ["169.254.1.2"]},
        "Aliases": ["x", "y"],
        "Links": ["db:x"],
        "MacAddress": "02:42:0A:D5:00:09",
        "DriverOpts": WANTED.driver_opts,
        "GwPriority": -5,
        "NetworkID": "ignored",
    }
    found = networks.endpoint(settings)
    assert found.links == ["db:x"]
    found.links = None
    assert found == WANTED
    assert networks.endpoint(None) == Wanted()
