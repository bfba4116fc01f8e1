"""Flags of networks and ports beside the real Docker: what is recorded, what is refused and in which words."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.compat.beside import Side, both
from tests.conftest import Cli

MAC = "02:42:ac:11:00:99"
RECORDED = [
    [],
    ["--network", "bridge"],
    ["--network", "default"],
    ["--network", "none"],
    ["--network", "host", "-p", "80:80"],
    ["--network", "container:@nosuch"],
    ["--network", "@n"],
    ["--net", "@n", "--net-alias", "a", "--network-alias", "b"],
    ["--network", "name=@s,alias=x,alias=y,ip=10.213.7.9,gw-priority=5,link-local-ip=169.254.1.2"],
    ["--network", "@s", "--ip", "10.213.7.9"],
    ["--network", "@s", "--network", "@n", "--ip", "10.213.7.9", "--network-alias", "al"],
    ["--network", "@n", "--network", "@s"],
    ["--network", "@n", "--link", "@other:x"],
    ["--mac-address", MAC],
    ["--network", f"name=@n,mac-address={MAC}"],
    ["--link-local-ip", "169.254.1.1"],
    ["-p", "80"],
    ["-p", "80/udp"],
    ["-p", "80/TCP"],
    ["-p", "80/sctp"],
    ["-p", "8080:80"],
    ["-p", "0:80"],
    ["-p", "127.0.0.1::80"],
    ["-p", "127.0.0.1:8080:80/udp"],
    ["-p", "[::1]:8080:80"],
    ["-p", "8000-8002:80-82"],
    ["-p", "8000-8010:80"],
    ["-p", "80-82"],
    ["-p", "8080:80", "-p", "8081:80", "-p", "82:81"],
    ["-p", "published=8080,target=80,protocol=udp,mode=ingress"],
    ["-P"],
    ["--expose", "80", "--expose", "7-9/udp"],
]
REFUSED = [
    ["-p", "8000-8001:80-82"],
    ["-p", "8002-8000:80-82"],
    ["-p", "65536:80"],
    ["-p", "80:65536"],
    ["-p", "a:80"],
    ["-p", "80:b"],
    ["-p", "80/xyz"],
    ["-p", ""],
    ["-p", "::1:8080:80"],
    ["-p", "1.2.3:80:80"],
    ["-p", "host:80:80"],
    ["-p", "1:2:3:4"],
    ["--expose", "80:90"],
    ["--expose", ""],
    ["--expose", "x"],
    ["--expose", "82-80"],
    ["--expose", "70000"],
    ["--mac-address", "xx"],
    ["--network-alias", "foo"],
    ["--network", "host", "--network-alias", "x"],
    ["--network", "none", "--network-alias", "x"],
    ["--network", "host", "--link", "foo"],
    ["--network", "container:foo", "-p", "80:80"],
    ["--network", "container:foo", "-P"],
    ["--network", "container:foo", "--hostname", "h"],
    ["--network", "container:foo", "--dns", "1.1.1.1"],
    ["--network", "container:foo", "--add-host", "a:1.2.3.4"],
    ["--network", "container:foo", "--expose", "80"],
    ["--network", "container:foo", "--link", "a"],
    ["--network", "container:"],
    ["--network", ""],
    ["--network", "bridge", "--network", "bridge"],
    ["--network", "bridge", "--network", "@n"],
    ["--network", "@n", "--network", "host"],
    ["--network", "name=@n,foo=bar"],
    ["--network", "name=@n,alias"],
    ["--network", "alias=x"],
    ["--network", "name=@n,gw-priority=z"],
    ["--network", "name=@n,driver-opt=zz"],
    ["--network", "name=@s,ip=10.213.7.9", "--ip", "10.213.7.10"],
    ["--network", "name=@s,alias=z", "--network-alias", "q"],
    ["--network", f"name=@s,mac-address={MAC}", "--mac-address", MAC],
    ["--link", "@nosuch:x"],
    ["--link", "a:b:c"],
]
"""Refused by both in the same words, where it is not one of several at once."""
REFUSED_OTHERWISE = [
    ["--ip", "172.17.0.50"],
    ["--ip6", "fd00::1"],
    ["--network", "@n", "--ip", "172.31.0.9"],
    ["--network", "@s", "--ip", "10.214.0.9"],
    ["--network", "@s", "--ip", "1.2.3"],
    ["--network", "container:foo", "--ip", "1.2.3.4"],
]
"""Refused by both; Docker makes a list of it, one reason a line."""


def networks(sides: tuple[Side, Side], *, remove: bool = False) -> None:
    for side in sides:
        if remove:
            side.remove()
            side.raw("network", "rm", "@n", "@s")
            continue
        for argv in (["@n"], ["--subnet", "10.213.7.0/24", "@s"]):
            code, _, error = side.raw("network", "create", *argv)
            assert code == 0, error


def test_what_is_recorded(net_cli: Cli) -> None:
    with both(net_cli) as sides:
        networks(sides)
        try:
            for flags in RECORDED:
                shown = [_recorded(side, flags) for side in sides]
                assert shown[1] == shown[0], flags
        finally:
            networks(sides, remove=True)


def _recorded(side: Side, flags: list[str]) -> list[Any]:
    code, _, error = side.raw("create", "--name", "@a", *flags, "IMAGE", "true")
    assert code == 0, (side.program, flags, error)
    shown = json.loads(side.clean(side.raw("inspect", "@a")[1]))[0]
    side.raw("rm", "@a")
    host_config, settings = shown["HostConfig"], shown["NetworkSettings"]
    return [
        *(host_config[key] for key in ("NetworkMode", "PortBindings", "PublishAllPorts")),
        shown["Config"].get("ExposedPorts"),
        *(settings[key] for key in ("Ports", "Networks")),
    ]


def test_what_is_refused(net_cli: Cli) -> None:
    with both(net_cli) as sides:
        networks(sides)
        try:
            for flags in REFUSED:
                expected, got = (_refusal(side, flags) for side in sides)
                assert got == expected, flags
            for flags in REFUSED_OTHERWISE:
                expected, got = (_refusal(side, flags) for side in sides)
                assert got
                assert got.startswith(expected.rstrip()), flags
        finally:
            networks(sides, remove=True)


def _refusal(side: Side, flags: list[str]) -> str:
    code, _, error = side("create", "--name", "@a", *flags, "IMAGE", "true")
    side.raw("rm", "@a")
    assert code != 0, (side.program, flags)
    # Ours begins with the option's name where it is an option's own error; Docker's with the flag and its value.
    for noise in ("publish: ", "expose: ", "network: ", "links: ", "mac_address: "):
        error = error.removeprefix(noise)
    return error.partition("flag: ")[2] or error


@pytest.mark.parametrize("options", [[], ["-p", "0:80", "--expose", "9"], ["--network", "@s", "--ip", "10.213.7.9"]])
def test_while_it_runs_and_afterwards(net_cli: Cli, options: list[str]) -> None:
    with both(net_cli) as sides:
        networks(sides)
        try:
            for side in sides:
                code, _, error = side.raw(
                    "run", "-d", "--name", "@a", "--hostname", "h", *options, "IMAGE", "sleep", "99"
                )
                assert code == 0, error
            assert _settings(sides[1]) == _settings(sides[0])
            for side in sides:
                side.raw("stop", "-t", "0", "@a")
            assert _settings(sides[1]) == _settings(sides[0])
        finally:
            networks(sides, remove=True)


def test_events(net_cli: Cli) -> None:
    """In which order networks come and go with a container."""
    with both(net_cli) as sides:
        seen = []
        for side in sides:
            since = str(int(time.time()) - 1)
            side.raw("run", "-d", "--name", "@a", "IMAGE", "sleep", "99")
            side.raw("stop", "-t", "0", "@a")
            container = side.raw("inspect", "-f", "{{.Id}}", "@a")[1].strip()
            form = "{{.Type}} {{.Action}} {{.Actor.ID}} {{index .Actor.Attributes `container`}}"
            _, text, error = side.raw(
                "events", "--since", since, "--until", str(int(time.time()) + 1), "--format", form
            )
            lines = [line.split() for line in text.splitlines() if container in line]
            assert lines, error
            # Docker tells of the stop before or after the end, as it happens.
            seen.append([(kind, action) for kind, action, *_ in lines if action != "stop"])
        assert seen[1] == seen[0]


OWN = (
    "MacAddress",
    "EndpointID",
    "NetworkID",
    "SandboxID",
    "SandboxKey",
    "Gateway",
    "IPAddress",
    "IPPrefixLen",
    "HostPort",
)


def _settings(side: Side) -> Any:
    """What inspect shows, with what is each engine's own reduced to whether it is there."""
    text = side.clean(side.raw("inspect", "-f", "{{json .NetworkSettings}}", "@a")[1])

    def plain(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: plain(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [plain(one, key) for one in value] or None
        return bool(value) if key in OWN else value

    return plain(json.loads(text))
