"""A container in the foreground: its streams on the caller's descriptors, signals passed on, the terminal raw."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.containers import control, states
from minidock.containers.exits import exit_status
from minidock.containers.parse.detach_keys import detach_keys
from minidock.containers.parse.signals import NUMBERS
from minidock.errors import Conflict, ContainerNotFound, Interrupted, NotFound, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from minidock.containers.container import Container
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.result import ExitStatus

# Not proxied, as in Docker: CHLD and PIPE are about this process, URG is Go's and CPython's own business, WINCH is a
# resize. The rest cannot be caught, or tell of a bug in this process.
_KEPT = frozenset((signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGKILL, signal.SIGSTOP))
_FAULTS = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT)
)
_JOB_CONTROL = frozenset((signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT))
PROXIED = tuple(sorted({number for number in NUMBERS.values() if number < 32} - _KEPT - _FAULTS - _JOB_CONTROL))


def wait_exited(supervisor: _native.Supervisor, shown: str, timeout: float | None) -> int | None:
    """Wait for the end of the container ``shown``, and return its exit code; None when its supervisor was killed.

    Raises Timeout after ``timeout`` seconds.
    """
    try:
        packet = supervisor.wait(timeout)
    except _native.SupervisorGone:
        return None
    except _native.NativeError as error:
        raise translate(error) from error
    if packet is None:
        raise Timeout(f"wait for container {shown}: it has not ended within {timeout:g} s")
    return exit_status(packet).exit_code


class _Proxy:
    """Passes the signals of this process on to PID 1 while it is entered; only in the main thread."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled and threading.current_thread() is threading.main_thread()
        self._supervisor: _native.Supervisor | None = None
        self._early: list[int] = []
        self._before: dict[int, Any] = {}
        self._asked = 0

    def __enter__(self) -> _Proxy:
        if self._enabled:
            for number in PROXIED:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if frame is not None and number in (signal.SIGINT, signal.SIGTERM):
            # A container may ignore both (PID 1 does by default): the third one is for this process, as in Docker.
            self._asked += 1
            if self._asked >= 3:
                raise Interrupted("got 3 SIGTERM/SIGINTs, forcefully exiting; the container runs on")
        if self._supervisor is None:
            self._early.append(number)
            return
        try:
            self._supervisor.signal(number)
        except _native.NativeError:
            return  # it has ended

    def connect(self, supervisor: _native.Supervisor) -> None:
        """Say who gets the signals; those that came before are sent now."""
        self._supervisor = supervisor
        while self._early:
            self._handle(self._early.pop(0), None)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Terminal:
    """The caller's terminal, raw while it is entered, whose size the container's follows."""

    def __init__(self, fd: int | None, *, tty: bool) -> None:
        self._fd = fd if tty and fd is not None and os.isatty(fd) else None
        self._raw: _native.RawMode | None = None
        self._before: Any = None
        self._supervisor: _native.Supervisor | None = None

    def __enter__(self) -> Terminal:
        # Before the container can write: its first line would get the caller's line ends, and a Ctrl-C be the caller's.
        if self._fd is not None:
            self._raw = _native.raw_mode(self._fd)
        return self

    def connect(self, supervisor: _native.Supervisor) -> None:
        """Pass the terminal's size on, now and whenever it changes."""
        if self._fd is None:
            return
        self._supervisor = supervisor
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGWINCH, self._resize)
        self._resize(0, None)

    def _resize(self, _number: int, _frame: FrameType | None) -> None:
        if self._fd is None or self._supervisor is None:
            return
        try:
            rows, columns = _native.window_size(self._fd)
            self._supervisor.resize(rows, columns)
        except _native.NativeError:
            return  # it has ended, or the terminal has gone

    def __exit__(self, *_: object) -> None:
        if self._raw is not None:
            self._raw.restore()
            self._raw = None
        if self._before is not None:
            signal.signal(signal.SIGWINCH, self._before)


Streams = tuple[int | None, int | None, int | None]
"""Descriptors for stdin, stdout, stderr; None is not attached."""


def start_attached(
    container: Container, lifecycle: Lifecycle, streams: Streams, *, sig_proxy: bool, detach_keys: str | None
) -> ExitStatus | None:
    """Start ``container`` on these descriptors and wait for its end; see :meth:`Container.start_attached`."""
    stdin, stdout, stderr = streams

    def connect() -> _native.Supervisor:
        supervisor, warnings = lifecycle.start(
            container.id, stdin=stdin, stdout=stdout, stderr=stderr, detach_keys=_keys(container, stdin, detach_keys)
        )
        container.warnings += warnings
        return supervisor

    return _attached(container, connect, stdin, sig_proxy=sig_proxy)


def attach(
    container: Container, lifecycle: Lifecycle, streams: Streams, *, sig_proxy: bool, detach_keys: str | None
) -> ExitStatus | None:
    """Connect to a running container; see :meth:`Container.attach`."""
    container.reload()
    states.require("attach", container.state.status, container.id)
    stdin = streams[0] if container.record.config.open_stdin else None
    named = [
        (name, fd)
        for name, fd in zip(("stdin", "stdout", "stderr"), (stdin, *streams[1:]), strict=True)
        if fd is not None
    ]
    keys = _keys(container, stdin, detach_keys)

    def connect() -> _native.Supervisor:
        lifecycle.emit(container.record, "attach")
        try:
            supervisor = lifecycle.connect(container.id)
        except NotFound as error:
            raise Conflict(f"container {container.id} is not running") from error
        request = {"op": "attach", "streams": [name for name, _ in named]}
        if keys is not None:
            request["detach_keys"] = keys
        try:
            supervisor.request(msgspec.json.encode(request), [fd for _, fd in named], control.ANSWER_SECONDS)
        except BaseException:
            supervisor.close()
            raise
        return supervisor

    return _attached(container, connect, stdin, sig_proxy=sig_proxy)


def _keys(container: Container, stdin: int | None, keys: str | None) -> str | None:
    """The detach keys that count: Docker's own for a terminal, none but those asked for without one.

    Raises InvalidArgument.
    """
    checked = detach_keys(keys or "")
    return checked if stdin is not None and (keys or container.record.config.tty) else None


def _attached(
    container: Container, connect: Callable[[], _native.Supervisor], stdin: int | None, *, sig_proxy: bool
) -> ExitStatus | None:
    """Wait for the end of a container to which ``connect`` connects; None when the user detached."""
    tty = container.record.config.tty
    with _Proxy(enabled=sig_proxy) as proxy, Terminal(stdin, tty=tty) as terminal:
        try:
            with connect() as supervisor:
                terminal.connect(supervisor)
                proxy.connect(supervisor)
                packet = supervisor.wait_attached()
        except _native.NativeError as error:
            raise translate(error) from error
    assert packet is not None  # noqa: S101 - no timeout was given
    if not packet:
        return None
    ended = exit_status(packet)
    try:
        container.reload()
    except ContainerNotFound:
        container.state.status, container.state.exit_code = "exited", ended.exit_code
    return ended
