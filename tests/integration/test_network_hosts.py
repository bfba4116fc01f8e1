"""Containers and other hosts: network namespaces that are connected to this one stand in for those."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

import minidock
from tests import net
from tests.neighbours import HERE, THERE, Stranger, neighbour, who_comes

SLEEP = ["sleep", "1000"]


@pytest.fixture(params=["0", "1"], ids=["", "strict rp_filter"])
def stranger(request: pytest.FixtureRequest, net_busybox: minidock.Engine) -> Iterator[Stranger]:
    """Another host, which this one forwards for."""
    with neighbour(request.param) as it:
        yield it


def web(engine: minidock.Engine, **options: object) -> minidock.Container:
    """A web server that says ``web``."""
    made = engine.containers.run("busybox", net.serving("web"), detach=True, **options)  # type: ignore[arg-type]
    made.wait_for_port(80, timeout=60)
    return made


def test_published_ports(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """They are reached at every address of this host, and nothing else of the container is, by whatever route."""
    port, other = net.free_port(), net.free_port()
    container = web(net_busybox, publish=[f"{port}:80", f"127.0.0.1:{other}:80"])
    for host in (HERE, *net.host_addresses()):
        assert stranger.get(host, port) == "web\n"
    assert stranger.refused(HERE, other)
    assert stranger.refused(container.ip, 80)
    container.remove(force=True)
    assert stranger.refused(HERE, port)


def test_one_address(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    port = net.free_port()
    web(net_busybox, publish=[f"{HERE}:{port}:80"])
    assert stranger.get(HERE, port) == "web\n"
    assert net.get(HERE, port) == "web\n"
    others = [host for host in net.host_addresses() if host != HERE]
    assert all(stranger.refused(host, port) for host in others)


def test_routed_networks(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """With the gateway mode `routed` containers are reached at their own addresses, and seen with them."""
    options = {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
    net_busybox.networks.create("routed", options=options)
    container = web(net_busybox, network="routed")
    assert stranger.get(container.ip, 80) == "web\n"
    with who_comes(stranger) as seen:
        container.exec(["nc", "-w", "2", THERE, "7777"], input=b"")
        assert seen() == container.ip


@pytest.mark.parametrize(("internal", "masquerade", "expected"), [(0, "true", HERE), (1, "true", None)])
def test_the_way_out(
    net_busybox: minidock.Engine, stranger: Stranger, internal: int, masquerade: str, expected: str | None
) -> None:
    """Others see this host's address, and nothing of internal networks."""
    options = {"com.docker.network.bridge.enable_ip_masquerade": masquerade}
    net_busybox.networks.create("out", internal=bool(internal), options=options)
    container = net_busybox.containers.run("busybox", SLEEP, detach=True, network="out")
    with who_comes(stranger) as seen:
        container.exec(["nc", "-w", "2", THERE, "7777"], input=b"")
        assert seen() == expected


def test_udp(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """One who sends before the port is there reaches it afterwards, from the same socket."""
    port = net.free_port()

    def made(*bound: tuple[str, int]) -> socket.socket:
        it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        it.settimeout(0.2)
        for address in bound:
            it.bind(address)
        return it

    with net.in_namespace(stranger.pid, made) as early:
        early.sendto(b"ping", (HERE, port))
        container = net_busybox.containers.run("busybox", SLEEP, detach=True, publish=[f"{port}:53/udp"])
        with net.in_namespace(container.state.pid, lambda: made(("", 53))) as server:
            sender = ("", 0)
            for _ in range(20):
                early.sendto(b"ping", (HERE, port))
                with contextlib.suppress(TimeoutError):
                    _, sender = server.recvfrom(16)
                if sender[0] == THERE:  # before, it came through the listener
                    break
            assert sender[0] == THERE
            server.sendto(b"pong", sender)
            assert early.recvfrom(16) == (b"pong", (HERE, port))
