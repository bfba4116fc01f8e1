"""From what a user wants of a network to its record, in Docker's words where it makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.config import Config
from minidock.errors import MinidockError
from minidock.networks import default, live, naming, options, planning, pools, wanted
from minidock.networks.addresses import span
from minidock.networks.planning import Request
from minidock.networks.record import Record, decode, encode, inspect
from minidock.spec.docker_network import IPAMConfig
from minidock.store.paths import Paths

B = "com.docker.network.bridge."
MTU = "com.docker.network.driver.mtu"
PATHS = Paths("/data", "/run/minidock")


def _made(config: Config | None = None, **said: Any) -> Record:
    """The record of a network that is made on a host without routes."""
    config = config or Config()
    planned = planning.plan(Request(**{"name": "web", **said}), config, lambda _: None)
    planning.complete(planned, pools.Taken((), ()), config, lambda: "0123456789")
    return planned.record


def _shown(record: Record) -> list[dict[str, Any]]:
    import msgspec

    found: list[dict[str, Any]] = msgspec.to_builtins(inspect(record).ipam.config)
    return found


def _subnets(*subnets: str, **more: Any) -> list[IPAMConfig]:
    return [IPAMConfig(subnet=subnet, **more) for subnet in subnets]


def test_a_plain_network() -> None:
    record = _made()
    assert _shown(record) == [{"Subnet": "172.18.0.0/24", "Gateway": "172.18.0.1"}]
    assert record.bridge == f"mdn-{record.id[:11]}"
    assert decode(encode(record)) == record


def test_what_the_user_did_not_say_is_not_shown() -> None:
    record = _made(subnets=_subnets("10.9.0.0/24", ip_range="10.9.0.128/25"))
    assert _shown(record) == [{"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25"}]
    assert record.subnets[0].gateway == "10.9.0.128"


def test_both_versions() -> None:
    assert [one["Subnet"] for one in _shown(_made(enable_ipv6=True))] == ["172.18.0.0/24", "fd01:2345:6789::/64"]
    one = _made(enable_ipv6=True, subnets=_subnets("fd01::/64"))
    assert _shown(one) == [{"Subnet": "fd01::/64"}, {"Subnet": "172.18.0.0/24", "Gateway": "172.18.0.1"}]
    assert [subnet.subnet for subnet in one.subnets] == ["172.18.0.0/24", "fd01::/64"]
    only = _made(enable_ipv4=False, enable_ipv6=True)
    assert [subnet.subnet for subnet in only.subnets] == ["fd01:2345:6789::/64"]
    unused = _made(subnets=_subnets("10.9.0.0/24", "fd01::/64"))
    assert len(_shown(unused)) == 2
    assert [subnet.subnet for subnet in unused.subnets] == ["10.9.0.0/24"]


def test_smallest_subnets() -> None:
    assert _made(subnets=_subnets("10.9.0.0/31")).subnets[0].gateway == "10.9.0.0"
    assert _made(subnets=_subnets("10.9.0.0/32")).subnets[0].gateway == "10.9.0.0"
    two = _made(enable_ipv4=False, enable_ipv6=True, subnets=_subnets("fd01::/127"))
    assert two.subnets[0].gateway == "fd01::1"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"name": ""}, "invalid name: name is empty"),
        ({"name": "a\nb"}, "invalid name"),
        ({"name": "bridge"}, "operation is not permitted on predefined bridge network"),
        ({"name": "default"}, "operation is not permitted on predefined default network"),
        ({"driver": "foo"}, 'plugin "foo" not found'),
        ({"driver": "host"}, 'only one instance of "host" network is allowed'),
        ({"driver": "overlay"}, "there is no swarm"),
        ({"scope": "swarm"}, "cannot create a swarm scoped network when swarm is not active"),
        ({"scope": "foo"}, "invalid scope"),
        ({"ingress": True}, "Ingress network can only be global scope network"),
        ({"enable_ipv4": False}, "IPv4 or IPv6 must be enabled"),
        ({"ipam_driver": "foo"}, 'plugin "foo" not found'),
        ({"subnets": _subnets("10.9.0.0")}, "invalid subnet 10.9.0.0: invalid CIDR block notation"),
        ({"subnets": _subnets("10.9.0.5/24")}, "invalid subnet 10.9.0.5/24: it should be 10.9.0.0/24"),
        (
            {"subnets": _subnets("10.9.0.0/24", ip_range="10.9.0.130/25")},
            "invalid ip-range 10.9.0.130/25: it should be",
        ),
        ({"subnets": _subnets("10.9.0.0/24", ip_range="10.9.0.0/16")}, "CIDR block is bigger than its parent subnet"),
        ({"subnets": _subnets("10.9.0.0/24", ip_range="10.8.0.0/25")}, "doesn't contain ip-range"),
        ({"subnets": _subnets("10.9.0.0/24", ip_range="fd00::/65")}, "parent subnet is an IPv4 block"),
        ({"subnets": _subnets("10.9.0.0/24", gateway="10.8.0.1")}, "invalid gateway 10.8.0.1: parent subnet"),
        ({"subnets": _subnets("10.9.0.0/24", gateway="foo")}, "invalid gateway foo: invalid address"),
        ({"subnets": _subnets("10.9.0.0/24", gateway="10.9.0.0")}, "failed to allocate gateway (10.9.0.0): Address"),
        ({"subnets": _subnets("10.9.0.0/24", gateway="10.9.0.255")}, "failed to allocate gateway (10.9.0.255)"),
        (
            {"subnets": _subnets("10.9.0.0/24", auxiliary_addresses={"a": "10.9.0.1"})},
            "failed to allocate secondary ip address (a:10.9.0.1): Address already in use",
        ),
        ({"subnets": _subnets("10.9.0.0/24", "10.10.0.0/24")}, "bridge driver doesn't support multiple subnets"),
        ({"subnets": _subnets("fd01::/128"), "enable_ipv6": True}, "no available addresses on this pool"),
        ({"config_only": True, "internal": True}, "configuration network can only contain network specific fields"),
        ({"config_only": True, "config_from": "x"}, "a configuration network cannot depend on another configuration"),
        ({"config_from": "x"}, 'configuration network "x" does not exist'),
        (
            {"config_from": "x", "options": {"a": "b"}},
            "network driver options are not supported if the network depends",
        ),
        ({"config_from": "x", "labels": {"a": "b"}}, "user specified configurations are not supported if the network"),
        ({"options": {options.IPV6: "foo"}}, "is not a valid bool"),
        ({"options": {B + "enable_icc": "foo"}}, 'value: foo (strconv.ParseBool: parsing "foo": invalid syntax)'),
        ({"options": {B + "host_binding_ipv4": "foo"}}, "host_binding_ipv4 value: foo (nil ip)"),
        ({"options": {B + "gateway_mode_ipv4": "foo"}}, "value: foo (unknown gateway mode foo)"),
        ({"options": {B + "gateway_mode_ipv4": "isolated"}}, "'isolated' can only be used for an internal network"),
        ({"options": {B + "name": "averyveryverylongname"}}, "longer than 15 characters"),
        ({"options": {B + "name": "a/b"}}, "not a name that an interface can have"),
        ({"options": {B + "name": ".."}}, "not a name that an interface can have"),
        ({"options": {B + "trusted_host_interfaces": "eth0"}}, "is not part of minidock"),
        ({"options": {"com.docker.network.host_ipv4": "192.0.2.2"}}, "is not part of minidock"),
        ({"options": {MTU: "foo"}}, 'value: foo (strconv.Atoi: parsing "foo": invalid syntax)'),
        ({"options": {MTU: "-1"}}, "invalid MTU number: -1"),
        ({"options": {MTU: "67"}}, "invalid MTU number: 67"),
        ({"options": {MTU: "65536"}}, "invalid MTU number: 65536"),
        ({"options": {MTU: "1279"}, "enable_ipv6": True}, "IPv6 needs 1280"),
        ({"options": {"com.docker.network.container_iface_prefix": "x" * 12}}, "longer than 15 characters"),
        ({"driver": "macvlan", "options": {"parent": "lo"}}, "loopback interface is not a valid macvlan parent link"),
        ({"driver": "macvlan", "options": {"macvlan_mode": "foo"}}, "requested macvlan mode 'foo' is not valid"),
        ({"driver": "ipvlan", "options": {"ipvlan_mode": "foo"}}, "requested ipvlan mode 'foo' is not valid"),
        ({"driver": "ipvlan", "options": {"ipvlan_flag": "foo"}}, "requested ipvlan flag 'foo' is not valid"),
        ({"driver": "ipvlan", "options": {"ipvlan_flag": "vepa"}}, "is not part of minidock"),
    ],
)
def test_what_makes_no_sense(said: dict[str, Any], words: str) -> None:
    with pytest.raises(MinidockError) as caught:
        _made(**said)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_that_nobody_knows_are_kept() -> None:
    assert _made(options={"foo": "bar", "mtu": "x"}).options == {"foo": "bar", "mtu": "x"}


def test_default_options_of_the_configuration() -> None:
    config = Config(default_network_opts={"bridge": {MTU: "1400", "a": "1"}})
    assert _made(config, options={"a": "2"}).options == {MTU: "1400", "a": "2"}
    assert _made(config, driver="macvlan", options={"parent": "eth0"}).options == {"parent": "eth0"}


def test_a_configuration_that_others_take() -> None:
    config = Config()
    request = Request(
        name="conf", config_only=True, subnets=_subnets("10.9.0.0/24"), options={MTU: "1400"}, labels={"x": "y"}
    )
    source = planning.plan(request, config, lambda _: None).record
    assert (source.driver, source.config_only, source.subnets) == ("null", True, [])
    planned = planning.plan(Request(name="web", config_from="conf", internal=True), config, lambda _: source)
    planning.complete(planned, pools.Taken((), ()), config, lambda: "")
    record = planned.record
    assert (record.config_from, record.options, record.labels) == ("conf", {MTU: "1400"}, {"x": "y"})
    assert (record.driver, record.internal, record.subnets[0].gateway) == ("bridge", True, "10.9.0.1")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, {"addresses": ["172.18.0.1/24"], "icc": True, "masquerade": True, "routed": False, "internal": False}),
        ({"internal": True}, {"addresses": ["172.18.0.1/24"], "internal": True}),
        ({"options": {B + "enable_icc": "0", MTU: "1400"}}, {"icc": False, "mtu": 1400}),
        ({"options": {B + "enable_ip_masquerade": "false"}}, {"masquerade": False, "masquerade6": False}),
        ({"options": {B + "inhibit_ipv4": "true"}}, {"addresses": []}),
        ({"options": {B + "gateway_mode_ipv4": "routed"}}, {"masquerade": False, "masquerade6": True, "routed": True}),
        ({"options": {B + "gateway_mode_ipv4": "nat-unprotected"}}, {"masquerade": True, "routed": True}),
        (
            {"options": {B + "gateway_mode_ipv6": "routed"}, "enable_ipv6": True},
            {"masquerade6": False, "routed": False, "routed6": True},
        ),
        ({"options": {B + "gateway_mode_ipv4": "isolated"}, "internal": True}, {"addresses": []}),
        ({"options": {B + "name": "br7"}}, {"bridge": "br7", "parent": ""}),
        (
            {"driver": "macvlan", "options": {"parent": "eth0", "macvlan_mode": "private"}},
            {"driver": "macvlan", "parent": "eth0", "mode": "private", "addresses": [], "bridge": ""},
        ),
        ({"driver": "ipvlan", "options": {"parent": "eth0.7"}}, {"driver": "ipvlan", "parent": "eth0.7", "mode": "l2"}),
    ],
)
def test_live_files(said: dict[str, Any], expected: dict[str, Any]) -> None:
    document = live.document(_made(**said), PATHS, "boot")
    assert {name: document[name] for name in expected} == expected


def test_a_macvlan_without_a_parent_leads_nowhere() -> None:
    record = _made(driver="macvlan")
    assert record.internal
    assert record.subnets[0].gateway == ""
    assert live.document(record, PATHS, "")["parent"] == f"dm-{record.id[:12]}"


def test_several_subnets_of_a_macvlan() -> None:
    record = _made(driver="macvlan", options={"parent": "eth0"}, subnets=_subnets("10.9.0.0/24", "10.10.0.0/24"))
    assert [one.gateway for one in record.subnets] == ["10.9.0.1", "10.10.0.1"]
    nothing = _made(driver="ipvlan", options={"parent": "eth0", "ipvlan_mode": "l3"}, subnets=_subnets("10.9.0.0/24"))
    assert nothing.subnets[0].gateway == ""


def test_flags_find_their_subnets() -> None:
    found = wanted.from_flags(
        ["10.9.0.0/24", "fd01::/64"], ["fd01::7"], ["10.9.0.128/25"], {"a": "10.9.0.9", "b": "fd01::9"}
    )
    assert found == [
        IPAMConfig("10.9.0.0/24", "10.9.0.128/25", "", {"a": "10.9.0.9"}),
        IPAMConfig("fd01::/64", "", "fd01::7", {"b": "fd01::9"}),
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (([], ["10.9.0.1"], [], {}), "every ip-range or gateway must have a corresponding subnet"),
        (([], [], ["10.9.0.0/25"], {}), "every ip-range or gateway must have a corresponding subnet"),
        ((["10.9.0.0/24"], ["10.8.0.1"], [], {}), "no matching subnet for gateway 10.8.0.1"),
        ((["10.9.0.0/24"], [], ["10.8.0.0/25"], {}), "no matching subnet for range 10.8.0.0/25"),
        (([], [], [], {"a": "10.9.0.1"}), "no matching subnet for aux-address 10.9.0.1"),
        ((["10.9.0.0/24", "10.9.0.0/25"], [], [], {}), "multiple overlapping subnet configuration is not supported"),
        (
            (["10.9.0.0/24", "10.8.0.0/24"], ["10.9.0.1", "10.9.0.2"], [], {}),
            "cannot configure multiple gateways (10.9.0.2, 10.9.0.1) for the same subnet (10.9.0.0/24)",
        ),
    ],
)
def test_flags_that_make_no_sense(flags: tuple[list[str], list[str], list[str], dict[str, str]], words: str) -> None:
    with pytest.raises(MinidockError) as caught:
        wanted.from_flags(*flags)
    assert str(caught.value) == words


def _default(config: Config, *routes: str) -> Record:
    taken = pools.Taken((), [span(route) for route in routes])
    return default.make(config, "/run/minidock", taken, lambda: "0123456789")


def test_the_default_network() -> None:
    record = _default(Config())
    assert record.bridge == "minidock0"
    assert _shown(record) == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    assert record.options == {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": "minidock0",
        "com.docker.network.driver.mtu": "1500",
    }
    assert _default(Config(), "172.17.0.0/16").subnets[0].subnet == "172.18.0.0/16"


def test_the_default_network_as_configured() -> None:
    config = Config(
        bip="10.9.0.5/24", fixed_cidr="10.9.0.128/25", default_gateway="10.9.0.1", mtu=1400, icc=False, ip_masq=False,
        ipv6=True, fixed_cidr_v6="fd01::/64", bridge="br7", ip="127.0.0.1",
    )  # fmt: skip
    record = _default(config)
    assert _shown(record) == [
        {
            "Subnet": "10.9.0.0/24",
            "IPRange": "10.9.0.128/25",
            "Gateway": "10.9.0.5",
            "AuxiliaryAddresses": {"DefaultGatewayIPv4": "10.9.0.1"},
        },
        {"Subnet": "fd01::/64", "Gateway": "fd01::1"},
    ]
    document = live.document(record, PATHS, "")
    assert document["addresses"] == ["10.9.0.5/24", "fd01::1/64"]
    assert (document["bridge"], document["mtu"], document["icc"], document["masquerade"]) == ("br7", 1400, False, False)
    assert record.subnets[0].gateway == "10.9.0.1"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"bip": "foo"}, "bip 'foo': not ADDRESS/LENGTH"),
        ({"bip": "fd00::1/64"}, "bip fd00::1/64: not IPv4"),
        ({"bip": "10.9.0.0/24"}, "bip 10.9.0.0: no interface on 10.9.0.0/24 can have it"),
        ({"bip": "10.9.0.1/24", "fixed_cidr": "10.8.0.0/25"}, "not a part of the bridge's subnet 10.9.0.0/24"),
        ({"bip": "10.9.0.1/24", "default_gateway": "10.8.0.1"}, "default-gateway 10.8.0.1"),
        ({"mtu": 7}, "invalid MTU number: 7"),
    ],
)
def test_configurations_that_make_no_sense(said: dict[str, Any], words: str) -> None:
    with pytest.raises(MinidockError) as caught:
        _default(Config(**said))
    assert words in str(caught.value)


def test_every_setting_changes_the_fingerprint() -> None:
    plain = naming.fingerprint(Config(), "/run/minidock")
    for said in ({"bip": "10.9.0.1/24"}, {"mtu": 1400}, {"icc": False}, {"ipv6": True}, {"bridge": "br7"}):
        assert naming.fingerprint(Config(**said), "/run/minidock") != plain
    assert naming.fingerprint(Config(), "/run/other") != plain
