"""Swarms and plugins: what an engine answers that is in no swarm, and has no plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.server.bodies import SwarmBody
from minidock.server.failures import HttpError

if TYPE_CHECKING:
    from minidock.server.http import Request

_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_NO_PLUGINS = "minidock has no plugins: storage, network and log drivers are built in"
_UNSIGNED = 1 << 64


def swarm(request: Request) -> None:
    """Anything of a swarm's. Raises HttpError (503)."""
    raise HttpError(503, _NO_MANAGER)


def leave(request: Request) -> None:
    """``POST /swarm/leave``. Raises HttpError (503)."""
    raise HttpError(503, "This node is not part of a swarm")


def begin(request: Request) -> None:
    """``POST /swarm/init``, ``POST /swarm/join``. Raises HttpError (400, 501)."""
    if not request.json(SwarmBody).listen_addr:
        raise HttpError(400, 'invalid ListenAddr "": invalid empty address')
    raise HttpError(501, "swarm mode is not part of minidock: containers run on this host alone")


def update(request: Request) -> None:
    """A change of a swarm, or of something of a swarm's. Raises HttpError (400, 503)."""
    kind, text = request.path.split("/")[1].removesuffix("s"), request.query.text("version")
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < _UNSIGNED):
        detail = f" '{text[:60]}': strconv.ParseUint: parsing \"{text[:60]}\": invalid syntax"
        raise HttpError(400, f"invalid {kind} version{'' if kind in ('secret', 'config') else detail}")
    raise HttpError(503, _NO_MANAGER)


def service_logs(request: Request) -> None:
    """``GET /services/{id}/logs``, ``GET /tasks/{id}/logs``. Raises HttpError (400, 503)."""
    if not (request.query.flag("stdout") or request.query.flag("stderr")):
        raise HttpError(400, "Bad parameters: you must choose at least one stream")
    raise HttpError(503, _NO_MANAGER)


def no_plugins(request: Request) -> None:
    """``GET /plugins``: none."""
    request.query.filters()
    request.answer([])


def plugin(request: Request) -> None:
    """Anything of one plugin's. Raises HttpError (404)."""
    raise HttpError(404, f'plugin "{request.names["name"]}" not found')


def make_plugin(request: Request) -> None:
    """What would bring a plugin. Raises HttpError (501)."""
    raise HttpError(501, _NO_PLUGINS)
