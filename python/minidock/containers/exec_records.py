"""What the run root says of execs: one file each, written by the exec's supervisor, found by id.

A file goes with an exec that is bound to its client, who alone knows its id; else it stays for a while after the end,
as in Docker, and no longer than the container runs. What a killed supervisor leaves is cleaned up by the next exec.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock.containers import liveness
from minidock.containers.exec_options import ExecConfig
from minidock.errors import Conflict, MinidockError, NotFound
from minidock.spec import decoding
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.containers.lifecycle import Lifecycle
    from minidock.spec.docker_exec import ExecInspect
    from minidock.store.paths import Paths

_KEPT_SECONDS = 300.0
"""How long the end of an exec can be asked for."""
_SWEEP_EVERY = 60.0
_KILLED = 128 + 9
_swept: dict[str, float] = {}
"""When this process has cleaned up in a directory, on a clock that does not jump."""


class About(msgspec.Struct):
    """What does not change."""

    id: str
    container_id: str
    boot_id: str
    config: ExecConfig


class ExecRecord(msgspec.Struct):
    """One file. ``supervisor`` is 0 until somebody starts it, ``pid`` until it runs."""

    about: About
    supervisor: int = 0
    supervisor_start: int = 0
    pid: int = 0
    exit_code: int | None = None
    cgroup: str = ""


_encode = msgspec.json.Encoder().encode


def _directory(paths: Paths) -> str:
    return f"{paths.run}/execs"


def path(paths: Paths, container_id: str, exec_id: str) -> str:
    """Return the file of an exec."""
    return f"{_directory(paths)}/{container_id}.{exec_id}.json"


def prepare(lifecycle: Lifecycle) -> None:
    """Make the directory of the files, and clean up in it now and then."""
    directory = _directory(lifecycle.paths)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        now = time.monotonic()
        if now - _swept.get(directory, -_SWEEP_EVERY) >= _SWEEP_EVERY:
            _swept[directory] = now
            sweep(lifecycle)
    except OSError as error:
        raise from_os(error, "make", directory) from error


def _names(paths: Paths) -> Iterator[tuple[str, str]]:
    """Yield container and exec id of every file."""
    try:
        names = os.listdir(_directory(paths))
    except OSError:
        return
    for name in names:
        container_id, _, rest = name.partition(".")
        exec_id, _, end = rest.partition(".")
        if end == "json":
            yield container_id, exec_id


def read(paths: Paths, container_id: str, exec_id: str) -> ExecRecord:
    """Return what is known of an exec. Raises NotFound."""
    text = liveness.read(path(paths, container_id, exec_id))
    if text is not None:
        with contextlib.suppress(msgspec.DecodeError):
            return decoding.decode(text, ExecRecord)
    raise NotFound(f"no such exec instance: {exec_id[:100]}")


def container_of(paths: Paths, exec_id: str) -> str:
    """Return the id of the container of an exec. Raises NotFound."""
    for container_id, found in _names(paths):
        if found == exec_id:
            return container_id
    raise NotFound(f"no such exec instance: {exec_id[:100]}")


def write(paths: Paths, record: ExecRecord) -> None:
    """Write a file, by rename. Raises NoSpace and others."""
    target = path(paths, record.about.container_id, record.about.id)
    beside = f"{target}.{os.getpid()}.new"
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, _encode(record))
        finally:
            os.close(fd)
        os.rename(beside, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise from_os(error, "write", target) from error


class AlreadyRunError(Conflict):
    """An exec is started once: somebody has."""


def claim(lifecycle: Lifecycle, container_id: str, exec_id: str) -> ExecConfig:
    """Mark an exec as started by this process, and return what it is to be. Raises NotFound, AlreadyRunError."""
    paths = lifecycle.paths
    try:
        lock = os.open(_directory(paths), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"no such exec instance: {exec_id[:100]}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = read(paths, container_id, exec_id)
        if record.supervisor or record.exit_code is not None:
            raise AlreadyRunError(f"exec command {exec_id} has already run")
        owner = lifecycle.owner()
        record.supervisor, record.supervisor_start = owner.pid, owner.start_time
        write(paths, record)
    finally:
        os.close(lock)
    return record.about.config


def give_up(lifecycle: Lifecycle, container_id: str, exec_id: str) -> None:
    """Forget an exec that this process has claimed, unless it has got a supervisor."""
    with contextlib.suppress(NotFound, OSError):
        if read(lifecycle.paths, container_id, exec_id).supervisor == os.getpid():
            os.unlink(path(lifecycle.paths, container_id, exec_id))


def failed(lifecycle: Lifecycle, record: ExecRecord, exit_code: int) -> None:
    """Keep of an exec that could not be started how it ended, for who asks by its id."""
    owner = lifecycle.owner()
    record.supervisor, record.supervisor_start, record.exit_code = owner.pid, owner.start_time, exit_code
    write(lifecycle.paths, record)


def _alive(record: ExecRecord, boot_id: str) -> bool:
    return record.about.boot_id == boot_id and liveness.alive(record.supervisor, record.supervisor_start)


def inspect(record: ExecRecord, boot_id: str) -> ExecInspect:
    """Return what Docker's API says of an exec."""
    import base64

    from minidock.spec.docker_exec import ExecInspect, ExecProcessConfig

    wanted = record.about.config
    running = record.exit_code is None and bool(record.pid) and _alive(record, boot_id)
    code = record.exit_code
    if code is None and record.supervisor and not running and not _alive(record, boot_id):
        code = _KILLED
    process = ExecProcessConfig(
        tty=wanted.tty, entrypoint=wanted.command[0], arguments=wanted.command[1:], privileged=wanted.privileged
    )
    if wanted.user:
        process.user = wanted.user
    return ExecInspect(
        id=record.about.id,
        running=running,
        exit_code=code,
        process_config=process,
        open_stdin=wanted.stdin,
        open_stderr=wanted.stderr,
        open_stdout=wanted.stdout,
        can_remove=False,
        container_id=record.about.container_id,
        detach_keys=base64.b64encode(_key_bytes(wanted.detach_keys)).decode(),
        pid=record.pid,
    )


