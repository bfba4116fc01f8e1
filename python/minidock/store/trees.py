"""Removal of directory trees, safe against links and mounts (R10). The walk itself is native."""

from __future__ import annotations

import os

from minidock._errors import translate
from minidock._native import NativeError
from minidock._native import remove_tree as _remove_tree


def remove_tree(path: str) -> None:
    """Remove the file or directory ``path`` and all below it; a path that does not exist is fine.

    Links are removed, not followed. Raises Conflict when something below is a mount point; then nothing beyond it
    is touched.
    """
    try:
        _remove_tree(path)
    except NativeError as error:
        if not os.path.lexists(path):
            return
        raise translate(error) from error
