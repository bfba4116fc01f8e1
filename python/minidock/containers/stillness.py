"""Containers that do not change for a while: not started, or frozen, as long as somebody looks at their files."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock.containers import states
from minidock.containers.base import translated
from minidock.errors import ContainerNotFound

if TYPE_CHECKING:
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.store.paths import Paths

_ANSWER_SECONDS = 5.0


@contextmanager
def held(paths: Paths, container_id: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a container's directory for a ``with`` block: nobody starts it meanwhile.

    Who writes to its files while it does not run holds it alone. Raises ContainerNotFound.
    """
    try:
        fd = os.open(paths.container(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ContainerNotFound(f"no such container: {container_id}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def still(lifecycle: Lifecycle, container_id: str, *, pause: bool) -> Iterator[Record]:
    """Keep a container from being started for a ``with`` block; with ``pause``, one that runs is frozen meanwhile.

    Whatever becomes of this process, nothing stays frozen: its supervisor, to which it is connected, sees to that.
    Raises ContainerNotFound, Timeout when the supervisor does not answer, Unsupported without a freezer.
    """
    record, _ = lifecycle.settle(lifecycle.store.containers.get(container_id))
    with held(lifecycle.paths, record.id, shared=True):
        record, state = lifecycle.settle(lifecycle.store.containers.get(record.id))
        if lifecycle.store.containers.get(record.id).state != states.RUNNING:
            lifecycle.wait_for_the_last_run(record.id)
            yield record
        elif pause and state.status == states.RUNNING:
            with _frozen(lifecycle, record):
                yield record
        else:
            yield record


@contextmanager
def _frozen(lifecycle: Lifecycle, record: Record) -> Iterator[None]:
    from minidock.containers.runtime_spec import cgroups_path

    path = cgroups_path(record)
    mark = lifecycle.pause_mark(record.id)
    with lifecycle.connect(record.id) as supervisor:
        with translated():
            supervisor.request(msgspec.json.encode({"op": "hold", "unless": mark}), timeout=_ANSWER_SECONDS)
            _native.cgroup_freeze(path)
        lifecycle.emit(record, "pause")
        try:
            yield
        finally:
            # Somebody may have paused it meanwhile, or ended it.
            if not os.path.exists(mark):
                with contextlib.suppress(_native.NativeError):
                    _native.cgroup_thaw(path)
            lifecycle.emit(record, "unpause")
