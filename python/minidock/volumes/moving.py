"""Moving a tree of files over another, so that it can be gone on with after a crash.

Both may be a container's: directories are entered by descriptor, and links never followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from minidock.errors import LimitExceeded
from minidock.store.failures import translated
from minidock.store.trees import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DEEPEST = 250
"""Directories below each other that are in both trees; each costs two descriptors."""


def move(source: str, target: str, trash: str) -> None:
    """Move all in the directory ``source`` into the directory ``target``, and take ``source`` away.

    Directories that both have become one, with the owner, mode, times and attributes of ``source``'s; whatever else is
    in the way goes. ``trash`` is a name for a directory beside ``source``. A call that was cut short, anywhere, can be
    repeated. Raises LimitExceeded for trees too deep, and what the file system says.
    """
    with translated("move files to", target):
        with _opened(source) as from_fd, _opened(target) as to_fd:
            before = os.fstat(from_fd)
            with contextlib.suppress(FileExistsError):
                os.mkdir(trash, 0o700)
            with _opened(trash) as trash_fd:
                _move(from_fd, to_fd, trash_fd, 0)
            _copy_facts(from_fd, to_fd, before)
        remove_tree(trash)
        os.rmdir(source)


def copy_facts(source: str, target: str) -> None:
    """Give the directory ``target`` the owner, mode, times and attributes of the directory ``source``."""
    with translated("change", target), _opened(source) as from_fd, _opened(target) as to_fd:
        _copy_facts(from_fd, to_fd, os.fstat(from_fd))


@contextlib.contextmanager
def _opened(name: str, parent: int | None = None) -> Iterator[int]:
    fd = os.open(name, _FLAGS, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def _move(source: int, target: int, trash: int, depth: int) -> None:
    if depth > DEEPEST:
        raise LimitExceeded(f"move files: more than {DEEPEST} directories below each other are in both trees")
    for name in os.listdir(source):
        new = os.lstat(name, dir_fd=source)
        old = _status(name, target)
        if old is not None and stat.S_ISDIR(old.st_mode):
            if stat.S_ISDIR(new.st_mode):
                with _opened(name, source) as from_fd, _opened(name, target) as to_fd:
                    _move(from_fd, to_fd, trash, depth + 1)
                    _copy_facts(from_fd, to_fd, new)
                os.rmdir(name, dir_fd=source)
                continue
            os.rename(name, os.urandom(8).hex(), src_dir_fd=target, dst_dir_fd=trash)
        elif old is not None and stat.S_ISDIR(new.st_mode):
            os.unlink(name, dir_fd=target)
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None


def _copy_facts(source: int, target: int, status: os.stat_result) -> None:
    """``status`` is what ``source`` had before entries were moved out of it, which changes its times."""
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    with contextlib.suppress(OSError):  # a file system without attributes, or one that refuses these
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
