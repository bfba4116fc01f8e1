"""Hosts that drop what they forward, by nftables.service or ufw: what Docker's users have works there, and stays so."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

import minidock
from tests import net
from tests.conftest import Cli, wait_for
from tests.leaks import SLOWNESS
from tests.neighbours import HERE, HERE6, THERE, THERE6, Stranger, neighbour, who_comes

SLEEP = ["sleep", "1000"]
PATIENCE = 10 * SLOWNESS
HAS_IPV6 = os.path.exists("/proc/net/if_inet6")


def nft(*words: str) -> str:
    """What the program nft(8) answers; nothing without it."""
    program = shutil.which("nft")
    if program is None or os.geteuid() != 0:
        return ""
    return subprocess.run([program, *words], check=False, capture_output=True, text=True).stdout


def is_ufw() -> bool:
    """Whether ufw is on."""
    return "ufw-before-forward" in nft("list", "chains")


def is_strict() -> bool:
    """Whether a chain drops what is forwarded."""
    return any("hook forward" in line and "policy drop" in line for line in nft("list", "chains").splitlines())


STRICT = is_strict()
pytestmark = pytest.mark.skipif(not STRICT, reason="this host drops nothing of what it forwards")


@pytest.fixture
def stranger(net_busybox: minidock.Engine) -> Iterator[Stranger]:
    """Another host, which this one forwards for, in both versions of IP."""
    with neighbour(ipv6=HAS_IPV6) as it:
        yield it


def web(engine: minidock.Engine, **options: object) -> minidock.Container:
    """A web server that says ``web``."""
    made = engine.containers.run("busybox", net.serving("web"), detach=True, **options)  # type: ignore[arg-type]
    made.wait_for_port(80, timeout=PATIENCE)
    return made


def fetches(container: minidock.Container, host: str, port: int) -> bool:
    """Whether a container gets ``web`` from a server. By nc: Debian's static wget falls over names of protocols."""
    script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port}"
    return b"web\n" in container.exec(["sh", "-c", script]).stdout


