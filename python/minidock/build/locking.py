"""Locks of builds: one process does a step, the others wait for it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from minidock.store.failures import translated
from minidock.store.locks import try_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.build.stopping import Stop
    from minidock.store.paths import Paths

_POLL_SECONDS = 0.01


@contextlib.contextmanager
def locked(paths: Paths, name: str, stop: Stop) -> Iterator[None]:
    """Hold the lock ``name`` for a ``with`` block. Raises Cancelled when the build is to end while it waits."""
    directory = f"{paths.data}/build/locks"
    with translated("make", directory):
        os.makedirs(directory, 0o700, exist_ok=True)
    path = f"{directory}/{name}"
    fd = taken(path, _touch, stop)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(fd)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def taken(path: str, make: Callable[[str], object], stop: Stop, *, shared: bool = False) -> int:
    """Return the lock of a file or directory that ``make`` makes unless it is there; closing it unlocks.

    Raises Cancelled as :func:`locked`.
    """
    while True:
        with translated("lock", path):
            make(path)
            try:
                fd = try_lock(path, shared=shared)
            except FileNotFoundError:
                continue
        if fd is None:
            stop.check()
            time.sleep(_POLL_SECONDS)
            continue
        # Its last holder may have removed it before this one locked it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                return fd
        os.close(fd)
