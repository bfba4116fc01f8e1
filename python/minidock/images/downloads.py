"""Blobs that are being fetched: ``downloads/HEX/data``, kept over interruptions so that a later pull goes on there.

Whoever fetches a blob holds the lock of its directory, until the image that it belongs to is in the store; others wait,
or find its layer in the store meanwhile. What nobody holds is removed by ``image prune``, or after a day.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from minidock.store.failures import from_os, translated
from minidock.store.locks import try_lock
from minidock.store.paths import make_directory
from minidock.store.workspace import discard

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.registry.cancel import Cancel
    from minidock.store.paths import Paths
    from minidock.store.workspace import Workspace

_POLL_SECONDS = 0.05
_KEEP_SECONDS = 24 * 3600.0


class Claim:
    """The right to fetch one blob. ``path`` is the file that it grows in."""

    def __init__(self, directory: str, fd: int) -> None:
        self._directory = directory
        self._fd = fd
        self.path = f"{directory}/data"

    def open(self) -> tuple[int, int]:
        """Open the file, made if need be; returns a descriptor to read and write by, and the bytes that are there."""
        with translated("open", self.path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self.path, flags, 0o600)
            return fd, os.fstat(fd).st_size

    def clear(self) -> None:
        """Forget what was fetched: it is not what it should be, or not needed any more."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def close(self) -> None:
        """Give up the right; an empty file goes, and an empty directory."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                if os.stat(self.path).st_size == 0:
                    os.unlink(self.path)
            with contextlib.suppress(OSError):
                os.rmdir(self._directory)
            os.close(self._fd)
            self._fd = -1


def claim(paths: Paths, digest: str, cancel: Cancel, elsewhere: Callable[[], bool]) -> Claim | None:
    """Wait for the right to fetch a blob; None when ``elsewhere()`` says that it is not needed any more.

    Raises what ``cancel`` raises, and NoSpace.
    """
    directory = paths.download(digest)
    with translated("make", directory):
        while True:
            cancel.check()
            try:
                make_directory(directory)
                fd = try_lock(directory)
            except FileNotFoundError:
                if not os.path.isdir(paths.downloads):
                    raise
                continue  # removed by its last holder just now
            if fd is not None:
                if _is_there(directory, fd):
                    return Claim(directory, fd)
                os.close(fd)
                continue
            if elsewhere():
                return None
            cancel.wait(_POLL_SECONDS)


def left(paths: Paths, digest: str) -> Claim | None:
    """The right to a blob that somebody has begun to fetch and nobody fetches now; None: there is no such."""
    directory = paths.download(digest)
    with translated("open", directory):
        try:
            fd = try_lock(directory)
        except FileNotFoundError:
            return None
    if fd is not None and _is_there(directory, fd):
        return Claim(directory, fd)
    if fd is not None:
        os.close(fd)
    return None


def _is_there(directory: str, fd: int) -> bool:
    try:
        named, held = os.stat(directory), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def space(paths: Paths) -> int:
    """Bytes of all blobs that are being fetched or were interrupted."""
    total = 0
    for name in _names(paths):
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(f"{paths.downloads}/{name}/data").st_size
    return total


def discard_idle(paths: Paths, trash: Workspace, *, older_than: float = 0.0) -> int:
    """Move what nobody fetches, since ``older_than`` seconds, into ``trash``; returns how many bytes that are."""
    total = 0
    for name in _names(paths):
        directory = f"{paths.downloads}/{name}"
        try:
            fd = try_lock(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise from_os(error, "look at", directory) from error
        if fd is None:
            continue
        try:
            if not _is_there(directory, fd):
                continue  # it went, and there may be another one under its name, which is somebody's
            size, changed = 0, os.fstat(fd).st_mtime
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(f"{directory}/data")
                size, changed = status.st_size, status.st_mtime
            if time.time() - changed >= older_than:
                discard(trash, directory)
                total += size
        finally:
            os.close(fd)
    return total


def discard_old(paths: Paths, trash: Workspace) -> None:
    """Remove what was interrupted long ago."""
    discard_idle(paths, trash, older_than=_KEEP_SECONDS)


def _names(paths: Paths) -> list[str]:
    try:
        return os.listdir(paths.downloads)
    except FileNotFoundError:
        return []
