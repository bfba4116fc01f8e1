"""Before a shutdown: every container is stopped, by the rules of Docker's daemon when it ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from minidock.containers import liveness
from minidock.containers.container import Container
from minidock.containers.scopes import STOP_SECONDS
from minidock.errors import ContainerNotFound, MinidockError

if TYPE_CHECKING:
    from minidock.containers.lifecycle import Lifecycle

_SHUTDOWN_SECONDS = 15
"""Docker's ``shutdown-timeout``."""
_MORE_SECONDS = 5
"""What a container is given beyond its own stop timeout, after which its supervisor has killed it."""
_LONGEST_SECONDS = 86_400
"""For one poll(2), whose milliseconds are an int: a stop timeout may be longer than 24 days."""


class Halted(NamedTuple):
    """The containers that were stopped, and those that still run."""

    stopped: list[Container]
    left: list[Container]


def halt(lifecycle: Lifecycle) -> Halted:
    """Stop all containers at once; see :meth:`ContainerCollection.halt`."""
    waited: dict[int, str] = {}
    patience = float(lifecycle.config.shutdown_timeout or _SHUTDOWN_SECONDS)
    for row in lifecycle.store.containers.all():
        try:
            record, state = lifecycle.settle(row)
        except MinidockError:
            continue  # one with --rm; or what is wrong with one is not to keep the others from being stopped
        file = liveness.pid_file(lifecycle.paths.run_container(record.id)) if state.running else None
        if file is None:
            continue
        timeout = record.config.stop_timeout
        patience = max(patience, (timeout if isinstance(timeout, int) else STOP_SECONDS) + _MORE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(file.supervisor)
            waited[pidfd] = record.id
            # The number is nobody else's by now: the descriptor was opened first.
            if liveness.alive(file.supervisor, file.supervisor_start):
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    left = dict(waited)
    poll = select.poll()
    for pidfd in waited:
        poll.register(pidfd, select.POLLIN)
    end = time.monotonic() + patience
    try:
        while left and (rest := end - time.monotonic()) > 0:
            for pidfd, _ in poll.poll(min(rest, _LONGEST_SECONDS) * 1000):
                poll.unregister(pidfd)
                del left[pidfd]
    finally:
        for pidfd in waited:
            os.close(pidfd)
    found = Halted([], [])
    for pidfd, container_id in waited.items():
        row_now = lifecycle.store.containers.find(container_id)
        with contextlib.suppress(ContainerNotFound):
            if row_now is not None:
                (found.left if pidfd in left else found.stopped).append(
                    Container(lifecycle, *lifecycle.settle(row_now))
                )
    return found
