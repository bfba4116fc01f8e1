"""Removal of directory trees, safe against links and mounts (R10). The walk is native."""

from __future__ import annotations

import os
import stat

from minidock import _native
from minidock._errors import translate
from minidock.store.failures import from_os


def remove_tree(path: str) -> None:
    """Remove the file or directory ``path`` and all below it; a path that does not exist is fine.

    Links are removed, not followed. Raises Conflict when something below is a mount point.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os(error, "remove", path) from error
    try:
        _native.remove_tree(path, status.st_dev, status.st_ino)
    except _native.NativeError as error:
        raise translate(error) from error
