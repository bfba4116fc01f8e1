"""What tests of networks share: what the kernel has, hosts in namespaces of their own, small servers and clients."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    import minidock
    from tests.conftest import Roots

_Result = TypeVar("_Result")
_NETLINK_NETFILTER = 12
_GET_TABLES = 10 << 8 | 1
_REQUEST_DUMP = 0x301
_NAME = 1
_DONE = 3
_NEW_NETWORK = 0x40000000


HAS_IPV6 = Path("/proc/sys/net/ipv6").exists()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="the kernel has no IPv6")
LOOPBACKS = ["127.0.0.1", "::1"] if HAS_IPV6 else ["127.0.0.1"]
EVERYWHERE = ["0.0.0.0", "::"] if HAS_IPV6 else ["0.0.0.0"]
"""The host's addresses that a port without one is published on."""


def mark(run_root: Path | str) -> str:
    """The part of the names of table and default bridge that is a run root's own."""
    return hashlib.sha256(str(run_root).encode()).hexdigest()[:8]


def interfaces() -> set[str]:
    """The host's interfaces."""
    return set(os.listdir("/sys/class/net"))


def tables() -> set[str]:
    """The names of all nf_tables tables of this network namespace."""
    found = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHIIBBH", 20, _GET_TABLES, _REQUEST_DUMP, 1, 0, 0, 0, 0))
        while True:
            data = netlink.recv(1 << 16)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind in (_DONE, 2):
                    return found
                found |= _names(data[at + 20 : at + length])
                at += (length + 3) & ~3


def _names(attributes: bytes) -> set[str]:
    found = set()
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if kind & 0x3FFF == _NAME:
            found.add(attributes[at + 4 : at + length].rstrip(b"\0").decode())
        at += (length + 3) & ~3
    return found


def host() -> dict[str, set[str]]:
    """What the host has of interfaces, nf_tables tables, routes, and network namespaces with a process in them."""
    namespaces = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            namespaces.add(os.readlink(f"/proc/{pid}/ns/net"))
    v4 = {tuple(line.split()[:3]) for line in Path("/proc/net/route").read_text().splitlines()[1:]}
    v6 = {tuple(line.split()[:2] + line.split()[-1:]) for line in Path("/proc/net/ipv6_route").read_text().splitlines()}
    routes = {" ".join(words) for words in v4 | v6}
    return {"interfaces": interfaces(), "tables": tables(), "routes": routes, "namespaces": namespaces}


def leaks(roots: Roots, bridges: set[str]) -> list[str]:
    """What is left of a test's networks."""
    digits = mark(roots.run)
    found = [f"interface {name}" for name in interfaces() if name in bridges or name == f"mdb-{digits}"]
    return found + [f"table {name}" for name in tables() if name == f"minidock-{digits}"]


def remove_all(engine: minidock.Engine) -> set[str]:
    """Remove all containers and networks, the default one too; returns the names of the bridges that there were."""
    for container in engine.containers.list(all=True):
        container.remove(force=True)
    networks = engine.networks
    found = [network.record for network in networks.list()]
    bridges = {record.bridge for record in found if record.bridge}
    errors = networks.take(found)
    assert not any(errors), errors
    return bridges


def in_namespace(pid: int, act: Callable[[], _Result]) -> _Result:
    """Return what ``act`` returns when it is called in the network namespace of a process, in a thread of its own."""
    box: list[_Result | BaseException] = []

    def run() -> None:
        try:
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(fd, _NEW_NETWORK):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(fd)
            box.append(act())
        except BaseException as error:
            box.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    [result] = box
    if isinstance(result, BaseException):
        raise result
    return result


def get(host: str, port: int, path: str = "/", timeout: float = 30.0) -> str:
    """The body of what an HTTP server answers."""
    import http.client

    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def answers(host: str, port: int, text: str) -> bool:
    """Whether an HTTP server answers with a text by now; a proxy before it may be there already."""
    with contextlib.suppress(ConnectionError):
        return get(host, port) == text
    return False


SERVE = "mkdir -p /www; echo {text} > /www/index.html; exec httpd -f -p {port} -h /www"


def serving(text: str, port: int = 80) -> list[str]:
    """The command of a web server that answers with a text."""
    return ["sh", "-c", SERVE.format(text=text, port=port)]


def host_addresses() -> list[str]:
    """The IPv4 addresses of this host, but for those of the loopback interface."""
    found = []
    for line in Path("/proc/net/fib_trie").read_text().splitlines():
        word = line.split()[-1] if line.split() else ""
        if word.count(".") == 3:
            last = word
        if "/32 host LOCAL" in line and not last.startswith("127.") and last not in found:
            found.append(last)
    return found


@contextlib.contextmanager
def listener(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens on an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as it:
        it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        it.bind((host, port))
        it.listen()
        yield it


_given: set[int] = set()


def free_port() -> int:
    """A port that nobody had a moment ago, and that the kernel gives to nobody by itself until it is used."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    while True:
        port = 15_000 + secrets.randbelow(15_000)
        if first <= port <= last or port in _given:
            continue
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            for it in (tcp, udp):
                it.bind(("", port))
            _given.add(port)
            return port
