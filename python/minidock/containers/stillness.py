"""Containers that do not change for a while: not started, or frozen, as long as somebody looks at their files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock.containers import states
from minidock.containers.base import translated
from minidock.errors import Conflict, ContainerNotFound, NotFound, Timeout
from minidock.store.locks import lock

if TYPE_CHECKING:
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.store.paths import Paths

_ANSWER_SECONDS = 5.0
_HELD_SECONDS = 60.0


@contextmanager
def held(paths: Paths, container_id: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a container's directory for a ``with`` block: nobody starts it meanwhile.

    Who writes to its files while it does not run holds it alone. Raises ContainerNotFound, and Timeout when somebody
    else has held it for a minute.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(paths.container(container_id), shared=shared, timeout=_HELD_SECONDS))
        except FileNotFoundError as error:
            raise ContainerNotFound(f"no such container: {container_id}") from error
        except Timeout as error:
            raise Timeout(
                f"container {container_id}: another process has been copying or changing its files for "
                f"{_HELD_SECONDS:g} s; wait for it, or end it"
            ) from error
        yield


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
            return
        with contextlib.ExitStack() as stack:
            if pause and state.status == states.RUNNING:
                try:
                    stack.enter_context(_frozen(lifecycle, record))
                except (Conflict, NotFound):
                    if not _has_ended(lifecycle, record.id):
                        raise
            yield record


def _has_ended(lifecycle: Lifecycle, container_id: str) -> bool:
    """Whether a container that could not be frozen has just ended; who reaps it may be about to say so."""
    end = time.monotonic() + _ANSWER_SECONDS
    while lifecycle.settle(lifecycle.store.containers.get(container_id))[1].status == states.RUNNING:
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def _frozen(lifecycle: Lifecycle, record: Record) -> Iterator[None]:
    from minidock.containers.runtime_spec import cgroups_path

    path = cgroups_path(record)
    mark = lifecycle.pause_mark(record.id)
    with lifecycle.connect(record.id) as supervisor:
        with translated():
            try:
                supervisor.request(msgspec.json.encode({"op": "hold", "unless": mark}), timeout=_ANSWER_SECONDS)
            except _native.SupervisorGone as error:
                raise Conflict(f"container {record.id} is not running") from error
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
