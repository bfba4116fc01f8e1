"""The one table of routes, and the way from a request to its handler, which is imported when it is first used."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from minidock.server.failures import HttpError
from minidock.server.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.server.http import Request

NEWEST, OLDEST = (1, 51), (1, 24)

# Method, path and handler; `{name}` is one part of a path, `{name:rest}` any number of them.
SERVED = """
GET    /_ping                              system.ping
HEAD   /_ping                              system.ping
GET    /version                            system.version
GET    /info                               system.info
GET    /events                             system.events
GET    /system/df                          system.df
POST   /auth                               system.auth
GET    /openapi.json                       description.openapi

GET    /containers/json                    containers.listed
POST   /containers/create                  containers.create
POST   /containers/prune                   containers.prune
GET    /containers/{id}/json               containers.inspect
GET    /containers/{id}/top                containers.top
GET    /containers/{id}/changes            containers.changes
GET    /containers/{id}/export             container_files.export
GET    /containers/{id}/logs               container_streams.logs
GET    /containers/{id}/stats              container_streams.stats
GET    /containers/{id}/archive            container_files.get_archive
HEAD   /containers/{id}/archive            container_files.stat_archive
PUT    /containers/{id}/archive            container_files.put_archive
POST   /containers/{id}/start              containers.start
POST   /containers/{id}/stop               containers.stop
POST   /containers/{id}/restart            containers.restart
POST   /containers/{id}/kill               containers.kill
POST   /containers/{id}/pause              containers.pause
POST   /containers/{id}/unpause            containers.unpause
POST   /containers/{id}/rename             containers.rename
POST   /containers/{id}/resize             containers.resize
POST   /containers/{id}/update             containers.update
POST   /containers/{id}/wait               container_streams.wait
POST   /containers/{id}/attach             attaching.attach
GET    /containers/{id}/attach/ws          attaching.attach_websocket
DELETE /containers/{id:rest}               containers.remove

POST   /containers/{id}/exec               execs.create
POST   /exec/{id}/start                    execs.start
POST   /exec/{id}/resize                   execs.resize
GET    /exec/{id}/json                     execs.inspect

GET    /images/json                        images.listed
POST   /images/create                      image_transfers.create
POST   /images/load                        image_transfers.load
GET    /images/get                         image_transfers.save_many
GET    /images/search                      images.search
POST   /images/prune                       images.prune
GET    /images/{name:rest}/json            images.inspect
GET    /images/{name:rest}/history         images.history
GET    /images/{name:rest}/get             image_transfers.save_one
POST   /images/{name:rest}/push            image_transfers.push
POST   /images/{name:rest}/tag             images.tag
DELETE /images/{name:rest}                 images.remove
GET    /distribution/{name:rest}/json      images.distribution
POST   /build                              builds.build
POST   /build/cancel                       builds.cancel
POST   /build/prune                        builds.prune
POST   /commit                             images.commit
POST   /grpc                               buildkit.grpc
POST   /session                            buildkit.session

GET    /networks                           networks.listed
GET    /networks/{id}                      networks.inspect
POST   /networks/create                    networks.create
POST   /networks/prune                     networks.prune
POST   /networks/{id}/connect              networks.connect
POST   /networks/{id}/disconnect           networks.disconnect
DELETE /networks/{id}                      networks.remove

