"""Work in progress: directories in ``tmp/`` locked by their owners, so that a crash leaves garbage there only."""

from __future__ import annotations

import contextlib
import fcntl
import os
from types import TracebackType

from minidock.errors import MinidockError
from minidock.store import spread
from minidock.store.failures import translated
from minidock.store.locks import lock, try_lock
from minidock.store.paths import Paths
from minidock.store.trees import remove_tree


class Workspace:
    """A directory of one thread's work, on the data root's file system, removed with all that is in it at the end.

    Things are built inside and renamed to where they belong. ``kind`` is part of its name. ``repair`` is for work whose
    interruption leaves rows and directories that disagree: then an exception that is not minidock's own leaves the
    directory as the work of a dead process, and the next engine repairs.
    """

    __slots__ = ("_fd", "_repair", "path")

    def __init__(self, paths: Paths, kind: str, *, repair: bool = False) -> None:
        self._repair = repair
        name = f"{kind}-{os.urandom(6).hex()}"
        path = f"{paths.tmp}/{name}"
        # The sweep takes the same lock, so it never sees a directory between its making and its locking.
        with translated("make", path), lock(paths.tmp):
            born = spread.make(paths, name)
            self._fd = os.open(born, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                os.rename(born, path)
            except BaseException:
                os.close(self._fd)
                raise
        self.path = path

    @property
    def name(self) -> str:
        """Its own name in ``tmp/``."""
        return os.path.basename(self.path)

    def join(self, name: str) -> str:
        """The path of an entry."""
        return f"{self.path}/{name}"

    def clear(self) -> None:
        """Remove what is in it."""
        with translated("clear", self.path):
            for name in os.listdir(self.path):
                remove_tree(self.join(name))

    def close(self) -> None:
        """Remove the directory and what is left in it."""
        if self._fd < 0:
            return
        try:
            try:
                os.rmdir(self.path)
            except OSError:
                remove_tree(self.path)
        finally:
            os.close(self._fd)
            self._fd = -1

    def abandon(self) -> None:
        """Leave the directory as the work of a dead process: the next engine compares all rows and directories."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._repair and kind is not None and not issubclass(kind, MinidockError):
            self.abandon()
            return
        self.close()


def discard(trash: Workspace, path: str) -> None:
    """Move a file or directory of the data root into ``trash``; one that is gone already is fine."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, trash.join(f"{os.path.basename(os.path.dirname(path))}-{os.path.basename(path)}"))


def abandoned(paths: Paths) -> bool:
    """Whether ``tmp/`` holds work of a process that is dead. Costs one directory read when there is none."""
    try:
        names = os.listdir(paths.tmp)
    except OSError:
        return False
    for name in names:
        fd = _claim(f"{paths.tmp}/{name}")
        if fd is not None:
            os.close(fd)
            return True
    return False


def is_alive(paths: Paths, name: str) -> bool:
    """Whether the workspace ``name`` exists and somebody holds it."""
    fd = _claim(f"{paths.tmp}/{name}")
    if fd is None:
        return os.path.lexists(f"{paths.tmp}/{name}")
    os.close(fd)
    return False


def sweep(paths: Paths) -> int:
    """Remove the work of dead processes from ``tmp/``; returns how many entries went.

    What cannot be removed now stays for the next sweep: garbage must not keep an engine from opening.
    """
    claimed: list[tuple[str, int]] = []
    with lock(paths.tmp):
        for path in (*(f"{paths.tmp}/{name}" for name in os.listdir(paths.tmp)), *spread.left(paths)):
            fd = _claim(path)
            if fd is not None:
                claimed.append((path, fd))
    removed = 0
    for path, fd in claimed:
        try:
            remove_tree(path)
            removed += 1
        except MinidockError:
            continue
        finally:
            os.close(fd)
    return removed


def _claim(path: str) -> int | None:
    """Lock an entry whose owner is dead; None while it lives, or when the entry is gone."""
    try:
        return try_lock(path)
    except FileNotFoundError:
        return None
    except OSError:
        # Not a file or directory of ours (a socket, a link): nobody owns it.
        return os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
