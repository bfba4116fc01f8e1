"""Verbs for containers that run: stop, kill, pause, unpause, restart, wait; and rename, for all.

The supervisor does them where it can, so that they are in order with what it does itself. One that does not answer (it
was stopped by SIGSTOP, or the machine is out of memory) is gone around: by the container's own processes and cgroup.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.containers import liveness, names, states
from minidock.containers import record as records
from minidock.containers.base import translated
from minidock.containers.exits import exit_status
from minidock.containers.parse import signals
from minidock.containers.runtime_spec import cgroups_path
from minidock.containers.settling import KILLED
from minidock.containers.waiting import Gone, send, wait_init, wait_supervisor
from minidock.errors import (
    Conflict,
    ContainerNotFound,
    InvalidArgument,
    MinidockError,
    NoSpace,
    NotFound,
    SystemFailure,
    Timeout,
)
from minidock.store.locks import lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.containers.base import Base
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.spec.docker import ContainerState

ANSWER_SECONDS = 5.0
"""How long a supervisor may take to answer; then it is gone around."""
_KILL_SECONDS = 10.0
_FOREVER_MS = (1 << 31) - 1
_GRACE_SECONDS = 10.0
"""How long a supervisor that has answered may take to record the end of what it has killed."""
_PATIENCE = 10.0
"""How long another process may take to freeze or start the same container."""
_LOOK_SECONDS = 0.02

CONDITIONS = ("not-running", "next-exit", "removed", "healthy")


def tell(lifecycle: Base, record: Record, request: dict[str, Any]) -> bool:
    """Have the supervisor of a container carry out a request of docs/supervisor.md; False when it has none.

    Raises Conflict when it refuses, Timeout when it does not answer.
    """
    try:
        supervisor = lifecycle.connect(record.id)
    except NotFound:
        return False
    with supervisor, translated():
        try:
            supervisor.request(msgspec.json.encode(request), timeout=ANSWER_SECONDS)
        except _native.SupervisorGone:
            return False
    return True


def _look(lifecycle: Lifecycle, key: str) -> tuple[Record, ContainerState]:
    return lifecycle.settle(lifecycle.store.containers.get(key))


def _mark_stopped(lifecycle: Lifecycle, record: Record) -> None:
    def mark(now_record: Record) -> None:
        now_record.has_been_manually_stopped = True

    # A full disk must not keep anybody from stopping what fills it.
    with contextlib.suppress(NoSpace):
        lifecycle.modify(record.id, mark)


def stop(lifecycle: Lifecycle, key: str, timeout: float | None = None, signal: str | int | None = None) -> bool:
    """Ask a container to end, and kill it if it has not after ``timeout`` seconds (negative: never).

    False: it had ended already.
    Without ``timeout`` and ``signal`` those of the container count (10 s and SIGTERM unless it says otherwise). Raises
    InvalidArgument for a signal that is none.
    """
    number = None if signal is None else signals.signal(signal)
    record, state = _look(lifecycle, key)
    if state.status not in states.ALIVE:
        return False
    _mark_stopped(lifecycle, record)
    milliseconds = _milliseconds(record, timeout)
    request: dict[str, Any] = {"op": "stop", "timeout_ms": milliseconds}
    if number is not None:
        request["signal"] = number
    patience = None if milliseconds >= _FOREVER_MS else milliseconds / 1000 + _GRACE_SECONDS
    ended = False
    try:
        supervisor = lifecycle.connect(record.id)
    except (NotFound, Timeout):
        supervisor = None
    if supervisor is not None:
        with supervisor:
            try:
                supervisor.request(msgspec.json.encode(request), timeout=ANSWER_SECONDS)
                ended = state.status == states.RESTARTING or supervisor.wait(patience) is not None
            except _native.SupervisorGone:
                ended = True
            except _native.NativeError as error:
                if error.args[1] not in ("timeout", "conflict"):
                    raise translate(error) from error
    if state.status == states.RESTARTING:
        _wait_gone(lifecycle, record)
    elif not ended:
        _stop_without_supervisor(lifecycle, record, number or _stop_signal(record), milliseconds)
    with contextlib.suppress(ContainerNotFound):
        record, _ = _look(lifecycle, record.id)
    lifecycle.emit(record, "stop")
    return True


def _milliseconds(record: Record, timeout: float | None) -> int:
    seconds: float
    if timeout is not None:
        seconds = timeout
    else:
        configured = record.config.stop_timeout
        seconds = configured if isinstance(configured, int) else 10
    return _FOREVER_MS if seconds < 0 else min(_FOREVER_MS, int(seconds * 1000))


def _stop_signal(record: Record) -> int:
    return signals.signal(record.config.stop_signal) if record.config.stop_signal else 15


def _wait_gone(lifecycle: Lifecycle, record: Record) -> None:
    file = liveness.pid_file(lifecycle.paths.run_container(record.id))
    if file is not None:
        wait_supervisor(file, _KILL_SECONDS)


def _stop_without_supervisor(lifecycle: Lifecycle, record: Record, number: int, milliseconds: int) -> None:
    """Stop a container whose supervisor does not answer; it goes too, as nobody could tell how the container ended."""
    file = liveness.pid_file(lifecycle.paths.run_container(record.id))
    if file is None:
        return
    with contextlib.suppress(Gone):
        send(file, number)
        _thaw(record)
        if not wait_init(file, milliseconds / 1000):
            send(file, 9)
            _thaw(record)
            wait_init(file, _KILL_SECONDS)
    lifecycle.kill_supervisor(file)


def kill(lifecycle: Lifecycle, key: str, signal: str | int = "KILL") -> None:
    """Send a signal to PID 1, and wait for the end that KILL is; with others it may come or not, as in Docker.

    Raises Conflict unless it runs, InvalidArgument for an unknown signal, Timeout.
    """
    number = signals.signal(signal)
    record, state = _look(lifecycle, key)
    states.require("kill", state.status, record.id)
    supervisor = liveness.pid_file(lifecycle.paths.run_container(record.id)) if number == 9 else None
    _mark_stopped(lifecycle, record)
    refused = Conflict(f"cannot kill container: {record.id}: container {record.id} is not running")
    try:
        told = tell(lifecycle, record, {"op": "signal", "signal": number})
    except Timeout:
        file = liveness.pid_file(lifecycle.paths.run_container(record.id))
        try:
            if file is None:
                raise refused
            send(file, number)
        except Gone as error:
            raise refused from error
    except Conflict as error:
        raise refused from error
    else:
        if not told:
            raise refused
    if state.status == states.PAUSED and _ends_it(record, number):
        # What a frozen process was sent reaches it only now; Docker does the same.
        with contextlib.suppress(Conflict), _freezing(lifecycle, record):
            _thaw(record)
            _unmark(lifecycle, record)
    if supervisor is not None:
        wait_supervisor(supervisor, _KILL_SECONDS)


def _ends_it(record: Record, number: int) -> bool:
    return number == 9 or not record.config.stop_signal or number == signals.signal(record.config.stop_signal)


def _thaw(record: Record) -> None:
    with contextlib.suppress(_native.NativeError):
        _native.cgroup_thaw(cgroups_path(record))


def _unmark(lifecycle: Lifecycle, record: Record) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(lifecycle.pause_mark(record.id))


@contextlib.contextmanager
def _freezing(lifecycle: Lifecycle, record: Record) -> Iterator[None]:
    """Be the only one who freezes or thaws a container: freezer and mark change together.

    Raises Conflict when it runs no more, Timeout.
    """
    try:
        with lock(lifecycle.paths.run_container(record.id), timeout=_PATIENCE):
            yield
    except FileNotFoundError as error:
        raise Conflict(f"container {record.id} is not running") from error


def pause(lifecycle: Lifecycle, key: str) -> None:
    """Freeze all processes of a container. Raises Conflict unless it runs, Unsupported without a freezer."""
    record, state = _look(lifecycle, key)
    states.require("pause", state.status, record.id)
    with _freezing(lifecycle, record):
        record, state = _look(lifecycle, record.id)
        states.require("pause", state.status, record.id)
        os.close(os.open(lifecycle.pause_mark(record.id), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            with translated():
                _native.cgroup_freeze(cgroups_path(record))
        except BaseException as error:
            _unmark(lifecycle, record)
            if isinstance(error, MinidockError):
                # It may have ended meanwhile, and its cgroup with it.
                states.require("pause", _look(lifecycle, record.id)[1].status, record.id)
            raise
    lifecycle.emit(record, "pause")


def unpause(lifecycle: Lifecycle, key: str) -> None:
    """Let the processes of a paused container run again. Raises Conflict unless it is paused."""
    record, state = _look(lifecycle, key)
    states.require("unpause", state.status, record.id)
    with _freezing(lifecycle, record):
        record, state = _look(lifecycle, record.id)
        states.require("unpause", state.status, record.id)
        with translated():
            _native.cgroup_thaw(cgroups_path(record))
        _unmark(lifecycle, record)
    lifecycle.emit(record, "unpause")


def rename(lifecycle: Lifecycle, key: str, name: str) -> None:
    """Give a container another name. Raises NameInUse, InvalidArgument, Conflict for one that is being removed."""
    record, state = _look(lifecycle, key)
    new = names.check(name.removeprefix("/"))
    states.require("rename", state.status, record.id)
    old = ""

    def change(now_record: Record) -> None:
        nonlocal old
        if new == now_record.name:
            raise InvalidArgument("renaming a container with the same name as its current name")
        old, now_record.name = now_record.name, new
        if now_record.endpoints:
            from minidock.containers import networking

            networking.rename(now_record)

    record = lifecycle.modify(record.id, change) or record
    tell_name(lifecycle, record)
    lifecycle.emit(record, "rename", oldName=f"/{old}")


def tell_name(lifecycle: Base, record: Record) -> None:
    """Tell the supervisor the container's name, for events; of several who rename it at once, the last says it last."""
    while True:
        request: dict[str, Any] = {"op": "update", "name": record.name}
        if names_by_network := {one.network: one.names for one in record.endpoints.values() if one.names}:
            request["names"] = names_by_network
        try:
            if not tell(lifecycle, record, request):
                return
        except (Timeout, Conflict):
            return  # it reads what it was told when it can
        row = lifecycle.store.containers.find(record.id)
        if row is None or row.name == record.name:
            return
        record = records.decode(row.record)


