"""``network`` beside the real Docker: flags, words, lists and documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

import minidock
from tests.compat.beside import Side, both
from tests.conftest import Cli, Roots
from tests.integration.networks import clear

B = "com.docker.network.bridge."
MTU = "com.docker.network.driver.mtu"
CREATE = [
    [], ["--label", "a=b", "--label", "c"], ["--internal"], ["--ipv6"], ["--ipv4=false", "--ipv6"], ["--ipv4=false"],
    ["--attachable", "--scope", "local"], ["--ipam-opt", "a=b", "--ipam-opt", "c"], ["-o", "foo=bar", "-o", "x"],
    ["--subnet", "10.213.0.0/24"], ["--subnet", "10.213.0.0/24", "--gateway", "10.213.0.9"],
    ["--subnet", "10.213.0.0/24", "--ip-range", "10.213.0.128/25"],
    ["--subnet", "10.213.0.0/24,fd13:9::/64", "--ipv6", "--gateway", "fd13:9::9"],
    ["--subnet", "fd13:9::/64"], ["--subnet", "fd13:9::/64", "--ipv6"], ["--subnet", "fd13:9::/128", "--ipv6"],
    ["--subnet", "10.213.0.0/24", "--aux-address", "a=10.213.0.3,b=10.213.0.4"],
    ["--subnet", "10.213.0.0/24", "--aux-address", "a=10.213.0.3", "--aux-address", "b=10.213.0.4"],
    ["--subnet", "10.213.0.0/24", "--aux-address", "a=10.213.0.1"],
    ["--subnet", "10.213.0.0/24", "--aux-address", "a=10.214.0.1"], ["--aux-address", "a=10.214.0.1"],
    ["--subnet", "10.213.0.0"], ["--subnet", "10.213.0.5/24"], ["--subnet", "10.213.0.0/33"], ["--subnet", "foo"],
    ["--subnet", "10.213.0.0/31"], ["--subnet", "10.213.0.0/32"], ["--subnet", "192.0.2.0/24"],
    ["--subnet", "0.0.0.0/0"], ["--subnet", "10.213.0.0/24", "--gateway", "10.214.0.1"],
    ["--subnet", "10.213.0.0/24", "--gateway", "10.213.0.0"],
    ["--subnet", "10.213.0.0/24", "--gateway", "10.213.0.255"],
    ["--gateway", "10.213.0.1"], ["--ip-range", "10.213.0.0/25"],
    ["--subnet", "10.213.0.0/24", "--ip-range", "10.213.0.130/25"],
    ["--subnet", "10.213.0.0/24", "--ip-range", "10.213.0.0/16"],
    ["--subnet", "10.213.0.0/24", "--ip-range", "10.214.0.0/25"],
    ["--subnet", "10.213.0.0/24", "--subnet", "10.214.0.0/24"], ["--subnet", "10.213.0.0/24,10.213.0.0/25"],
    ["--subnet", "10.213.0.0/24", "--gateway", "10.213.0.1", "--gateway", "10.213.0.2"],
    ["-d", "foo"], ["-d", "host"], ["-d", "null"], ["-d", "none"], ["--ipam-driver", "foo"], ["--scope", "swarm"],
    ["--ingress"], ["-o", f"{B}enable_icc=foo"], ["-o", f"{B}enable_icc=0"], ["-o", f"{B}host_binding_ipv4=foo"],
    ["-o", f"{B}inhibit_ipv4=x"], ["-o", f"{B}gateway_mode_ipv4=foo"], ["-o", f"{B}gateway_mode_ipv4=routed"],
    ["-o", f"{B}gateway_mode_ipv4=isolated"], ["--internal", "-o", f"{B}gateway_mode_ipv4=isolated"],
    ["-o", f"{B}name=lo"], ["-o", f"{MTU}=foo"], ["-o", f"{MTU}=-1"], ["-o", f"{MTU}=1400"], ["-o", f"{MTU}=0"],
    ["-o", "com.docker.network.enable_ipv6=foo"], ["-d", "macvlan", "-o", "parent=lo"],
    ["-d", "macvlan", "-o", "parent=eth0", "-o", "macvlan_mode=foo"], ["-d", "macvlan", "-o", "parent=eth0"],
    ["-d", "macvlan", "-o", "parent=eth0", "--internal"],
    ["-d", "ipvlan", "-o", "parent=eth0", "-o", "ipvlan_mode=foo"],
    ["-d", "ipvlan", "-o", "parent=eth0", "-o", "ipvlan_mode=l3"], ["-d", "ipvlan", "-o", "parent=eth0"],
    ["-d", "macvlan", "-o", "parent=nosuch0"], ["--config-only", "--internal"], ["--config-only"],
    ["--config-only", "--subnet", "10.213.0.0/24", "-o", "foo=bar"], ["--config-from", "@nosuch"],
    ["--config-from", "@nosuch", "--config-only"], ["--config-from", "@nosuch", "-o", "a=b"],
    ["--config-from", "@nosuch", "--label", "a=b"], ["--label", "=x"], ["--label", ""], ["--foo"], ["--ipv6=x"],
]  # fmt: skip
PARTS = 6


@pytest.fixture
def sides(cli_busybox: Cli, roots: Roots) -> Iterator[tuple[Side, Side]]:
    roots.config.write_text(json.dumps({"cgroup-parent": roots.cgroup_parent}))
    with both(cli_busybox) as found:
        try:
            yield found
        finally:
            for side in found:
                _, out, _ = side.raw("network", "ls", "-q", "--filter", f"name={side.prefix}")
                if out.split():
                    side.raw("network", "rm", *out.split())
            with minidock.Engine(str(roots.data), str(roots.run), str(roots.config)) as engine:
                clear(engine)


def _document(side: Side, name: str) -> object:
    """An inspected network without what differs anyhow: ids, times, and subnets that were chosen."""
    code, out, error = side("network", "inspect", name)
    found = json.loads(out)
    for one in found:
        one["Created"] = re.sub("[0-9]+", "N", one["Created"]).replace("N.NZ", "NZ")
        for config in one["IPAM"]["Config"] or ():
            if not config["Subnet"].startswith(("10.21", "fd13", "192.0.2")):
                config["Subnet"] = "CHOSEN"
                config["Gateway"] = "CHOSEN" if config.get("Gateway") else ""
    return code, found, error


def _same(expected: str, got: str) -> bool:
    """Docker may say more before or after, or on several lines of which only the first is compared."""
    words = [re.sub(r"\W+", " ", text).replace("minidock", "docker").strip() for text in (expected, got)]
    return words[0] in words[1] or words[1] in words[0]


# Where minidock says more, or something else, on purpose: docs/networks.md.
_OTHER_WORDS = ("overlay", "lo", "nosuch0", "fd13:9::/128", "invalid network config")


@pytest.mark.parametrize("part", range(PARTS))
def test_create(sides: tuple[Side, Side], part: int) -> None:
    for flags in CREATE[part::PARTS]:
        expected, got = (side("network", "create", *flags, "@n") for side in sides)
        assert (got[0] != 0, got[1]) == (expected[0] != 0, expected[1]), (flags, expected, got)
        assert bool(got[2]) == bool(expected[2]), (flags, expected, got)
        if not any(word in f"{flags} {expected[2]}" for word in _OTHER_WORDS):
            assert _same(expected[2], got[2]), (flags, expected, got)
        if expected[0] == 0:
            documents = [_document(side, "@n") for side in sides]
            assert documents[0] == documents[1], flags
        for side in sides:
            side("network", "rm", "-f", "@n")


STEPS = [
    "network create @a", "network create @a", "network create bridge", "network create none", "network create",
    "network create --config-only --subnet 10.213.1.0/24 --label x=y @conf", "network create --config-from @conf @b",
    "network rm @conf", "network inspect @nosuch", "network inspect @nosuch @a -f {{.Name}}", "network inspect",
    "network ls --format {{.Foo}}", "network ls -f foo=bar", "network ls -f dangling=x", "network ls -f type=x",
    "network ls -f type=builtin --format {{.Name}}:{{.Driver}}:{{.Scope}}", "network ls x", "network ls -f foo",
    "network ls -f name=@ --format {{.Name}}:{{.IPv4}}:{{.IPv6}}:{{.Internal}}:{{.Labels}}:{{.Label\"x\"}}",
    "network ls -f name=@ --format {{.ID}}", "network ls -f name=@ -q --format raw",
    "network ls -f name=@ --no-trunc -q",
    "network ls -f name=@ --format raw", "network ls -f name=^@a$ --format {{.Name}}", "network ls -f label=x -q",
    "network ls -f driver=null -f name=@ --format {{.Name}}", "network ls -f name=@ -f scope=swarm -q",
    "network ls -f name=@", "network inspect @a -f {{.Foo}}",
    "network inspect @a -f {{json.IPAM.Options}}{{.Containers}}",
    "network inspect @b -f {{range.IPAM.Config}}{{.Subnet}},{{.Gateway}},{{.IPRange}}{{end}}", "network rm",
    "network inspect bridge -f {{.Name}}{{.Options}}", "network prune -f --filter foo=x",
    "network prune -f --filter until=x", "network prune x", "network rm @a @nosuch @b", "network rm -f @nosuch",
    "network rm bridge", "network rm host @conf none", "network connect @a", "network disconnect @a",
    "network connect @nosuch @nosuch", "network foo", "network connect @nosuch @x --driver-opt foo",
]  # fmt: skip


def test_steps(sides: tuple[Side, Side]) -> None:
    for step in STEPS:
        words = step.replace('{{.Label"x"}}', '{{.Label\u00a0"x"}}').split(" ")
        words = [
            word.replace("\u00a0", " ").replace("{{json.", "{{json .").replace("{{range.", "{{range .")
            for word in words
        ]
        expected, got = (side(*words) for side in sides)
        if "{{.Options}}" in step:
            expected, got = (
                (one[0], re.sub("docker0|mdb-[0-9a-f]{8}", "BRIDGE", one[1]), one[2]) for one in (expected, got)
            )
        if expected[0] != 0 and expected[1] == "\n":  # Docker ends the line of a template that printed nothing
            expected = (expected[0], "", expected[2])
        assert (got[0] != 0, got[1]) == (expected[0] != 0, expected[1]), (step, expected, got)
        assert bool(got[2]) == bool(expected[2]), (step, expected, got)
        if "until=x" not in step:  # minidock says what would do
            assert _same(expected[2], got[2]), (step, expected, got)


def test_natural_order(sides: tuple[Side, Side]) -> None:
    names = ["@10", "@9", "@b", "@B", "@09", "@a1", "@a", "@.", "@-1", "@1-"]
    for side in sides:
        for name in names:
            assert side("network", "create", "--config-only", name)[0] == 0
    expected, got = (side("network", "ls", "-f", "name=@", "--format", "{{.Name}}") for side in sides)
    assert got == expected
