"""Locks between processes and threads: flock(2) on a file or directory, given back by the kernel when a holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from minidock.errors import Timeout

_POLL_SECONDS = 0.005


def try_lock(path: str, *, shared: bool = False) -> int | None:
    """Return an fd that holds the lock of ``path``, or None when somebody else holds it. Closing the fd unlocks.

    Raises OSError when ``path`` cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextmanager
def lock(path: str, *, shared: bool = False, timeout: float | None = None) -> Iterator[int]:
    """Hold the lock of an existing file or directory for a ``with`` block; yields the fd that holds it.

    It is not re-entrant. ``timeout`` in seconds; raises Timeout after it, and OSError when ``path`` cannot be opened.
    """
    # Followed, unlike in try_lock: the data root itself, which is locked here, may be a symbolic link.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if timeout is None:
            fcntl.flock(fd, operation)
        else:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(fd, operation | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        raise Timeout(f"lock {path}: another process has held it for {timeout:g} s") from error
                    time.sleep(_POLL_SECONDS)
        yield fd
    finally:
        os.close(fd)