def restart(lifecycle: Lifecycle, key: str, timeout: float | None = None, signal: str | int | None = None) -> list[str]:
    """Stop a container if it runs, and start it; returns warnings. Raises as stop and start."""
    record, state = _look(lifecycle, key)
    if state.status in states.ALIVE:
        stop(lifecycle, record.id, timeout, signal)
    supervisor, warnings = start(lifecycle, record.id)
    if supervisor is not None:
        supervisor.close()
    lifecycle.emit(record, "restart")
    return warnings


def start(lifecycle: Lifecycle, key: str) -> tuple[_native.Supervisor | None, list[str]]:
    """Start a container in the background; returns its supervisor, or None when it runs already, and warnings.

    While another process starts it, that is waited for. Raises as :meth:`Lifecycle.start`.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        record, state = _look(lifecycle, key)
        if state.status in (states.RUNNING, states.RESTARTING):
            return None, []
        try:
            return lifecycle.start(record.id)
        except Conflict:
            row = lifecycle.store.containers.find(record.id)
            if row is None or row.state != states.RUNNING or time.monotonic() > deadline:
                raise
            record, state = lifecycle.settle(row)
            if state.status == states.PAUSED:
                raise
            time.sleep(_LOOK_SECONDS)


def wait(lifecycle: Lifecycle, key: str, timeout: float | None = None, condition: str = "not-running") -> int:
    """Wait until a condition holds, and return the exit code; one that was never started has 0.

    ``not-running``: it does not run, or has ended once while it is restarted. ``next-exit``: it has ended (again).
    ``removed``: it is gone. ``healthy``: its health check says so; or it runs, if it has none.

    Raises Timeout after ``timeout`` seconds, ContainerNotFound, InvalidArgument; for ``healthy`` Conflict at its
    end.
    """
    if condition not in CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"; it is one of {", ".join(CONDITIONS)}')
    deadline = None if timeout is None else time.monotonic() + timeout
    record, state = _look(lifecycle, key)
    waiter = _Waiter(lifecycle, record.id, timeout, deadline)
    if condition == "healthy":
        return waiter.until_healthy()
    if condition == "removed":
        return waiter.until_removed(state)
    return waiter.until_exit(state, again=condition == "next-exit")


def wait_abandoned(lifecycle: Lifecycle, key: str, timeout: float | None) -> int:
    """Like :func:`wait`, for a container whose supervisor was killed: it may have been removed for that reason."""
    try:
        return wait(lifecycle, key, timeout)
    except ContainerNotFound:
        return KILLED


class _Waiter:
    """One wait with a deadline."""

    def __init__(self, lifecycle: Lifecycle, container_id: str, timeout: float | None, deadline: float | None) -> None:
        self._lifecycle = lifecycle
        self._id = container_id
        self._timeout = timeout
        self._deadline = deadline

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> Timeout:
        return Timeout(f"wait for container {self._id[:12]}: it has not ended within {self._timeout:g} s")

    def _pause(self) -> None:
        left = self._left()
        time.sleep(_LOOK_SECONDS if left is None else min(_LOOK_SECONDS, left))

    def _exit_of_supervisor(self) -> int | None:
        """Wait for the next exit that the supervisor tells of; None when it cannot tell."""
        left = self._left()
        try:
            supervisor = self._lifecycle.connect(self._id)
        except (NotFound, Timeout):
            return None
        with supervisor:
            try:
                # Answered, so it knows of us before it can end: no exit is missed.
                supervisor.request(
                    b'{"op":"ping"}', timeout=ANSWER_SECONDS if left is None else min(left, ANSWER_SECONDS)
                )
                packet = supervisor.wait(self._left())
            except _native.NativeError:
                return None
        if packet is None:
            raise self._late()
        return exit_status(packet).exit_code

    def until_exit(self, state: ContainerState, *, again: bool) -> int:
        running = state.status in states.ALIVE or self._starting(state)
        if not running and not again:
            return state.exit_code
        while True:
            code = self._exit_of_supervisor()
            if code is not None:
                with contextlib.suppress(ContainerNotFound):
                    _look(self._lifecycle, self._id)
                return code
            try:
                _, state = _look(self._lifecycle, self._id)
            except ContainerNotFound:
                if again and not running:
                    raise
                # Removed at its end by somebody else, who alone knows how that was; a killed one is taken for granted.
                return KILLED
            now_running = state.status in states.ALIVE or self._starting(state)
            if running and not now_running:
                return state.exit_code
            running = running or now_running
            self._pause()

    def _starting(self, state: ContainerState) -> bool:
        """Whether a container that does not run is being started."""
        if state.status != states.CREATED:
            return False
        row = self._lifecycle.store.containers.find(self._id)
        return row is not None and row.state == states.RUNNING

    def until_removed(self, state: ContainerState) -> int:
        code = state.exit_code
        if state.status in states.ALIVE:
            code = self.until_exit(state, again=False)
        while self._lifecycle.store.containers.find(self._id) is not None:
            try:
                _, state = _look(self._lifecycle, self._id)
            except ContainerNotFound:
                break
            code = state.exit_code
            self._pause()
        return code

    def until_healthy(self) -> int:
        while True:
            record, state = _look(self._lifecycle, self._id)
            health = state.health
            if state.status not in states.ALIVE and not self._starting(state):
                raise Conflict(f"container {record.id} has ended with {state.exit_code} before it was healthy")
            if isinstance(health, msgspec.UnsetType) or health.status in ("none", ""):
                if state.status in states.ALIVE:
                    return 0
            elif health.status == "healthy":
                return 0
            elif health.status == "unhealthy":
                raise SystemFailure(f"container {record.id} is unhealthy")
            self._pause()
