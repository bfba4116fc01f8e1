"""Directories of ``RUN --mount=type=cache``: kept between builds, shared by what calls them by the same id."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING

from minidock.build import keys
from minidock.build.locking import locked, taken
from minidock.errors import NotFound
from minidock.store.build_leftovers import UNFINISHED
from minidock.store.failures import translated
from minidock.store.locks import try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.build.dockerfile.instructions import Mount
    from minidock.build.executor import Build
    from minidock.build.stopping import Stop
    from minidock.containers.container import Container
    from minidock.store.paths import Paths
    from minidock.store.store import Store

_POLL_SECONDS = 0.02


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
    stack.callback(os.close, _kept(directory, build.stop))
    if not namespace:
        build.store.build_cache.note_mount(name, identity)
    if mount.sharing == "locked":
        stack.enter_context(locked(build.store.paths, f"mount-{name}", build.stop))
        _wait_for_orphans(build, directory)
    path = f"{directory}/data" if mount.sharing != "private" else _private(directory, stack)
    if not os.path.isdir(path):
        with locked(build.store.paths, f"fill-{name}", build.stop):
            if not os.path.isdir(path) and not _brought(build, name, path):
                _make(build, mount, path)
    return path


def _wait_for_orphans(build: Build, directory: str) -> None:
    """Wait for the end of commands with a cache mount whose builds were killed: their locks went before they do."""
    from minidock.containers import liveness

    def is_orphan(container: Container) -> bool:
        record = container.record
        places = [] if record.step is None else [mount[2] for mount in record.step.mounts]
        owner = record.starter
        return (
            any(place.startswith(f"{directory}/") for place in places)
            and owner is not None
            and not liveness.alive(owner.pid, owner.start_time)
        )

    while any(map(is_orphan, build.engine.containers.list())):
        build.stop.check()
        time.sleep(_POLL_SECONDS)


def bring(build: Build, name: str, identity: str) -> None:
    """Take a cache that is not on this host from those of other machines, where they have it."""
    directory = f"{root(build.store.paths)}/{name}"
    if os.path.isdir(f"{directory}/data") or not build.imports:
        return
    lock = _kept(directory, build.stop)
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
    stack.callback(os.close, _kept(directory, build.stop))
    if sharing == "locked":
        stack.enter_context(locked(build.store.paths, f"mount-{name}", build.stop))
    return f"{directory}/data" if os.path.isdir(f"{directory}/data") else None


def of_client(store: Store, title: str, identity: Sequence[str], stop: Stop, stack: contextlib.ExitStack) -> str:
    """A directory for files of a client of the server, with what it had the last time, and nobody else's until the end
    of ``stack``. ``title`` says what it is."""
    name = keys.key("client", title, *identity)[:32]
    directory = f"{root(store.paths)}/{name}"
    stack.callback(os.close, _kept(directory, stop))
    store.build_cache.note_mount(name, title)
    path = _private(directory, stack)
    with translated("make", path):
        os.makedirs(path, 0o700, exist_ok=True)
    return path


def _brought(build: Build, name: str, path: str) -> bool:
    """Make the directory ``data`` of a cache of what a cache of another machine has; False when none has it."""
    if not build.imports or os.path.basename(path) != "data":
        return False
    with _fresh(path, 0o755) as fresh:
        found = any(one.fetch_mount(build, name, fresh) for one in build.imports)
        if found:
            with translated("make", path):
                os.rename(fresh, path)
        return found


@contextlib.contextmanager
def _fresh(path: str, mode: int) -> Iterator[str]:
    """A new directory beside ``path``, which is removed unless it is renamed; those of killed builds are, too."""
    from minidock.store.trees import remove_tree

    top = os.path.dirname(path)
    with translated("make", path):
        for name in os.listdir(top):  # whoever makes one has the lock ``fill-…``
            if name.endswith(UNFINISHED):
                remove_tree(f"{top}/{name}")
        fresh = f"{path}-{os.urandom(6).hex()}{UNFINISHED}"
        os.mkdir(fresh, mode)
    try:
        yield fresh
    finally:
        if os.path.lexists(fresh):
            remove_tree(fresh)


def _kept(directory: str, stop: Stop) -> int:
    """Make the directory of a cache, unless it is there; nobody removes it until what is returned is closed."""
    # Whoever removes caches takes this lock for itself alone.
    return taken(directory, lambda path: os.makedirs(path, 0o700, exist_ok=True), stop, shared=True)


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

    uid, gid = mount.uid or 0, mount.gid or 0
    mode = 0o755 if mount.mode is None else mount.mode
    with _fresh(path, 0o700) as fresh, translated("make", path):
        if mount.from_:
            stage = build.names.get(mount.from_.lower())
            source = build.source(mount.from_) if stage is None else build.stage_source(stage)
            matches = source.match(mount.source or "/")
            if not matches or not matches[0].is_directory:
                raise NotFound(f"cache mount: no directory {mount.source or '/'} in {mount.from_}")
            copy_files(source, matches[0], fresh)
            top = matches[0].files[0].node.status
            # As with Docker, a directory that is named stays as it is.
            if mount.source.strip("/"):
                uid, gid, mode = top.st_uid, top.st_gid, top.st_mode
        os.chown(fresh, uid, gid)
        os.chmod(fresh, stat.S_IMODE(mode))
        os.rename(fresh, path)