GET    /volumes                            volumes.listed
GET    /volumes/{name}                     volumes.inspect
POST   /volumes/create                     volumes.create
POST   /volumes/prune                      volumes.prune
DELETE /volumes/{name}                     volumes.remove
"""

ABSENT = """
GET    /swarm                              absent.swarm
POST   /swarm/init                         absent.begin
POST   /swarm/join                         absent.begin
POST   /swarm/leave                        absent.leave
POST   /swarm/update                       absent.update
GET    /swarm/unlockkey                    absent.swarm
POST   /swarm/unlock                       absent.swarm
GET    /nodes                              absent.swarm
GET    /nodes/{id}                         absent.swarm
DELETE /nodes/{id}                         absent.swarm
POST   /nodes/{id}/update                  absent.update
GET    /services                           absent.swarm
POST   /services/create                    absent.swarm
GET    /services/{id}                      absent.swarm
DELETE /services/{id}                      absent.swarm
POST   /services/{id}/update               absent.update
GET    /services/{id}/logs                 absent.service_logs
GET    /tasks                              absent.swarm
GET    /tasks/{id}                         absent.swarm
GET    /tasks/{id}/logs                    absent.service_logs
GET    /secrets                            absent.swarm
POST   /secrets/create                     absent.swarm
GET    /secrets/{id}                       absent.swarm
DELETE /secrets/{id}                       absent.swarm
POST   /secrets/{id}/update                absent.update
GET    /configs                            absent.swarm
POST   /configs/create                     absent.swarm
GET    /configs/{id}                       absent.swarm
DELETE /configs/{id}                       absent.swarm
POST   /configs/{id}/update                absent.update
GET    /plugins                            absent.no_plugins
GET    /plugins/privileges                 absent.make_plugin
POST   /plugins/pull                       absent.make_plugin
POST   /plugins/create                     absent.make_plugin
GET    /plugins/{name:rest}/json           absent.plugin
DELETE /plugins/{name:rest}                absent.plugin
POST   /plugins/{name:rest}/enable         absent.plugin
POST   /plugins/{name:rest}/disable        absent.plugin
POST   /plugins/{name:rest}/upgrade        absent.plugin
POST   /plugins/{name:rest}/push           absent.plugin
POST   /plugins/{name:rest}/set            absent.plugin
"""
"""Routes of what minidock does not have, answered as by a Docker Engine that is in no swarm and has no plugins."""

_VERSION = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(/.*)")


class Route:
    """One line of the table."""

    def __init__(self, method: str, path: str, handler: str, package: str = "minidock.server.handlers") -> None:
        """``handler`` is a function of a module of ``package``."""
        self._package = package
        self.method = method
        self.path = path
        self.handler = handler
        pattern = re.sub(r"\\\{(\w+):rest\\\}", r"(?P<\1>.+)", re.escape(path))
        self.pattern = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern))
        self._call: Callable[[Request], None] | None = None

    def call(self, request: Request) -> None:
        """Answer a request."""
        if self._call is None:
            module, _, name = self.handler.partition(".")
            found: Any = getattr(importlib.import_module(f"{self._package}.{module}"), name)
            self._call = found
        assert self._call is not None  # noqa: S101 - set above
        self._call(request)


def table() -> list[Route]:
    """Return the routes that are served, in the order in which they are tried."""
    return [Route(*line.split()) for line in SERVED.splitlines() if line]


def absent() -> list[Route]:
    """Return the routes of what is not part of minidock; tried after the others."""
    return [Route(*line.split()) for line in ABSENT.splitlines() if line]


_by_method: dict[str, list[Route]] = {}
_literal: dict[tuple[str, str], Route] = {}
"""Paths without names, which most requests have."""
for _route in (*table(), *absent()):
    _by_method.setdefault(_route.method, []).append(_route)
    if "{" not in _route.path:
        _literal[_route.method, _route.path] = _route


def handle(request: Request) -> None:
    """Find a request's route and answer it. Raises HttpError, and what the engine raises."""
    path, _, query = request.target.decode("latin-1").partition("?")
    if path.startswith("http://"):  # the absolute form, which proxies use
        path = "/" + path.removeprefix("http://").partition("/")[2]
    match = _VERSION.fullmatch(path)
    request.version = NEWEST
    if match is not None:
        request.version = int(match[1]), int(match[2])
        path = match[3]
    try:
        request.path = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise HttpError(400, "the path is not UTF-8") from None
    at_once = _literal.get((request.method, request.path))
    for route in _by_method.get(request.method, ()) if at_once is None else (at_once,):
        found = route.pattern.fullmatch(request.path)
        if found is not None:
            _require_version(request.version)
            request.query = Query(query)
            request.names = found.groupdict()
            route.call(request)
            return
    raise HttpError(404, "page not found")


def version_text(version: tuple[int, int]) -> str:
    """Return ``1.51`` for (1, 51)."""
    return ".".join(map(str, version))


def _require_version(version: tuple[int, int]) -> None:
    asked = version_text(version)
    if version > NEWEST:
        newest = version_text(NEWEST)
        raise HttpError(400, f"client version {asked} is too new. Maximum supported API version is {newest}")
    if version < OLDEST:
        oldest = version_text(OLDEST)
        raise HttpError(
            400,
            f"client version {asked} is too old. Minimum supported API version is {oldest}, please upgrade your client "
            "to a newer version",
        )
