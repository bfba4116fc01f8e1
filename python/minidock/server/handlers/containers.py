"""Containers, but for their streams and files."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import msgspec

from minidock.containers.container import Container
from minidock.containers.parse import signals
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument, NameInUse
from minidock.server import creating
from minidock.server.bodies import CreateBody, UpdateBody
from minidock.server.failures import HttpError, message_of
from minidock.spec.docker import ContainerCreated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.server.http import Request


MOST_CELLS = (1 << 16) - 1
"""Rows and columns of a terminal."""


def container_of(request: Request) -> Container:
    """Return the container that the path names. Raises ContainerNotFound."""
    return request.engine.containers.get(request.names["id"])


@contextlib.contextmanager
def as_named(request: Request, container_id: str) -> Iterator[None]:
    """Let a refusal begin with the name that the client has used, as Docker's do."""
    try:
        yield
    except Conflict as error:
        raise type(error)(str(error).replace(container_id, request.names["id"], 1)) from error


def listed(request: Request) -> None:
    """``GET /containers/json``."""
    query = request.query
    limit = query.number("limit")
    request.answer(
        request.engine.containers.summaries(
            all=query.flag("all"),
            filters=query.filters(),
            limit=limit if limit is not None and limit > 0 else None,
            size=query.flag("size"),
        )
    )


def create(request: Request) -> None:
    """``POST /containers/create``."""
    body = request.json(CreateBody)
    planned = creating.plan(
        request.engine, body, request.query.text("name") or None, request.query.text("platform") or None
    )
    record = request.engine.lifecycle.create(planned)
    request.answer(ContainerCreated(record.id, planned.warnings), 201)


def inspect(request: Request) -> None:
    """``GET /containers/{id}/json``."""
    request.answer(container_of(request).inspect(size=request.query.flag("size")))


def top(request: Request) -> None:
    """``GET /containers/{id}/top``."""
    request.answer(container_of(request).top(request.query.text("ps_args") or None))


def changes(request: Request) -> None:
    """``GET /containers/{id}/changes``."""
    found = [{"Path": change.path, "Kind": int(change.kind)} for change in container_of(request).diff()]
    request.answer(found or None)


def start(request: Request) -> None:
    """``POST /containers/{id}/start``: 304 when it runs already."""
    container = container_of(request)
    started = request.server.lives.start(container.id, request.query.text("detachKeys") or None)
    request.empty(204 if started else 304)


def _timeout(request: Request) -> float | None:
    return request.query.number("t")


def _signal(request: Request, refusal: str) -> str | None:
    """Return the signal that is asked for; None for none. Raises InvalidArgument for what is none."""
    text = request.query.text("signal")
    try:
        return str(signals.signal(text)) if text else None
    except InvalidArgument as error:
        raise InvalidArgument(f"{refusal.format(request.names['id'])}: {error}") from error


def stop(request: Request) -> None:
    """``POST /containers/{id}/stop``: 304 when it does not run."""
    container = container_of(request)
    if not container.state.running:
        request.empty(304)
        return
    container.stop(_timeout(request), _signal(request, "cannot stop container: {}"))
    request.empty()


def restart(request: Request) -> None:
    """``POST /containers/{id}/restart``."""
    container = container_of(request)
    container.restart(_timeout(request), _signal(request, "cannot restart container {}"))
    request.empty()


def kill(request: Request) -> None:
    """``POST /containers/{id}/kill``."""
    signal = _signal(request, "cannot kill container: {}")
    try:
        container = container_of(request)
    except ContainerNotFound as error:
        raise ContainerNotFound(f"cannot kill container: {request.names['id']}: {error}") from error
    with as_named(request, container.id):
        container.kill(signal or "KILL")
    request.empty()


def pause(request: Request) -> None:
    """``POST /containers/{id}/pause``."""
    container_of(request).pause()
    request.empty()


def unpause(request: Request) -> None:
    """``POST /containers/{id}/unpause``."""
    container = container_of(request)
    if not container.state.paused:
        raise HttpError(500, f"Container {container.id} is not paused")  # 500 in Docker, too
    container.unpause()
    request.empty()


def rename(request: Request) -> None:
    """``POST /containers/{id}/rename``."""
    name = request.query.text("name")
    if not name:
        raise InvalidArgument("neither old nor new names may be empty")
    container = container_of(request)
    try:
        container.rename(name)
    except NameInUse as error:
        raise NameInUse(f"Error when allocating new name: {message_of(error)}") from error
    request.empty()


def size_of(request: Request) -> tuple[int, int]:
    """Return the rows and columns that a query asks for. Raises HttpError (400)."""
    return _cells(request.query.text("h"), "height"), _cells(request.query.text("w"), "width")


def _cells(text: str, what: str) -> int:
    if not re.fullmatch("[+-]?[0-9]{1,19}", text, re.ASCII):
        raise HttpError(400, f'invalid resize {what} "{text[:60]}": invalid syntax')
    if not 0 <= int(text) < 1 << 32:
        raise HttpError(400, f'invalid resize {what} "{text[:60]}": value out of range')
    return min(int(text), MOST_CELLS)


def resize(request: Request) -> None:
    """``POST /containers/{id}/resize``."""
    container, size = container_of(request), size_of(request)
    if container.record.config.tty or not container.state.running:
        container.resize(*size)
    request.empty(200)


def update(request: Request) -> None:
    """``POST /containers/{id}/update``."""
    container = container_of(request)
    options = creating.update_options(request.json(UpdateBody))
    with creating.their_words():
        warnings = container.update(**options)
    request.answer({"Warnings": warnings or None})


def remove(request: Request) -> None:
    """``DELETE /containers/{id}``."""
    query = request.query
    if query.flag("link"):
        request.engine.containers.unlink(request.names["id"])
        request.empty()
        return
    container = container_of(request)
    with as_named(request, container.id):
        request.engine.lifecycle.remove(container.id, force=query.flag("force"), volumes=query.flag("v"), later=True)
    request.empty()


def prune(request: Request) -> None:
    """``POST /containers/prune``."""
    request.answer(msgspec.to_builtins(request.engine.containers.prune(request.query.filters())))
