"""Other hosts: network namespaces that are connected to this one stand in for those."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import net
from tests.leaks import SLOWNESS

HERE, THERE = "198.51.100.1", "198.51.100.2"
HERE6, THERE6 = "2001:db8:77::1", "2001:db8:77::2"


class Stranger:
    """Another host, by the process that its namespace lives with."""

    def __init__(self, pid: int, interface: str) -> None:
        self.pid = pid
        self.interface = interface

    def ip(self, *words: str) -> None:
        """Run ``ip`` there."""
        subprocess.run(["nsenter", "-t", str(self.pid), "-n", "ip", *words], check=True)

    def get(self, host: str, port: int, timeout: float = 30) -> str:
        """What a web server answers to it."""
        return net.in_namespace(self.pid, lambda: net.get(host, port, timeout=timeout))

    def refused(self, host: str, port: int) -> bool:
        """Whether it gets no connection."""
        try:
            self.get(host, port, 3 * SLOWNESS)
        except OSError:
            return True
        return False


@contextlib.contextmanager
def neighbour(rp_filter: str = "0", *, ipv6: bool = False) -> Iterator[Stranger]:
    """A host at ``THERE``, on a network on which this one is ``HERE``, and whose default route leads here."""
    name = f"mth{secrets.token_hex(3)}"
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as holder:
        try:
            ours = Path("/proc/self/ns/net").readlink()
            while Path(f"/proc/{holder.pid}/ns/net").readlink() == ours:
                assert holder.poll() is None
            pid = str(holder.pid)
            words = ["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid]
            subprocess.run(["ip", *words], check=True)
            subprocess.run(["ip", "address", "add", f"{HERE}/24", "dev", name], check=True)
            Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text(rp_filter)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
            it = Stranger(holder.pid, name)
            it.ip("address", "add", f"{THERE}/24", "dev", "eth0")
            it.ip("link", "set", "eth0", "up")
            it.ip("link", "set", "lo", "up")
            it.ip("route", "add", "default", "via", HERE)
            if ipv6:
                subprocess.run(["ip", "address", "add", f"{HERE6}/64", "dev", name, "nodad"], check=True)
                it.ip("address", "add", f"{THERE6}/64", "dev", "eth0", "nodad")
                it.ip("route", "add", "default", "via", HERE6)
            yield it
        finally:
            subprocess.run(["ip", "link", "delete", name], check=False, stderr=subprocess.DEVNULL)
            holder.kill()


@contextlib.contextmanager
def who_comes(stranger: Stranger, host: str = THERE) -> Iterator[Callable[[], str | None]]:
    """A server on the other host; gives the address that its first client had, None if none had come until then."""
    found: list[str] = []
    ready, asked, done = threading.Event(), threading.Event(), threading.Event()

    def serve() -> None:
        with net.listener(host, 7777) as server:
            server.settimeout(0.2)
            ready.set()
            last = False
            while not found and not last:
                last = asked.is_set()  # before the look: whoever has come until then waits already
                with contextlib.suppress(TimeoutError):
                    client, address = server.accept()
                    client.close()
                    found.append(address[0])
        done.set()

    thread = threading.Thread(target=lambda: net.in_namespace(stranger.pid, serve))
    thread.start()
    assert ready.wait(30 * SLOWNESS)

    def seen() -> str | None:
        asked.set()
        assert done.wait(30 * SLOWNESS)
        return found[0] if found else None

    try:
        yield seen
    finally:
        asked.set()
        thread.join()
