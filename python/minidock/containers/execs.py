"""Processes in running containers: run and captured, attached to the caller's streams, or in the background."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import _native
from minidock._errors import exception_for, translate
from minidock.containers import exec_options, exec_records, liveness, states
from minidock.containers import record as records
from minidock.containers.base import event_attributes
from minidock.containers.document import Events
from minidock.containers.exec_options import ExecConfig
from minidock.containers.exits import exit_status
from minidock.containers.parse import detach_keys as keyed
from minidock.containers.result import ExecResult
from minidock.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ContainerFailed,
    InvalidArgument,
    NotFound,
    SystemFailure,
    Timeout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from minidock.containers.exec_options import ExecOptions
    from minidock.containers.exec_records import ExecRecord
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.liveness import PidFile
    from minidock.containers.record import Record
    from minidock.spec.docker_exec import ExecInspect

OUTPUT_LIMIT = 64 << 20
_encode = msgspec.json.Encoder().encode


def _running(lifecycle: Lifecycle, name: str) -> tuple[Record, PidFile]:
    """Return a container that an exec is possible in. Raises ContainerNotFound, Conflict."""
    record, state = lifecycle.settle(lifecycle.store.containers.get(name))
    states.require("exec", state.status, record.id)
    file = liveness.pid_file(lifecycle.paths.run_container(record.id))
    if file is None or not file.pid:
        raise Conflict(f"container {record.id} is not running")
    return record, file


def _request(
    lifecycle: Lifecycle,
    record: Record,
    file: PidFile,
    exec_id: str,
    wanted: ExecConfig,
    *,
    bound: bool,
    size: tuple[int, int] | None = None,
) -> bytes:
    """Return the request to the exec's supervisor (docs/supervisor.md)."""
    attached = wanted.stdin or wanted.stdout or wanted.stderr
    return _encode(
        {
            "version": 2,
            "container": record.id,
            "exec_id": exec_id,
            "pid": file.pid,
            "start_time": file.start_time,
            "cgroup": file.cgroup,
            "process": exec_options.process(record, wanted, size),
            "stdio": "relay" if attached else "inherit",
            "stdin": wanted.stdin,
            "timeout_ms": wanted.timeout_ms,
            "bound": bound,
            "record": exec_records.path(lifecycle.paths, record.id, exec_id),
            "about": exec_records.About(exec_id, record.id, lifecycle.host.boot_id, wanted),
            "events": Events(lifecycle.paths.events, event_attributes(record)),
        }
    )


def _tell(lifecycle: Lifecycle, record: Record, exec_id: str, wanted: ExecConfig, *actions: str) -> None:
    """Append events of an exec; its supervisor tells how it ended."""
    command, *arguments = wanted.command
    for action in actions:
        lifecycle.emit(record, f"{action}: {command} {' '.join(arguments)}", execID=exec_id)


def _check(first: bytes) -> list[str]:
    """Return the warnings of a ``started`` packet; raise what an ``error`` packet says."""
    said: dict[str, Any] = msgspec.json.decode(first)
    if said.get("event") == "started":
        return list(said.get("warnings") or ())
    text = str(said.get("message") or "the command could not be started")
    code = said.get("exit_code")
    if code == CommandNotExecutable.exit_code:
        raise CommandNotExecutable(text)
    if code == CommandNotFound.exit_code and said.get("op") == "change directory":
        missing = NotFound(text)
        missing.exit_code = code
        raise missing
    if code == CommandNotFound.exit_code:
        raise CommandNotFound(text)
    raise exception_for(str(said.get("kind")), text, said.get("errno"))


def _result(packet: bytes, stdout: bytes = b"", stderr: bytes = b"") -> ExecResult:
    ended = exit_status(packet)
    return ExecResult(
        stdout=stdout,
        stderr=stderr,
        exit_code=ended.exit_code,
        signal=ended.signal,
        timed_out=ended.timed_out,
        usage=ended.usage,
    )


def run(
    lifecycle: Lifecycle,
    name: str,
    wanted: ExecConfig,
    *,
    input: bytes | None = None,
    check: bool = False,
    output_limit: int | None = None,
) -> ExecResult:
    """Run a command in the container ``name`` and return what came of it; see :meth:`Container.exec`."""
    if input is not None and not isinstance(input, (bytes, bytearray, memoryview)):
        raise InvalidArgument(f"input: bytes are needed, not {type(input).__name__}")
    if output_limit is not None and output_limit < 0:
        raise InvalidArgument(f"output_limit: {output_limit} is negative")
    wanted.stdin, wanted.stdout, wanted.stderr = input is not None, True, not wanted.tty
    record, file = _running(lifecycle, name)
    exec_records.prepare(lifecycle)
    exec_id = os.urandom(32).hex()
    request = _request(lifecycle, record, file, exec_id, wanted, bound=True)
    _tell(lifecycle, record, exec_id, wanted, "exec_create", "exec_start")
    limit = OUTPUT_LIMIT if output_limit is None else output_limit
    try:
        first, stdout, stderr, packet = _native.exec_captured(
            lifecycle.helper, lifecycle.paths.container(record.id), request, input=input, limit=limit
        )
    except _native.NativeError as error:
        raise translate(error) from error
    _check(first)
    if packet is None:
        raise SystemFailure(f"exec in container {record.id}: its supervisor said that it started, and no more")
    result = _result(packet, stdout, stderr)
    if check and result.exit_code:
        words = " ".join(wanted.command)[:200]
        raise ContainerFailed(f"command {words!r} in container {record.id[:12]}: exit code {result.exit_code}", result)
    return result


