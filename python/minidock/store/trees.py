"""Removal of directory trees, safe against links (R10)."""

from __future__ import annotations

import os
import stat

from minidock.store.failures import from_os


def remove_tree(path: str) -> None:
    """Remove the file or directory ``path`` and all below it; a path that does not exist is fine.

    Links are removed, not followed; each directory is reached from the descriptor of the one above it.
    """
    parent, name = os.path.split(path)
    try:
        fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _remove(fd, name)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os(error, "remove", path) from error


def _remove(parent: int, name: str) -> None:
    status = os.lstat(name, dir_fd=parent)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        for entry in os.listdir(fd):
            _remove(fd, entry)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
