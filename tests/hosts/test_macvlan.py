"""Networks of the drivers macvlan and ipvlan: containers are hosts of the parent's network."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from tests import net
from tests.leaks import SLOWNESS
from tests.neighbours import HERE, THERE, Stranger, neighbour, who_comes

SUBNET, OURS, OTHER = "198.51.100.0/24", "198.51.100.9", "198.51.100.10"


def lacks(kind: str) -> bool:
    """Whether the kernel has no such interfaces; nothing is made, as none is named that it would be on."""
    done = subprocess.run(["ip", "link", "add", "mdt-none", "type", kind], check=False, capture_output=True, text=True)
    return "Unknown device type" in done.stderr or "not supported" in done.stderr.lower()


needs_macvlan = pytest.mark.skipif(lacks("macvlan"), reason="the kernel has no macvlan")
needs_ipvlan = pytest.mark.skipif(lacks("ipvlan"), reason="the kernel has no ipvlan")
needs_vlan = pytest.mark.skipif(lacks("macvlan") or lacks("vlan"), reason="the kernel has no macvlan or no VLANs")
EITHER = [pytest.param("macvlan", marks=needs_macvlan), pytest.param("ipvlan", marks=needs_ipvlan)]


@pytest.fixture
def stranger(net_busybox: minidock.Engine) -> Iterator[Stranger]:
    """Another host on the parent's network."""
    with neighbour() as it:
        yield it


def web(engine: minidock.Engine, network: str, ip: str, name: str = "web") -> minidock.Container:
    """A web server that says ``web``."""
    made = engine.containers.run("busybox", net.serving("web"), detach=True, name=name, network=network, ip=ip)
    made.wait_for_port(80, timeout=60)
    return made


def fetched(container: minidock.Container, host: str) -> str:
    """What a container gets from a web server. By nc: Debian's static wget falls over names of protocols."""
    script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w {int(2 * SLOWNESS)} {host} 80"
    return container.exec(["sh", "-c", script]).stdout.decode().rpartition("\r\n")[2]


@pytest.mark.parametrize("driver", EITHER)
def test_a_host_of_the_parent_s_network(net_busybox: minidock.Engine, stranger: Stranger, driver: str) -> None:
    """Others reach it and are reached without any port or translation; this host does not, as the kernel has it."""
    options = {"parent": stranger.interface}
    net_busybox.networks.create("lan", driver, options, subnet=SUBNET, gateway=THERE)
    container = web(net_busybox, "lan", OURS)
    assert stranger.get(OURS, 80) == "web\n"
    with who_comes(stranger) as seen:
        container.exec(["nc", "-w", "2", THERE, "7777"], input=b"")
        assert seen() == OURS
    assert f"default via {THERE} dev eth0" in container.exec(["ip", "route"]).stdout.decode()
    with pytest.raises(OSError):  # noqa: PT011 - refused, unreachable or timed out, by the kernel's state
        net.get(OURS, 80, timeout=1)
    other = net_busybox.containers.run("busybox", ["sleep", "1000"], detach=True, network="lan", ip=OTHER)
    assert fetched(other, OURS) == "web\n"
    assert OURS.encode() in other.exec(["nslookup", "web", "127.0.0.11"]).stdout
    assert stranger.get(OURS, 80) == "web\n"


