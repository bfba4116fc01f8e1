"""How much a container has written, and how large its root filesystem is with its image."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.listing import AnyRecord

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DEEPEST = 400
"""Directories below each other that are counted; each costs a descriptor."""


def sizes(record: AnyRecord, lifecycle: Lifecycle) -> tuple[int, int]:
    """Return ``SizeRw`` and ``SizeRootFs`` in bytes of the container ``record``."""
    image = lifecycle.store.images.by_id(record.image) if record.image else None
    below = image.size if image is not None else 0
    directory = lifecycle.paths.container(record.id)
    if os.path.isdir(f"{directory}/rw/upper"):
        written = tree_size(f"{directory}/rw/upper")
        return written, below + written
    whole = tree_size(f"{directory}/rw/fs")
    return max(whole - below, 0), whole


def tree_size(path: str) -> int:
    """Return the bytes of the regular files below ``path``, one with several names once; 0 if it is missing.

    The tree may belong to a running container: directories are entered by descriptor, links never followed, and what
    vanishes meanwhile is not counted.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    try:
        levels = [os.open(path, _FLAGS)]
    except OSError:
        return 0
    try:
        names = [os.listdir(levels[0])]
        while levels:
            if not names[-1]:
                names.pop()
                os.close(levels.pop())
                continue
            name = names[-1].pop()
            try:
                status = os.lstat(name, dir_fd=levels[-1])
                if stat.S_ISDIR(status.st_mode) and len(levels) < DEEPEST:
                    levels.append(os.open(name, _FLAGS, dir_fd=levels[-1]))
                    names.append([])
                    names[-1] += os.listdir(levels[-1])
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                key = (status.st_dev, status.st_ino)
                if status.st_nlink == 1 or key not in seen:
                    total += status.st_size
                    seen.add(key)
    finally:
        for level in levels:
            os.close(level)
    return total
