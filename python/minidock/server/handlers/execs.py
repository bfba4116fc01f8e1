"""Execs: made, started, resized, looked at."""

from __future__ import annotations

import contextlib
import select
import threading
from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.containers import exec_records, states
from minidock.containers.parse import detach_keys
from minidock.errors import Conflict, InvalidArgument, MinidockError, Timeout
from minidock.server import streams
from minidock.server.bodies import ExecCreateBody, ExecStartBody
from minidock.server.failures import message_of
from minidock.server.handlers.containers import MOST_CELLS, as_named, container_of, size_of
from minidock.server.http import MULTIPLEXED, RAW_STREAM

if TYPE_CHECKING:
    import socket

    from minidock.containers.exec_options import ExecConfig
    from minidock.containers.execs import Exec
    from minidock.server.http import Request

_RESIZE_SECONDS = 10.0
_started: dict[str, Exec | None] = {}
"""Execs that clients are attached to, None while they are started: only who has started one can resize it."""
_changed = threading.Condition()


def create(request: Request) -> None:
    """``POST /containers/{id}/exec``."""
    body = request.json(ExecCreateBody)
    container = container_of(request)
    if container.state.paused:
        with as_named(request, container.id):
            states.require("exec", container.state.status, container.id)
    if container.state.running and not body.user.replace(":", "").isdigit():
        _require_user(request, container.id, body.user)
    made = request.engine.execs.create(
        container.id,
        [body.cmd] if isinstance(body.cmd, str) else body.cmd or [],
        stdin=body.attach_stdin,
        stdout=body.attach_stdout,
        stderr=body.attach_stderr,
        detach_keys=body.detach_keys,
        tty=body.tty,
        environment=body.env,
        user=body.user or None,
        workdir=body.working_dir or None,
        privileged=body.privileged,
        size=_cells(body.console_size),
    )
    request.answer({"Id": made.id}, 201)


def _require_user(request: Request, container_id: str, spec: str) -> None:
    """Raise InvalidArgument, as Docker does before anything is started, for a name that the container does not know."""
    if not spec:
        return
    from minidock.containers import archive

    with archive.opened(request.engine.lifecycle, container_id, writable=False) as files:
        try:
            files.tree.user(spec)
        except _native.NativeError as error:
            _, _, op, name, _ = error.args
            if op not in ("find user", "find group"):
                raise translate(error) from error
            file = "passwd" if op == "find user" else "group"
            raise InvalidArgument(f"unable to {op} {name}: no matching entries in {file} file") from error


def inspect(request: Request) -> None:
    """``GET /exec/{id}/json``."""
    request.answer(request.engine.execs.get(request.names["id"]).inspect())


def resize(request: Request) -> None:
    """``POST /exec/{id}/resize``."""
    size = size_of(request)
    found = request.engine.execs.get(request.names["id"])
    with _changed:
        # Clients ask for it as soon as they are told that their streams follow.
        _changed.wait_for(lambda: _started.get(found.id, found) is not None, _RESIZE_SECONDS)
        started = _started.get(found.id)
    if started is None:
        record = exec_records.read(request.engine.lifecycle.paths, found.container_id, found.id)
        if record.pid and record.exit_code is None and not record.about.config.tty:
            request.empty(200)  # nothing has a size
            return
        raise Conflict(f"exec {found.id}: no client of this server is attached to it")
    started.resize(*size)
    request.empty(200)


def start(request: Request) -> None:
    """``POST /exec/{id}/start``: detached, or with its streams on the connection."""
    body = request.json(ExecStartBody)
    found = request.engine.execs.get(request.names["id"])
    if body.detach:
        found.start()
        found.close()
        request.empty(200)
        return
    lifecycle = request.engine.lifecycle
    record = exec_records.read(lifecycle.paths, found.container_id, found.id)
    if record.supervisor or record.exit_code is not None:
        raise Conflict(f"exec command {found.id} has already run")
    container = request.engine.containers.get(found.container_id)
    states.require("exec", container.state.status, container.id)
    size = _cells(body.console_size) if body.tty else None
    wanted = record.about.config
    # Docker writes headers unless the one who starts it says that it is a terminal, whatever it was created as.
    kind = RAW_STREAM if body.tty or request.before(1, 42) else MULTIPLEXED
    client, early = request.hijack()
    with client:
        with _changed:
            _started.setdefault(found.id, None)
            _changed.notify_all()
        try:
            request.confirm(kind)
            streams.await_read(client)
            _run(request, client, early, found, wanted, size=size, raw=body.tty)
        except MinidockError as error:
            # As Docker, which has answered already, too: its words are output, and the exit code can be asked for.
            if not isinstance(error, exec_records.AlreadyRunError):
                exec_records.failed(lifecycle, record, error.exit_code)
            words = f"{message_of(error)}\r\n".encode()
            streams.send(client, (words if body.tty else streams.frame(streams.STDOUT, words),))
        finally:
            with _changed:
                if _started.get(found.id) in (None, found):  # not that of who has started it
                    _started.pop(found.id, None)
                _changed.notify_all()


def _cells(given: list[int] | None) -> tuple[int, int] | None:
    """The size of a terminal, rows first; None where one of them is zero."""
    rows, columns = (*(given or ()), 0, 0)[:2]
    return (min(rows, MOST_CELLS), min(columns, MOST_CELLS)) if rows and columns else None


def _tell(exec_id: str, started: Exec) -> None:
    with _changed:
        _started[exec_id] = started
        _changed.notify_all()


def _run(
    request: Request,
    client: socket.socket,
    early: bytes,
    found: Exec,
    wanted: ExecConfig,
    *,
    size: tuple[int, int] | None,
    raw: bool,
) -> None:
    """Start it, and stay until it has ended, or its client has gone or left it by the keys for that."""
    escape = None
    if wanted.tty and wanted.stdin:
        escape = streams.Escape(detach_keys.encoded(wanted.detach_keys))
    channels = streams.Channels(client, early, escape, found.detached)
    stderr = wanted.stderr and not wanted.tty
    with channels.open(
        stdin=wanted.stdin,
        stdout=wanted.stdout or (wanted.tty and wanted.stderr),
        stderr=stderr,
        tty=wanted.tty and raw,
        can_frame=False,
        raw=raw,
    ):
        found.start(stdin=channels.stdin, stdout=channels.stdout, stderr=channels.stderr, size=size)
        channels.give()
        _tell(found.id, found)
        try:
            poll = select.poll()
            poll.register(found, select.POLLIN)
            poll.register(client, 0)
            while not request.server.stopping:
                if any(fd == client.fileno() for fd, _ in poll.poll(1000)):
                    return
                with contextlib.suppress(Timeout):  # an answer to who has resized it may have woken this up
                    found.wait(0.001)
                    return
        finally:
            found.close()
