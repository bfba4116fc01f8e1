"""Signals to, and waits for, processes of containers that another process supervises, race-free by pidfd."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

from minidock.containers import liveness
from minidock.errors import Timeout

if TYPE_CHECKING:
    from minidock.containers.liveness import PidFile


class Gone(Exception):  # noqa: N818 - control flow between two modules
    """The process has ended."""


def _open(pid: int, started: int) -> int:
    """Return a pidfd of the process that started at ``started``; raise Gone when it has ended."""
    try:
        fd = os.pidfd_open(pid)
    except (ProcessLookupError, OSError) as error:
        raise Gone from error
    # Looked at after the descriptor is held: the number cannot be given to another process unnoticed.
    if not liveness.alive(pid, started):
        os.close(fd)
        raise Gone
    return fd


def send(file: PidFile, number: int) -> None:
    """Send a signal to PID 1 of a container, or, before there is one, to its supervisor. Raises Gone at its end."""
    fd = _open(file.pid, file.start_time) if file.pid else _open(file.supervisor, file.supervisor_start)
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError as error:
        raise Gone from error
    finally:
        os.close(fd)


def wait_supervisor(file: PidFile, timeout: float | None) -> None:
    """Wait until a supervisor has ended. Raises Timeout after ``timeout`` seconds."""
    try:
        fd = _open(file.supervisor, file.supervisor_start)
    except Gone:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(None if timeout is None else max(0.0, timeout) * 1000):
            raise Timeout(f"wait for container: it has not ended within {timeout:g} s")
    finally:
        os.close(fd)


def wait_init(file: PidFile, timeout: float | None) -> bool:
    """Wait until PID 1 of a container has ended, reaped or not; False after ``timeout`` seconds."""
    try:
        fd = _open(file.pid, file.start_time)
    except Gone:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))
    finally:
        os.close(fd)


def kill_supervisor(file: PidFile) -> None:
    """Kill a supervisor, and PID 1 with it."""
    try:
        fd = _open(file.supervisor, file.supervisor_start)
    except Gone:
        return
    try:
        signal.pidfd_send_signal(fd, 9)
    except ProcessLookupError:
        return
    finally:
        os.close(fd)
