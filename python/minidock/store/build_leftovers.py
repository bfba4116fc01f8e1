"""What builds leave that were killed: locks, files of secrets, and cache mounts that are half made."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from minidock.errors import MinidockError
from minidock.store.locks import try_lock
from minidock.store.trees import remove_tree
from minidock.store.workspace import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.store.database import Database

UNFINISHED = ".new"
"""Ends the name of a directory that is to become a cache mount's files."""


def clear(database: Database) -> None:
    """Remove it; what belongs to a build that goes on stays, and what cannot be removed now. Raises OSError."""
    paths = database.paths
    for path in _entries(f"{paths.data}/build/locks"):
        with _locked(path) as ours:
            if ours:
                _remove(path)
    for path in _entries(f"{paths.run}/build"):
        # Named after the workspace of the build.
        if not is_alive(paths, os.path.basename(path).rpartition(".")[0]):
            _remove(path)
    for path in _entries(f"{paths.data}/build/mounts"):
        with _locked(path) as ours:
            if not ours:
                continue
            if not database.row("SELECT 1 FROM build_mounts WHERE name = ?", (os.path.basename(path),)):
                _remove(path)
                continue
            for entry in _entries(path):
                if entry.endswith(UNFINISHED):
                    _remove(entry)


def _remove(path: str) -> None:
    with contextlib.suppress(MinidockError):
        remove_tree(path)


def _entries(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in os.listdir(directory)]
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _locked(path: str) -> Iterator[bool]:
    """Hold the lock of a file or directory for the block; False when somebody uses it, or it is gone."""
    try:
        fd = try_lock(path)
    except OSError:
        fd = None
    if fd is None:
        yield False
        return
    try:
        # Another one may have come under its name before it was locked.
        same = False
        with contextlib.suppress(FileNotFoundError):
            same = os.path.samestat(os.stat(path), os.fstat(fd))
        yield same
    finally:
        os.close(fd)
