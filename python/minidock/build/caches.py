"""Directories of ``RUN --mount=type=cache``: kept between builds, shared by what calls them by the same id."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from minidock.build import keys
from minidock.build.locking import locked
from minidock.errors import NotFound
from minidock.store.failures import translated
from minidock.store.locks import try_lock

if TYPE_CHECKING:
    from minidock.build.dockerfile.instructions import Mount
    from minidock.build.executor import Build
    from minidock.store.paths import Paths


def root(paths: Paths) -> str:
    """Where they are."""
    return f"{paths.data}/build/mounts"


def name_of(identity: str, namespace: str = "") -> str:
    """The name of a cache's directory, which is the same on every machine."""
    return keys.key("mount", identity, *([namespace] if namespace else []))[:32]


def note(build: Build, mount: Mount, identity: str) -> None:
    """Remember that the build names a cache, whether its command runs or not."""
    build.mounts_named[name_of(identity)] = (identity, mount.sharing)


def prepare(build: Build, mount: Mount, identity: str, stack: contextlib.ExitStack) -> str:
    """Return the directory of a cache, made if it is not there; what it locks is free at the end of ``stack``."""
    namespace = build.options.namespace
    name = name_of(identity, namespace)
    directory = build.work.join(f"mount-{name}") if namespace else f"{root(build.store.paths)}/{name}"
    with translated("make", directory):
        os.makedirs(directory, 0o700, exist_ok=True)
    if not namespace:
        build.store.build_cache.note_mount(name, identity)
    # Whoever removes caches takes this lock for itself alone.
    stack.callback(os.close, _shared(directory))
    if mount.sharing == "locked":
        stack.enter_context(locked(build.store.paths, f"mount-{name}", build.stop))
    path = f"{directory}/data" if mount.sharing != "private" else _private(directory, stack)
    if not os.path.isdir(path):
        with locked(build.store.paths, f"fill-{name}", build.stop):
            if not os.path.isdir(path) and not _brought(build, name, path):
                _make(build, mount, path)
    return path


def bring(build: Build, name: str, identity: str) -> None:
    """Take a cache that is not on this host from those of other machines, where they have it."""
    directory = f"{root(build.store.paths)}/{name}"
    if os.path.isdir(f"{directory}/data") or not build.imports:
        return
    with translated("make", directory):
        os.makedirs(directory, 0o700, exist_ok=True)
    lock = _shared(directory)
    try:
        with locked(build.store.paths, f"fill-{name}", build.stop):
            if os.path.isdir(f"{directory}/data") or _brought(build, name, f"{directory}/data"):
                build.store.build_cache.note_mount(name, identity)
    finally:
        os.close(lock)


def held(build: Build, name: str, sharing: str, stack: contextlib.ExitStack) -> str | None:
    """The directory of a cache that is here, nobody's to remove until the end of ``stack``; None when it is not."""
    directory = f"{root(build.store.paths)}/{name}"
    if not os.path.isdir(f"{directory}/data"):
        return None
    stack.callback(os.close, _shared(directory))
    if sharing == "locked":
        stack.enter_context(locked(build.store.paths, f"mount-{name}", build.stop))
    return f"{directory}/data" if os.path.isdir(f"{directory}/data") else None


def _brought(build: Build, name: str, path: str) -> bool:
    """Make the directory ``data`` of a cache of what a cache of another machine has; False when none has it."""
    from minidock.store.trees import remove_tree

    if not build.imports or os.path.basename(path) != "data":
        return False
    fresh = f"{path}-{os.urandom(6).hex()}.new"
    with translated("make", fresh):
        os.mkdir(fresh, 0o755)
    try:
        found = any(one.fetch_mount(build, name, fresh) for one in build.imports)
        if found:
            with translated("make", path):
                os.rename(fresh, path)
        return found
    finally:
        if os.path.lexists(fresh):
            remove_tree(fresh)


def _shared(directory: str) -> int:
    while True:
        with translated("lock", directory):
            fd = try_lock(directory, shared=True)
        if fd is not None:
            return fd


def _private(directory: str, stack: contextlib.ExitStack) -> str:
    """The first of the directories of one cache that nobody uses now."""
    number = 0
    while True:
        number += 1
        path = f"{directory}/data" if number == 1 else f"{directory}/data-{number}"
        with translated("lock", path):
            os.close(os.open(f"{path}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            fd = try_lock(f"{path}.lock")
        if fd is not None:
            stack.callback(os.close, fd)
            return path


def _make(build: Build, mount: Mount, path: str) -> None:
    """Make the directory, with what ``from`` and ``source`` say that it begins with."""
    from minidock.build.trees import copy_files

    fresh = f"{path}-{os.urandom(6).hex()}.new"
    with translated("make", path):
        os.mkdir(fresh, 0o700)
        if mount.from_:
            stage = build.names.get(mount.from_.lower())
            source = build.source(mount.from_) if stage is None else build.stage_source(stage)
            matches = source.match(mount.source or "/")
            if not matches or not matches[0].is_directory:
                raise NotFound(f"cache mount: no directory {mount.source or '/'} in {mount.from_}")
            copy_files(source, matches[0], fresh)
        os.chown(fresh, mount.uid or 0, mount.gid or 0)
        os.chmod(fresh, stat.S_IMODE(0o755 if mount.mode is None else mount.mode))
        os.rename(fresh, path)
