"""Hosts whose kernel or settings lack something that networks use (tests/lacking.py stands in for them)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from tests import lacking
from tests.conftest import Cli, Roots, wait_for
from tests.net import answers, in_namespace, serving


class LackingCli(Cli):
    """The command on a host that lacks things."""

    def __init__(self, roots: Roots, *words: str) -> None:
        super().__init__(roots)
        self.words = words

    @property
    def argv(self) -> list[str]:
        """Through tests/lacking.py."""
        return [sys.executable, str(Path(lacking.__file__)), *self.words, "--", *super().argv]


def test_a_host_without_ipv6(net_roots: Roots, net_busybox: minidock.Engine) -> None:
    cli = LackingCli(net_roots, "ipv6")
    container_id = cli.ok("run", "-d", "-p", "80", "busybox", *serving("here")).strip()
    port = cli.ok("port", container_id, "80").strip()
    assert port.startswith("0.0.0.0:")
    assert "\n" not in port
    wait_for(lambda: answers("127.0.0.1", int(port.rpartition(":")[2]), "here\n"), 5)
    done = cli("run", "-d", "-p", "[::1]::80", "busybox", "true")
    assert done.returncode == 125
    assert b"failed to bind host port [::1]:0/tcp: the kernel has no IPv6" in done.stderr


@pytest.mark.skipif(Path("/proc/sys/net/ipv6").exists(), reason="the kernel has IPv6")
def test_a_network_with_ipv6_where_there_is_none(net_roots: Roots, net_busybox: minidock.Engine) -> None:
    done = Cli(net_roots)("network", "create", "--ipv6", "six")
    assert done.returncode == 1
    assert b"the kernel has no IPv6" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert net_busybox.networks.create("four").record.enable_ipv6 is False


def test_a_host_without_nf_tables(net_roots: Roots, net_busybox: minidock.Engine) -> None:
    cli = LackingCli(net_roots, "nftables")
    assert cli.ok("run", "--rm", "--network", "none", "busybox", "echo", "apart") == "apart\n"
    assert cli.ok("run", "--rm", "--network", "host", "busybox", "echo", "shared") == "shared\n"
    for words in (("run", "--rm", "busybox", "true"), ("network", "create", "web")):
        done = cli(*words)
        assert done.returncode in (1, 125)
        assert b"the kernel's nf_tables is missing or incomplete: it needs CONFIG_NF_TABLES, " in done.stderr
        assert b"--network none" in done.stderr
        assert done.stderr.count(b"\n") == 1
    assert cli.ok("ps", "-aq") == ""
    assert {network.name for network in net_busybox.networks.list()} == {"bridge", "host", "none"}
    assert "bridge networks, published ports and NAT are not possible" in cli("doctor").stdout.decode()


@pytest.fixture
def strict_host() -> Iterator[int]:
    """The pid of a process in another host's network, which drops what comes from where it would not send to."""
    script = (
        "ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 192.0.2.1/24 dev v0; ip link set v0 up;"
        " ip link set v1 up; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done; echo; exec sleep 600"
    )
    process = subprocess.Popen(["unshare", "--net", "sh", "-ec", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    yield process.pid
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_host_with_a_strict_rp_filter(net_roots: Roots, strict_host: int, net_busybox: minidock.Engine) -> None:
    cli = LackingCli(net_roots, f"netns={strict_host}")
    cli.ok("run", "-d", "--name", "one", "-p", "8098:80", "busybox", *serving("here"))
    for address in ("127.0.0.1", "192.0.2.1"):
        wait_for(lambda address=address: in_namespace(strict_host, lambda: answers(address, 8098, "here\n")), 5)
    # Not wget: Debian's static one falls over names of protocols.
    fetch = ("sh", "-c", "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 192.0.2.1 8098")
    assert "here\n" in cli.ok("run", "--rm", "busybox", *fetch)
    assert "here\n" in cli.ok("exec", "one", *fetch)
    cli.ok("rm", "-f", "one")
