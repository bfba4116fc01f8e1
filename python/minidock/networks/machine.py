"""What all engines of a machine share: its interfaces and routes, and the lock under which they are changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.errors import SystemFailure
from minidock.networks.addresses import span
from minidock.networks.leases import StillLeaving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.networks.addresses import Span

_LOCKS = ("/run/lock/minidock-networks", "/run/minidock-networks.lock", "/var/lock/minidock-networks")
_PATIENCE = 0.05
_POLL_SECONDS = 0.002


class Host(msgspec.Struct):
    """Routes of the host but the default ones, and the names of its interfaces."""

    routes: list[str]
    interfaces: list[str]

    def spans(self) -> list[Span]:
        """The addresses that the routes lead to."""
        return [span(text) for text in self.routes]


class Busy(StillLeaving):
    """Another process changes networks, and may be waiting for this one: end the transaction, and try again."""

    def wait(self, deadline: float) -> bool:
        """Wait a little; returns whether there is time left."""
        time.sleep(_POLL_SECONDS)
        return time.monotonic() < deadline


def host() -> Host:
    """Look at the host's network."""
    try:
        return msgspec.json.decode(_native.host_network(), type=Host)
    except _native.NativeError as error:
        raise translate(error) from error


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