def _key_bytes(text: str) -> bytes:
    """Return checked detach keys as the bytes that a terminal sends."""
    names = text.split(",") if text else []
    return bytes(ord(name[5:].upper()) - 64 if name.startswith("ctrl-") else ord(name) for name in names)


def ids(lifecycle: Lifecycle, container_id: str) -> list[str] | None:
    """Return the execs of a container that have not ended, for ``ExecIDs``; None without any."""
    found = []
    for owner, exec_id in _names(lifecycle.paths):
        if owner == container_id:
            with contextlib.suppress(NotFound):
                record = read(lifecycle.paths, owner, exec_id)
                if record.exit_code is None and (not record.supervisor or _alive(record, lifecycle.host.boot_id)):
                    found.append(exec_id)
    return found or None


def wait_supervisor(record: ExecRecord, timeout: float | None) -> None:
    """Wait until the supervisor of an exec has ended, or a little where there is none yet. Raises Timeout."""
    if not record.supervisor or record.supervisor == os.getpid():
        time.sleep(0.005)
        return
    from minidock.containers import waiting

    file = liveness.PidFile(record.supervisor, record.supervisor_start, record.about.boot_id)
    waiting.wait_supervisor(file, timeout)


def sweep(lifecycle: Lifecycle) -> None:
    """Remove the files of execs that nobody can ask for any more, and what killed supervisors have left."""
    paths, boot_id = lifecycle.paths, lifecycle.host.boot_id
    for container_id, exec_id in _names(paths):
        file = path(paths, container_id, exec_id)
        try:
            record = read(paths, container_id, exec_id)
            age = time.time() - os.stat(file).st_mtime
        except (NotFound, OSError):
            continue
        if record.supervisor and _alive(record, boot_id):
            continue
        if record.exit_code is None and record.supervisor and record.about.boot_id == boot_id and record.cgroup:
            with contextlib.suppress(MinidockError, _native.NativeError):
                _native.cgroup_kill(record.cgroup, timeout=0.5)
                _native.cgroup_remove(record.cgroup, timeout=0.5)
        elif _runs(paths, container_id, boot_id) and (age < _KEPT_SECONDS or not record.supervisor):
            continue
        with contextlib.suppress(OSError):
            os.unlink(file)


def _runs(paths: Paths, container_id: str, boot_id: str) -> bool:
    """Whether a container runs, by its pid file alone."""
    file = liveness.pid_file(paths.run_container(container_id))
    return file is not None and file.boot_id == boot_id and liveness.alive(file.pid, file.start_time)