def test_a_published_port(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """Others, this host and containers reach it; nobody reaches what is not published."""
    port, mine = net.free_port(), net.free_port()
    server = web(net_busybox, publish=[f"{port}:80", f"127.0.0.1:{mine}:80"])
    client = net_busybox.containers.run("busybox", SLEEP, detach=True)
    assert stranger.get(HERE, port) == "web\n"
    for host, at in (("127.0.0.1", port), ("127.0.0.1", mine), (HERE, port)):
        assert net.get(host, at, timeout=PATIENCE) == "web\n"
    assert fetches(client, server.ip, 80)
    assert fetches(client, HERE, port)
    assert fetches(server, HERE, port)
    assert stranger.refused(HERE, mine)
    assert stranger.refused(server.ip, 80)


@pytest.mark.skipif(not HAS_IPV6, reason="this host has no IPv6")
def test_a_published_port_of_ipv6(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    port = net.free_port()
    net_busybox.networks.create("both", enable_ipv6=True)
    server = web(net_busybox, publish=[f"{port}:80"], network="both", name="server")
    client = net_busybox.containers.run("busybox", SLEEP, detach=True, network="both")
    assert stranger.get(HERE6, port) == "web\n"
    for host in ("::1", HERE6):
        assert net.get(host, port, timeout=PATIENCE) == "web\n"
    address = server.attrs["NetworkSettings"]["Networks"]["both"]["GlobalIPv6Address"]
    assert fetches(client, address, 80)
    assert fetches(client, HERE6, port)
    assert stranger.refused(address, 80)
    with who_comes(stranger, THERE6) as seen:
        client.exec(["nc", "-w", "2", THERE6, "7777"], input=b"")
        assert seen() == HERE6


def test_the_way_out_and_names(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """Containers reach the world, its name servers and each other by name; networks stay apart."""
    net_busybox.networks.create("one")
    net_busybox.networks.create("two")
    net_busybox.networks.create("shut", internal=True)
    server = web(net_busybox, network="one", name="server")
    client = net_busybox.containers.run("busybox", SLEEP, detach=True, network="one", dns=[THERE])
    other = net_busybox.containers.run("busybox", SLEEP, detach=True, network="two")
    shut = net_busybox.containers.run("busybox", SLEEP, detach=True, network="shut")
    with who_comes(stranger) as seen:
        client.exec(["nc", "-w", "2", THERE, "7777"], input=b"")
        assert seen() == HERE
    assert fetches(client, "server", 80)
    assert not fetches(other, server.ip, 80)
    with who_comes(stranger) as seen:
        shut.exec(["nc", "-w", "2", THERE, "7777"], input=b"")
        assert seen() is None
    with name_server(stranger):
        assert b"203.0.113.7" in client.exec(["nslookup", "-type=a", "far.example."]).stdout


class name_server:  # noqa: N801 - a context manager
    """Another host answers every question with one address, until the end of a ``with`` block."""

    def __init__(self, stranger: Stranger) -> None:
        def bound() -> socket.socket:
            it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            it.bind((THERE, 53))
            return it

        self.socket = net.in_namespace(stranger.pid, bound)
        self.thread = threading.Thread(target=self.serve)

    def serve(self) -> None:
        while True:
            question, sender = self.socket.recvfrom(512)
            if question == b"end":
                return
            end = question.index(b"\0", 12) + 5
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton("203.0.113.7")
            head = question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
            self.socket.sendto(head + question[12:end] + answer, sender)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.socket.sendto(b"end", (THERE, 53))
        self.thread.join()
        self.socket.close()


def test_the_host_itself_stays_shut(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """What containers may not ask of this host, they may not ask with us either; nor may others."""
    client = net_busybox.containers.run("busybox", SLEEP, detach=True)
    port = net.free_port()
    with net.listener("0.0.0.0", port):
        assert client.exec(["nc", "-z", "-w", "2", HERE, str(port)]).exit_code != 0
        assert stranger.refused(HERE, port)


def flush_and_load() -> None:
    """As ``systemctl reload nftables`` does where the file begins with ``flush ruleset``."""
    nft("flush", "ruleset")
    nft("-f", "/etc/nftables.conf")


def reload_ufw() -> None:
    subprocess.run(["ufw", "reload"], check=True, stdout=subprocess.DEVNULL)


def off_and_on() -> None:
    subprocess.run(["ufw", "disable"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ufw", "--force", "enable"], check=True, stdout=subprocess.DEVNULL)


RELOADS = [off_and_on, reload_ufw] if STRICT and is_ufw() else [flush_and_load]


@pytest.mark.parametrize("reload", RELOADS)
def test_the_firewall_is_loaded_again(
    net_cli: Cli, net_busybox: minidock.Engine, stranger: Stranger, reload: Callable[[], None]
) -> None:
    """Docker's rules are lost until it is restarted. Ours are there again, by the supervisors alone."""
    port = net.free_port()
    net_cli.ok("run", "-d", "--name", "server", "-p", f"{port}:80", "busybox", *net.serving("web"))
    net_cli.ok("run", "-d", "--name", "client", "busybox", "sleep", "1000")
    wait_for(lambda: not stranger.refused(HERE, port), 10)
    reload()
    assert is_strict()
    wait_for(lambda: not stranger.refused(HERE, port), 10, "the port after the reload")
    server, client = net_busybox.containers.get("server"), net_busybox.containers.get("client")
    assert fetches(client, server.ip, 80)
    with who_comes(stranger) as seen:
        client.exec(["nc", "-w", "2", THERE, "7777"], input=b"")
        assert seen() == HERE
    assert stranger.refused(server.ip, 80)


def test_a_connection_lives_through_a_reload(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    port = net.free_port()
    server = net_busybox.containers.run(
        "busybox", ["nc", "-lp", "80", "-e", "cat"], detach=True, publish=[f"{port}:80"]
    )
    server.wait_for_port(80, timeout=PATIENCE)

    def connected() -> socket.socket:
        return socket.create_connection((HERE, port), PATIENCE)

    with net.in_namespace(stranger.pid, connected) as client:
        for _ in range(3):
            client.sendall(b"ping")
            assert client.recv(4, socket.MSG_WAITALL) == b"ping"
            RELOADS[0]()
            wait_for(lambda: "table inet minidock" in nft("list", "tables"), 10, "the table after the reload")


def test_loaded_again_while_nothing_runs(net_cli: Cli, stranger: Stranger) -> None:
    """The next container makes it right."""
    net_cli.ok("run", "--rm", "busybox", "true")
    RELOADS[0]()
    with who_comes(stranger) as seen:
        net_cli("run", "--rm", "busybox", "nc", "-w", "5", THERE, "7777")
        assert seen() == HERE


def test_doctor(net_cli: Cli, net_busybox: minidock.Engine) -> None:
    """It says who drops, and that containers' packets pass; or which rule is missing."""
    net_busybox.containers.run("busybox", SLEEP, detach=True)
    said = net_cli("doctor").stdout.decode()
    chain = "FORWARD of nf_tables table ip filter" if is_ufw() else "forward of nf_tables table inet filter"
    assert f"chain {chain} drops what is forwarded, but not what is the containers'" in said, said
    assert "could not be changed" not in said


def test_what_was_put_into_others_chains_goes(net_busybox: minidock.Engine) -> None:
    """With the last network the host's rules are as they were."""

    def rules() -> list[str]:
        return nft("-s", "list", "ruleset").splitlines()

    before = rules()
    network = net_busybox.networks.create(f"n{secrets.token_hex(3)}")
    assert "MINIDOCK" in "".join(rules())
    network.remove()
    assert rules() == before


def test_a_new_chain_that_rejects_the_rest(net_busybox: minidock.Engine, stranger: Stranger) -> None:
    """A chain that somebody makes while containers run is opened too, if it is a rule that lets nothing pass."""
    port = net.free_port()
    web(net_busybox, publish=[f"{port}:80"])
    table = f"t{secrets.token_hex(3)}"
    try:
        nft("add", "table", "inet", table)
        nft("add", "chain", "inet", table, "own", "{ type filter hook forward priority 10; }")
        nft("add", "rule", "inet", table, "own", "ct", "state", "established", "accept")
        nft("add", "rule", "inet", table, "own", "counter", "reject")
        wait_for(lambda: not stranger.refused(HERE, port), 10, "the port behind a chain that rejects the rest")
    finally:
        nft("delete", "table", "inet", table)
