"""Volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.server.bodies import VolumeBody

if TYPE_CHECKING:
    from minidock.server.http import Request


def listed(request: Request) -> None:
    """``GET /volumes``."""
    found = [volume.inspect() for volume in request.engine.volumes.list(request.query.filters())]
    request.answer({"Volumes": found, "Warnings": None})


def inspect(request: Request) -> None:
    """``GET /volumes/{name}``."""
    request.answer(request.engine.volumes.get(request.names["name"]).inspect())


def create(request: Request) -> None:
    """``POST /volumes/create``."""
    body = request.json(VolumeBody)
    made = request.engine.volumes.create(body.name or None, body.driver or None, body.driver_opts, body.labels)
    request.answer(made.inspect(), 201)


def remove(request: Request) -> None:
    """``DELETE /volumes/{name}``."""
    name = request.names["name"]
    [error] = request.engine.volumes.remove([name], force=request.query.flag("force"))
    if error is not None:
        raise error
    request.empty()


def prune(request: Request) -> None:
    """``POST /volumes/prune``."""
    # Older clients mean every volume, not those without a name alone.
    request.answer(request.engine.volumes.prune(request.query.filters(), all=request.before(1, 42)))
