"""What all engines of a machine share: its interfaces and routes, and the lock under which they are changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from minidock.errors import SystemFailure
from minidock.networks.leases import StillLeaving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.networks.addresses import Span

_LOCKS = ("/run/lock/minidock-networks", "/run/minidock-networks.lock", "/var/lock/minidock-networks")
_PATIENCE = 0.05
_POLL_SECONDS = 0.002


class Host:
    """The host's network: its routes but the default ones, and its interfaces. Read anew by every call.

    From files of /proc and /sys: with hundreds of networks netlink takes many milliseconds to tell of them.
    """

    def spans(self, *, ipv6: bool) -> list[Span]:
        """The addresses that routes lead to; those of IPv6 only if they are asked for."""
        found = []
        for line in _lines("/proc/thread-self/net/route")[1:]:
            words = line.split()
            first, mask = (int.from_bytes(bytes.fromhex(words[at]), "little") for at in (1, 7))
            if mask:
                found.append((4, first, first | mask ^ 0xFFFFFFFF))
        for line in _lines("/proc/thread-self/net/ipv6_route") if ipv6 else ():
            words = line.split()
            first, host = int(words[0], 16), 128 - int(words[1], 16)
            # Neither the default route, nor those to groups and to neighbours, which all interfaces have.
            if host < 128 and first >> 120 != 0xFF and first >> 118 != 0xFE80 >> 6:
                found.append((6, first, first | (1 << host) - 1))
        return found

    def has_interface(self, name: str) -> bool:
        """Whether there is an interface of this name."""
        return os.path.lexists(f"/sys/class/net/{name}")


host = Host()


class Busy(StillLeaving):
    """Another process changes networks, and may be waiting for this one: end the transaction, and try again."""

    def wait(self, deadline: float) -> bool:
        """Wait a little; returns whether there is time left."""
        time.sleep(_POLL_SECONDS)
        return time.monotonic() < deadline


def _lines(path: str) -> list[str]:
    """The lines of a file of the kernel; none if it has no such protocol."""
    try:
        with open(path, encoding="ascii") as file:
            return file.readlines()
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def lock(*, patient: bool) -> Iterator[None]:
    """Hold the machine's lock: nobody else chooses a subnet, makes or removes a bridge.

    It is taken before that of a database. Inside a transaction be not ``patient``: Busy comes soon then.
    """
    fd = _open()
    try:
        if patient:
            fcntl.flock(fd, fcntl.LOCK_EX)
        else:
            deadline = time.monotonic() + _PATIENCE
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise Busy("networks are being changed by another process; try again", []) from None
                    time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(fd)


def _open() -> int:
    failure: OSError | None = None
    for path in _LOCKS:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            failure = failure or error
    assert failure is not None  # noqa: S101 - there is a path at least
    cause = (failure.strerror or str(failure)).lower()
    raise SystemFailure(f"lock the machine's networks: open {_LOCKS[0]}: {cause}") from failure
