"""After a boot: what a restart policy wants to run is started again, by the rules of Docker's daemon when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minidock.containers import control, states
from minidock.containers.container import Container
from minidock.containers.parse.modes import joined
from minidock.errors import ContainerNotFound, MinidockError
from minidock.spec.docker import ZERO_TIME

if TYPE_CHECKING:
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.spec.docker import ContainerState

_WORKERS = 4


class Failure(NamedTuple):
    """A container that could not be started, and why."""

    container: Container
    error: MinidockError


class Restored(NamedTuple):
    """The containers that were started, oldest first, and those that could not be."""

    started: list[Container]
    failed: list[Failure]


def is_wanted(record: Record, state: ContainerState) -> bool:
    """Whether a container that does not run is to be started again after a boot.

    ``always``: yes, even if somebody stopped it. ``unless-stopped``: unless somebody did. ``on-failure``: if it did not
    end with 0, and has restarts left. One that was never started is not.
    """
    if state.status != states.EXITED or state.started_at == ZERO_TIME or record.owned:
        return False
    policy = record.host_config.restart_policy
    if policy.name == "on-failure":
        most = policy.maximum_retry_count
        return state.exit_code != 0 and (not most or record.restart_count < most)
    return policy.name == "always" or (policy.name == "unless-stopped" and not record.has_been_manually_stopped)


def restore(lifecycle: Lifecycle) -> Restored:
    """Settle all containers, and start those that :func:`is_wanted`; see :meth:`ContainerCollection.restore`."""
    waiting: dict[str, Record] = {}
    for row in reversed(lifecycle.store.containers.all()):
        try:
            record, state = lifecycle.settle(row)
        except MinidockError:
            continue  # one with --rm; or what is wrong with one is not to keep the others from being started
        if is_wanted(record, state):
            waiting[record.id] = record
    done = Restored([], [])
    if not waiting:
        return done
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(_WORKERS, len(waiting)), "minidock-restore") as pool:
        while waiting:
            # A container whose namespaces others join comes before them; a circle is an error of its members.
            ready = [record for record in waiting.values() if not _donors(lifecycle, record) & waiting.keys()]
            ready = ready or list(waiting.values())
            for record, error in zip(ready, pool.map(lambda one: _start(lifecycle, one), ready), strict=True):
                del waiting[record.id]
                try:
                    container = Container(lifecycle, *lifecycle.settle(lifecycle.store.containers.get(record.id)))
                except ContainerNotFound:
                    continue  # removed meanwhile
                if error is None:
                    done.started.append(container)
                else:
                    done.failed.append(Failure(container, error))
    return done


def _start(lifecycle: Lifecycle, record: Record) -> MinidockError | None:
    try:
        supervisor, _ = control.start(lifecycle, record.id)
    except MinidockError as error:
        return error
    if supervisor is not None:
        supervisor.close()
    return None


def _donors(lifecycle: Lifecycle, record: Record) -> set[str]:
    """The ids of the containers whose namespaces it joins."""
    config = record.host_config
    names = [joined(mode) for mode in (config.pid_mode, config.ipc_mode, config.network_mode)]
    rows = [lifecycle.store.containers.find(name) for name in names if name is not None]
    return {row.id for row in rows if row is not None}
