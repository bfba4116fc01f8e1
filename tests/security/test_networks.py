"""Rows of SECURITY.md section 3 about networks."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest

import minidock
from minidock.networks import network as networks
from tests import net
from tests.conftest import Roots, wait_for

SLEEP = ["sleep", "1000"]
_ALL_NODES = bytes.fromhex("333300000001")
_DELETE_TABLE = 10 << 8 | 2


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _advertisement(mac: bytes) -> bytes:
    """A frame in which a router offers itself and the prefix 2001:db8:bad::/64; RFC 4861, section 4.2."""
    source, target = socket.inet_pton(socket.AF_INET6, "fe80::bad"), socket.inet_pton(socket.AF_INET6, "ff02::1")
    prefix = struct.pack(
        ">BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
    )
    body = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 3600, 0, 0) + struct.pack(">BB6s", 1, 1, mac) + prefix
    pseudo = source + target + struct.pack(">IBBBB", len(body), 0, 0, 0, 58)
    body = body[:2] + struct.pack(">H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack(">IHBB", 6 << 28, len(body), 58, 255) + source + target
    return _ALL_NODES + mac + b"\x86\xdd" + header + body


def _send(frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        for _ in range(3):
            raw.send(frame)


@net.needs_ipv6
@pytest.mark.parametrize("ipv6", [False, True])
def test_cve_2020_13401_2024_32473_forged_router_advertisement(net_busybox: minidock.Engine, ipv6: bool) -> None:
    net_busybox.networks.create("here", enable_ipv6=ipv6)
    one, two = (net_busybox.containers.run("busybox", SLEEP, detach=True, network="here") for _ in range(2))
    bridge = net_busybox.networks.get("here").record.bridge

    def routes_of_bridge() -> list[str]:
        return [line for line in Path("/proc/net/ipv6_route").read_text().splitlines() if line.split()[-1] == bridge]

    before = routes_of_bridge()
    mac = bytes.fromhex(one.attrs["NetworkSettings"]["Networks"]["here"]["MacAddress"].replace(":", ""))
    net.in_namespace(one.state.pid, lambda: _send(_advertisement(mac)))
    time.sleep(0.3)
    assert "20010db80bad" not in Path("/proc/net/ipv6_route").read_text()
    assert len(routes_of_bridge()) == len(before)
    for container in (one, two):
        routes = container.exec(["cat", "/proc/net/ipv6_route", "/proc/net/if_inet6"]).stdout.decode()
        assert "20010db80bad" not in routes
        if not ipv6:
            addresses = container.exec(["cat", "/proc/net/if_inet6"]).stdout.decode()
            assert {line.split()[-1] for line in addresses.splitlines()} <= {"lo"}


def _asked(server: socket.socket) -> bool:
    server.settimeout(0.5)
    try:
        return bool(server.recv(512))
    except TimeoutError:
        return False


@pytest.mark.parametrize("internal", [False, True])
def test_cve_2024_29018_internal_network_leaks_no_lookup(net_busybox: minidock.Engine, internal: bool) -> None:
    """The name server of the container is one of the host's: it hears of a name on other networks only."""
    network = net_busybox.networks.create("inner", internal=internal)
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((gateway, 53))
        container = net_busybox.containers.run("busybox", SLEEP, detach=True, network="inner", dns=[gateway])
        done = container.exec(["timeout", "3", "nslookup", "secret.example"])
        assert _asked(server) is not internal
    assert done.exit_code != 0


def _flush(table: str) -> None:
    """Delete a table as `nft delete table` does; nf_tables of nfnetlink."""

    def message(kind: int, flags: int, sequence: int, family: int, subsystem: int, attributes: bytes = b"") -> bytes:
        body = struct.pack(">BBH", family, 0, subsystem) + attributes
        return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body

    name = table.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), 1) + name + b"\0" * (-len(name) % 4)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:
        batch = message(0x10, 1, 1, 0, 10) + message(_DELETE_TABLE, 5, 2, 1, 0, attribute) + message(0x11, 1, 3, 0, 10)
        netlink.send(batch)
        answer = netlink.recv(1 << 16)
    assert struct.unpack_from("=i", answer, 16)[0] == 0, answer


def _reaches(source: minidock.Container, host: str) -> bool:
    source.reload()
    try:
        return bool(net.in_namespace(source.state.pid, lambda: net.get(host, 80, timeout=0.5)))
    except OSError:
        return False


def test_cve_2025_54410_a_flushed_firewall_is_repaired(net_busybox: minidock.Engine, net_roots: Roots) -> None:
    """Networks are apart again within 5 s, without any engine process: the supervisors see to it."""
    for name in ("web", "app"):
        net_busybox.networks.create(name)
    port = net.free_port()
    web = net_busybox.containers.run("busybox", net.serving("web"), detach=True, network="web", publish=[f"{port}:80"])
    app = net_busybox.containers.run("busybox", SLEEP, detach=True, network="app")
    web.wait_for_port(80, timeout=60)
    host = net.host_addresses()[0]
    assert not _reaches(app, web.ip)
    table = f"minidock-{net.mark(net_roots.run)}"
    for _ in range(2):
        _flush(table)
        wait_for(lambda: table in net.tables(), 5, "the table")
        assert not _reaches(app, web.ip)
        assert net.get(host, port) == "web\n"


def test_a_port_on_loopback_is_not_for_others(net_busybox: minidock.Engine) -> None:
    """Nobody reaches it by another address of the host, and no packet for 127.0.0.1 is routed (CVE-2020-8558)."""
    port = net.free_port()
    web = net_busybox.containers.run("busybox", net.serving("web"), detach=True, publish=[f"127.0.0.1:{port}:80"])
    other = net_busybox.containers.run("busybox", SLEEP, detach=True)
    web.wait_for_port(80, timeout=60)
    assert net.get("127.0.0.1", port) == "web\n"
    gateway = web.attrs["NetworkSettings"]["Gateway"]
    for host in (gateway, net.host_addresses()[0]):
        with pytest.raises(OSError, match=r"refused|timed out"):
            net.get(host, port, timeout=0.5)
        with pytest.raises(OSError, match=r"refused|timed out"):
            net.in_namespace(other.state.pid, lambda host=host: net.get(host, port, timeout=0.5))  # type: ignore[misc]
    interface = networks_bridge(net_busybox)
    assert Path(f"/proc/sys/net/ipv4/conf/{interface}/route_localnet").read_text().strip() == "0"


def networks_bridge(engine: minidock.Engine) -> str:
    """The default network's bridge."""
    network: networks.Network = engine.networks.get("bridge")
    return network.record.bridge


def test_unpublished_ports_are_not_for_outside(net_busybox: minidock.Engine) -> None:
    """A host that routes packets to the containers' addresses reaches what is published, and nothing else."""
    network = net_busybox.networks.create("outside")
    stranger = net_busybox.containers.run("busybox", SLEEP, detach=True, network="outside")
    web = net_busybox.containers.run("busybox", net.serving("web"), detach=True)
    web.wait_for_port(80, timeout=60)
    assert net.get(web.ip, 80) == "web\n"
    assert network.attrs["Driver"] == "bridge"
    assert not _reaches(stranger, web.ip)
