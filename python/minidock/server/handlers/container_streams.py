"""What of a container comes as a stream: logs, stats, its end."""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock.containers import control, states
from minidock.containers.exits import exit_status
from minidock.containers.settling import KILLED
from minidock.errors import ContainerNotFound, MinidockError, NotFound, Timeout
from minidock.server import streams
from minidock.server.failures import HttpError, Vanished, message_of
from minidock.server.handlers.containers import container_of
from minidock.server.http import JSON, MULTIPLEXED, RAW_STREAM
from minidock.spec.docker import ContainerWait, WaitError

if TYPE_CHECKING:
    from minidock.containers.container import Container
    from minidock.server.http import Request
    from minidock.server.lives import Life

_LOOK = 0.2
"""Seconds after which somebody else's start of a container is seen."""


def stream_type(request: Request, *, tty: bool) -> str:
    """Return the content type of a container's output."""
    return RAW_STREAM if tty or request.before(1, 42) else MULTIPLEXED


def logs(request: Request) -> None:
    """``GET /containers/{id}/logs``."""
    query = request.query
    stdout, stderr = query.flag("stdout"), query.flag("stderr")
    if not (stdout or stderr):
        raise HttpError(400, "Bad parameters: you must choose at least one stream")
    container = container_of(request)
    tail = query.text("tail")
    lines = int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 19 else None  # else all, as in Docker
    log = container.logs(
        stream=True,
        follow=query.flag("follow"),
        stdout=stdout,
        stderr=stderr,
        since=query.text("since") or None,
        until=query.text("until") or None,
        tail=lines,
    )
    tty = container.record.config.tty
    with log, request.server.watch.calling(request.client, log.close):
        stream = request.stream(stream_type(request, tty=tty))
        for number, data in log.text(timestamps=query.flag("timestamps"), details=query.flag("details")):
            stream.write(data if tty else streams.frames(number, data))
        stream.close()


def stats(request: Request) -> None:
    """``GET /containers/{id}/stats``: a look each second, or one; that needs a second, unless ``one-shot`` is set."""
    query = request.query
    container = container_of(request)
    if not query.flag("stream", default=True):
        request.answer(container.stats(interval=None if query.flag("one-shot") else 1.0).body())
        return
    looks = container.stats(stream=True)
    with looks, request.server.watch.calling(request.client, looks.close):
        stream = request.stream(JSON)
        if not container.state.running:
            stream.write(msgspec.json.encode(container.stats().body()) + b"\n")
        for look in looks:
            stream.write(msgspec.json.encode(look.body()) + b"\n")
        stream.close()


# --- waiting ---


def wait(request: Request) -> None:
    """``POST /containers/{id}/wait``: the headers come at once, the exit code when it is known."""
    condition = request.query.text("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise HttpError(400, f'invalid condition: "{condition}"')
    with contextlib.ExitStack() as stack:
        try:
            container = container_of(request)
            life = stack.enter_context(request.server.lives.expecting(container.id))
            ends = life.ends
            container.reload()
        except ContainerNotFound:
            code = request.server.lives.code_of(request.names["id"])
            if code is None:
                raise
            request.answer(ContainerWait(code))
            return
        stream = request.stream(JSON)
        answer = ContainerWait(0)
        try:
            answer.status_code = _ended(request, container, life, ends, condition)
        except MinidockError as error:
            answer.error = WaitError(message_of(error))
        stream.write(msgspec.json.encode(answer) + b"\n")
        stream.close()


def _ended(request: Request, container: Container, life: Life, ends: int, condition: str) -> int:
    """Wait for an end. Raises Vanished when the client goes, or the server stops."""
    if condition == "not-running" and container.state.status not in states.ALIVE:
        return container.state.exit_code
    code = container.state.exit_code
    if condition != "removed" or container.state.status in states.ALIVE or container.state.status == states.CREATED:
        code = _next_end(request, container, life, ends)
    if condition == "removed":
        _await_removal(request, container.id, life)
    return code


def _require_client(request: Request) -> None:
    if request.server.stopping or streams.has_gone(request.client):
        raise Vanished


def _next_end(request: Request, container: Container, life: Life, ends: int) -> int:
    changed = request.server.lives.changed
    before = container.state.finished_at
    while True:
        with changed:
            if life.ends == ends and life.following:
                changed.wait(_LOOK)
            if life.ends != ends:
                return life.exit_code
            followed = life.following
        _require_client(request)
        if followed:
            continue
        try:
            container.reload()
        except ContainerNotFound:
            with changed:
                return life.exit_code if life.ends != ends else container.state.exit_code
        if container.state.status in states.ALIVE:
            code = _end_of_supervisor(request, container)
            if code is not None:
                return code
            continue
        if container.state.finished_at != before:
            return container.state.exit_code
        with changed:
            if life.ends == ends and not life.following:
                changed.wait(_LOOK)


def _end_of_supervisor(request: Request, container: Container) -> int | None:
    """Wait for the next end that a supervisor tells of; None when it cannot tell any more."""
    try:
        supervisor = request.engine.lifecycle.connect(container.id)
    except (NotFound, Timeout):
        return _settled(container)
    with supervisor:
        try:
            supervisor.request(b'{"op":"ping"}', timeout=control.ANSWER_SECONDS)
            _poll(request, supervisor)
            packet = supervisor.wait(control.ANSWER_SECONDS)  # it is there; without a moment nothing is read
        except _native.NativeError:
            return _settled(container)
    return None if packet is None else exit_status(packet).exit_code


def _settled(container: Container) -> int | None:
    """How a container ended whose supervisor is not there; None if it has not."""
    try:
        container.reload()
    except ContainerNotFound:
        return KILLED
    if container.state.status in states.ALIVE:
        time.sleep(0.01)
        return None
    return container.state.exit_code


def _poll(request: Request, supervisor: _native.Supervisor) -> None:
    """Return when a supervisor says something. Raises Vanished when the client goes first."""
    poll = select.poll()
    poll.register(supervisor.fileno(), select.POLLIN)
    poll.register(request.client, 0)
    while True:
        for fd, _ in poll.poll(1000):
            if fd == supervisor.fileno():
                return
            raise Vanished
        if request.server.stopping:
            raise Vanished


def _await_removal(request: Request, container_id: str, life: Life) -> None:
    changed = request.server.lives.changed
    pause = 0.002
    while True:
        with changed:
            if life.removed:
                return
        if request.engine.store.containers.find(container_id) is None:
            return
        _require_client(request)
        with changed:
            if not life.removed:
                changed.wait(pause)
        pause = min(pause * 2, _LOOK)