def attached(
    lifecycle: Lifecycle,
    name: str,
    wanted: ExecConfig,
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    detach_keys: str | None = None,
    warnings: list[str] | None = None,
) -> ExecResult | None:
    """Run a command with its streams on these descriptors (None: ``/dev/null``), and wait for its end.

    With a terminal as ``stdin`` of a command that has one, that is put into raw mode, its size is passed on, and it is
    restored on every way out; ``detach_keys`` (``ctrl-p,ctrl-q`` unless given) typed there let the command live on,
    and None is returned. Else it dies with this process. Raises as :func:`run`.
    """
    from minidock.containers.attach import Terminal

    checked = keyed.detach_keys(detach_keys or "")
    keys = checked if wanted.tty and stdin is not None else None
    wanted.stdin, wanted.stdout, wanted.stderr = stdin is not None, stdout is not None, stderr is not None
    wanted.detach_keys = keys or ""
    record, file = _running(lifecycle, name)
    exec_records.prepare(lifecycle)
    size = _size(stdout, stdin) if wanted.tty else None
    exec_id = os.urandom(32).hex()
    request = _request(lifecycle, record, file, exec_id, wanted, bound=True, size=size)
    _tell(lifecycle, record, exec_id, wanted, "exec_create", "exec_start")
    try:
        with (
            Terminal(stdin, tty=wanted.tty) as terminal,
            _native.exec_spawn(
                lifecycle.helper,
                lifecycle.paths.container(record.id),
                request,
                stdin=None if keys else stdin,
                stdout=stdout,
                stderr=stderr,
                stdin_pipe=keys is not None,
            ) as client,
        ):
            found = _check(client.wait_started())
            if warnings is not None:
                warnings += found
            terminal.connect(client)
            packet = client.interact(stdin, detach_keys=keys) if keys else client.wait()
            if packet is None:
                client.release()
                lifecycle.emit(record, "exec_detach", execID=exec_id)
    except _native.NativeError as error:
        raise translate(error) from error
    return None if packet is None else _result(packet)


def _size(*fds: int | None) -> tuple[int, int] | None:
    """Return rows and columns of the first of these that is a terminal."""
    for fd in fds:
        if fd is not None and os.isatty(fd):
            return _native.window_size(fd)
    return None