@needs_macvlan
def test_private_containers(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """The mode `private`: the world, but not one another."""
    options = {"parent": stranger.interface, "macvlan_mode": "private"}
    net_busybox.networks.create("lan", "macvlan", options, subnet=SUBNET, gateway=THERE)
    web(net_busybox, "lan", OURS)
    other = net_busybox.containers.run("busybox", ["sleep", "1000"], detach=True, network="lan", ip=OTHER)
    assert fetched(other, OURS) == ""
    assert stranger.get(OURS, 80) == "web\n"


@needs_ipvlan
@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_routed_containers(net_busybox: minidock.Engine, stranger: Stranger, mode: str) -> None:
    """The modes `l3` and `l3s`: a subnet of their own behind this host, whose address others route it to."""
    options = {"parent": stranger.interface, "ipvlan_mode": mode}
    net_busybox.networks.create("behind", "ipvlan", options, subnet="10.213.77.0/24")
    container = web(net_busybox, "behind", "10.213.77.9")
    stranger.ip("route", "add", "10.213.77.0/24", "via", HERE)
    assert stranger.get("10.213.77.9", 80) == "web\n"
    with who_comes(stranger) as seen:
        container.exec(["nc", "-w", "2", THERE, "7777"], input=b"")
        assert seen() == "10.213.77.9"


@needs_vlan
def test_a_vlan(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """`NAME.7` is made with the first network on it, tags what is sent, and goes with the last."""
    stranger.ip("link", "add", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7")
    stranger.ip("address", "add", "203.0.113.2/24", "dev", "eth0.7")
    stranger.ip("link", "set", "eth0.7", "up")
    parent = f"{stranger.interface}.7"
    made = [
        net_busybox.networks.create(name, "macvlan", {"parent": parent}, subnet=subnet)
        for name, subnet in (("tagged", "203.0.113.0/24"), ("another", "192.0.2.0/24"))
    ]
    assert parent in net.interfaces()
    container = web(net_busybox, "tagged", "203.0.113.9")
    assert stranger.get("203.0.113.9", 80) == "web\n"
    stranger.ip("link", "set", "eth0.7", "down")
    assert stranger.refused("203.0.113.9", 80)
    container.remove(force=True)
    made[0].remove()
    assert parent in net.interfaces()
    made[1].remove()
    assert parent not in net.interfaces()


@needs_vlan
def test_a_vlan_of_the_host_s_own(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """It was there before, and stays."""
    parent = f"{stranger.interface}.8"
    link = ["ip", "link", "add", "link", stranger.interface, "name", parent, "type", "vlan", "id", "8"]
    subprocess.run(link, check=True)
    network = net_busybox.networks.create("tagged", "macvlan", {"parent": parent}, subnet="203.0.113.0/24")
    network.remove()
    assert parent in net.interfaces()


@pytest.mark.parametrize("driver", EITHER)
def test_a_network_that_leads_nowhere(net_busybox: minidock.Engine, driver: str) -> None:
    """Without a parent containers have one another, and no way out."""
    net_busybox.networks.create("alone", driver, subnet="10.213.78.0/24")
    web(net_busybox, "alone", "10.213.78.9")
    other = net_busybox.containers.run("busybox", ["sleep", "1000"], detach=True, network="alone")
    assert fetched(other, "10.213.78.9") == "web\n"
    assert b"default" not in other.exec(["ip", "route"]).stdout


def _datagram(source: bytes, target: bytes, port: int) -> bytes:
    """A frame with a datagram from 10.213.78.9 to the host's own address there."""
    udp = struct.pack(">HHHH", 9, port, 13, 0) + b"enter"
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source, target)
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack(">H", ~total & 0xFFFF) + header[12:] + udp


@needs_macvlan
def test_nothing_of_a_network_without_a_parent_enters_the_host(net_busybox: minidock.Engine) -> None:
    """What its containers send, raw frames to the host's interfaces among it, is for nobody here (CVE-2020-13401)."""
    made = net_busybox.networks.create("alone", "macvlan", subnet="10.213.78.0/24", enable_ipv6=True)
    one = net_busybox.containers.run("busybox", ["sleep", "1000"], detach=True, network="alone", ip="10.213.78.9")
    ends = [f"dm-{made.id[:12]}", f"dn-{made.id[:12]}"]
    macs = [bytes.fromhex(Path(f"/sys/class/net/{end}/address").read_text().strip().replace(":", "")) for end in ends]
    own = [*net.host_addresses(), "192.0.2.1"][0]
    ours = bytes.fromhex(one.attrs["NetworkSettings"]["Networks"]["alone"]["MacAddress"].replace(":", ""))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 0))
        port = server.getsockname()[1]

        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind(("eth0", 0))
                for mac in (*macs, b"\xff" * 6):
                    for target in ("127.0.0.1", "10.213.78.255", "255.255.255.255", own):
                        packet = _datagram(socket.inet_aton("10.213.78.9"), socket.inet_aton(target), port)
                        raw.send(mac + ours + b"\x08\x00" + packet)

        net.in_namespace(one.state.pid, send)
        server.settimeout(1)
        with pytest.raises(TimeoutError):
            server.recv(100)
    addresses = Path("/proc/net/if_inet6")
    assert not addresses.exists() or not any(end in addresses.read_text() for end in ends)
    assert one.exec(["arping", "-c", "1", "-w", "1", "-I", "eth0", own]).exit_code != 0
