"""Published ports of SCTP, where the kernel has it; servers and clients are the tests' sockets in other namespaces."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

import minidock
from minidock.errors import Conflict
from tests import net
from tests.leaks import SLOWNESS
from tests.neighbours import HERE, HERE6, Stranger, neighbour

SLEEP = ["sleep", "1000"]


def sctp(family: int = socket.AF_INET) -> socket.socket:
    it = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    it.settimeout(5 * SLOWNESS)
    return it


def has_sctp() -> bool:
    with contextlib.suppress(OSError), sctp():
        return True
    return False


pytestmark = pytest.mark.skipif(not has_sctp(), reason="the kernel has no SCTP")


@pytest.fixture
def stranger(net_busybox: minidock.Engine) -> Iterator[Stranger]:
    with neighbour(ipv6=True) as it:
        yield it


def serves(container: minidock.Container, family: int = socket.AF_INET) -> socket.socket:
    """A server in a container, on port 5132."""

    def listening() -> socket.socket:
        it = sctp(family)
        it.bind(("", 5132))
        it.listen()
        return it

    return net.in_namespace(container.state.pid, listening)


def answered(pid: int | None, host: str, port: int, server: socket.socket) -> bool:
    """Whether somebody, of this host or of a process's namespace, talks with the server at an address."""

    def connected() -> socket.socket:
        it = sctp(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            it.connect((host, port))
        except OSError:
            it.close()
            raise
        return it

    with connected() if pid is None else net.in_namespace(pid, connected) as client:
        there, _ = server.accept()
        with there:
            client.sendall(b"ping")
            assert there.recv(16) == b"ping"
            there.sendall(b"pong")
            return client.recv(16) == b"pong"


def test_a_published_port(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """Others reach it, and so do this host, by its addresses, and containers."""
    container = net_busybox.containers.run("busybox", SLEEP, detach=True, publish=["5132:5132/sctp"])
    other = net_busybox.containers.run("busybox", SLEEP, detach=True)
    with serves(container) as server:
        assert answered(stranger.pid, HERE, 5132, server)
        assert answered(None, HERE, 5132, server)
        assert answered(other.state.pid, container.ip, 5132, server)
        assert answered(other.state.pid, HERE, 5132, server)
    assert container.ports["5132/sctp"][0]["HostPort"] == "5132"
    container.remove(force=True)
    with pytest.raises(OSError, match=r"refused|timed out"):
        answered(stranger.pid, HERE, 5132, server)


def test_any_port_of_ipv6(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    net_busybox.networks.create("both", enable_ipv6=True)
    container = net_busybox.containers.run("busybox", SLEEP, detach=True, network="both", publish=["5132/sctp"])
    port = int(container.ports["5132/sctp"][0]["HostPort"])
    with serves(container, socket.AF_INET6) as server:
        assert answered(stranger.pid, HERE6, port, server)


def test_a_port_is_one_containers(net_busybox: minidock.Engine) -> None:
    """Another gets Docker's words, with the holder's name; TCP's port of that number is another one."""
    options = {"detach": True, "publish": ["5132:5132/sctp"]}
    net_busybox.containers.run("busybox", SLEEP, name="first", **options)
    with pytest.raises(Conflict, match=r"port is already allocated \(by container first\)"):
        net_busybox.containers.run("busybox", SLEEP, name="second", **options)
    net_busybox.containers.run("busybox", SLEEP, name="third", detach=True, publish=["5132:5132/tcp"])


def test_a_port_of_another_program(net_busybox: minidock.Engine) -> None:
    with sctp() as mine:
        mine.bind(("0.0.0.0", 5132))
        mine.listen()
        with pytest.raises(Conflict, match="5132/sctp: address already in use"):
            net_busybox.containers.run("busybox", SLEEP, detach=True, publish=["5132:5132/sctp"])