class Exec:
    """One exec of a container that others may ask for by its id, as in Docker's API. It outlives its client."""

    def __init__(self, lifecycle: Lifecycle, container_id: str, exec_id: str) -> None:
        self._lifecycle = lifecycle
        self._client: _native.Supervisor | None = None
        self.container_id = container_id
        self.id = exec_id

    def __repr__(self) -> str:
        return f"<Exec {self.id[:12]} in {self.container_id[:12]}>"

    def _record(self) -> ExecRecord:
        return exec_records.read(self._lifecycle.paths, self.container_id, self.id)

    def inspect(self) -> ExecInspect:
        """Return what Docker's API says of it. Raises NotFound when the container has ended since."""
        return exec_records.inspect(self._record(), self._lifecycle.host.boot_id)

    def start(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        size: tuple[int, int] | None = None,
        bound: bool = False,
    ) -> list[str]:
        """Start it with its streams on these descriptors (None: ``/dev/null``), and return its warnings.

        Only the streams that it was created with are connected. ``size`` is that of its terminal, rows first. With
        ``bound`` all of it is killed when its command ends, and when this process does. Raises
        Conflict when it has been started before or the container does not run, CommandNotFound, CommandNotExecutable.
        """
        lifecycle = self._lifecycle
        record, file = _running(lifecycle, self.container_id)
        wanted = exec_records.claim(lifecycle, self.container_id, self.id)
        try:
            return self._start(record, file, wanted, (stdin, stdout, stderr), size, bound=bound)
        except BaseException:
            exec_records.give_up(lifecycle, self.container_id, self.id)
            raise

    def _start(
        self,
        record: Record,
        file: PidFile,
        wanted: ExecConfig,
        fds: tuple[int | None, int | None, int | None],
        size: tuple[int, int] | None,
        *,
        bound: bool = False,
    ) -> list[str]:
        lifecycle = self._lifecycle
        request = _request(lifecycle, record, file, self.id, wanted, bound=bound, size=size)
        _tell(lifecycle, record, self.id, wanted, "exec_start")
        stdin, stdout, stderr = fds
        try:
            client = _native.exec_spawn(
                lifecycle.helper,
                lifecycle.paths.container(record.id),
                request,
                stdin=stdin if wanted.stdin else None,
                stdout=stdout if wanted.stdout else None,
                stderr=stderr if wanted.stderr else None,
            )
            try:
                warnings = _check(client.wait_started())
            except BaseException:
                client.close()
                raise
        except _native.NativeError as error:
            raise translate(error) from error
        self._client = client
        return warnings

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal. Raises Conflict unless this object has started it and it runs."""
        if self._client is None:
            raise Conflict(f"resize exec {self.id}: it was not started here")
        try:
            self._client.resize(rows, columns)
        except _native.NativeError as error:
            raise translate(error) from error

    def kill(self) -> None:
        """Kill all of it. Raises Conflict unless this object has started it and it runs."""
        if self._client is None:
            raise Conflict(f"kill exec {self.id}: it was not started here")
        try:
            self._client.signal(signal.SIGKILL)
        except _native.NativeError as error:
            raise translate(error) from error

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended and return its exit code. Raises Timeout after ``timeout`` seconds, NotFound."""
        if self._client is not None:
            try:
                packet = self._client.wait(timeout)
            except _native.NativeError as error:
                raise translate(error) from error
            if packet is not None:
                self.close()
                return exit_status(packet).exit_code
        else:
            deadline = None if timeout is None else time.monotonic() + timeout
            while deadline is None or time.monotonic() < deadline:
                code = self.inspect().exit_code
                if code is not None:
                    return code
                left = None if deadline is None else deadline - time.monotonic()
                exec_records.wait_supervisor(self._record(), left)
        raise Timeout(f"wait for exec {self.id[:12]}: it has not ended within {timeout:g} s")

    def fileno(self) -> int:
        """Return what is readable when :meth:`wait` has news; for the one who has started it. Raises Conflict."""
        if self._client is None:
            raise Conflict(f"exec {self.id}: it was not started here")
        return self._client.fileno()

    def detached(self) -> None:
        """Say that who was at its terminal has left it by the keys for that."""
        row = self._lifecycle.store.containers.find(self.container_id)
        if row is not None:
            self._lifecycle.emit(records.decode(row.record), "exec_detach", execID=self.id)

    def close(self) -> None:
        """Let it go on without this client; its output is thrown away from now on."""
        if self._client is not None:
            self._client.close()
            self._client = None


class ExecCollection:
    """Execs by id, as Docker's API has them: made first, started then."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def create(
        self,
        container: str,
        command: str | Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = False,
        stderr: bool = False,
        detach_keys: str = "",
        size: tuple[int, int] | None = None,
        **options: Unpack[ExecOptions],
    ) -> Exec:
        """Prepare a command in a running container; :meth:`Exec.start` starts it.

        ``size``: rows and columns of its terminal.
        ``options`` are those of :meth:`Container.exec`: tty, environment, env_file, user, workdir, privileged, timeout.
        Raises ContainerNotFound, Conflict when the container does not run or is paused, InvalidArgument.
        """
        wanted = exec_options.config(command, **options)
        keyed.detach_keys(detach_keys)
        wanted.stdin, wanted.stdout, wanted.stderr, wanted.detach_keys = stdin, stdout, stderr, detach_keys
        wanted.size = size
        lifecycle = self._lifecycle
        record, _ = _running(lifecycle, container)
        exec_records.prepare(lifecycle)
        made = Exec(lifecycle, record.id, os.urandom(32).hex())
        about = exec_records.About(made.id, record.id, lifecycle.host.boot_id, wanted)
        exec_records.write(lifecycle.paths, exec_records.ExecRecord(about))
        _tell(lifecycle, record, made.id, wanted, "exec_create")
        return made

    def get(self, exec_id: str) -> Exec:
        """Return the exec of this full id. Raises NotFound."""
        lifecycle = self._lifecycle
        return Exec(lifecycle, exec_records.container_of(lifecycle.paths, exec_id), exec_id)


def detached(lifecycle: Lifecycle, name: str, wanted: ExecConfig) -> Exec:
    """Start a command in the background; see :meth:`Container.exec`."""
    record, file = _running(lifecycle, name)
    exec_records.prepare(lifecycle)
    made = Exec(lifecycle, record.id, os.urandom(32).hex())
    _tell(lifecycle, record, made.id, wanted, "exec_create")
    made._start(record, file, wanted, (None, None, None), None)
    made.close()
    return made
