"""The page's server: :mod:`minidock.server`'s on a TCP socket of loopback, behind the gate, with its own routes."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote

from minidock.errors import Conflict, InvalidArgument
from minidock.server.failures import HttpError
from minidock.server.listening import Listener
from minidock.server.query import Query
from minidock.server.routes import Route
from minidock.server.serving import Server
from minidock.store.failures import from_os
from minidock.ui.gate import Gate

if TYPE_CHECKING:
    from minidock.engine import Engine
    from minidock.server.http import Request

ADDRESS = "127.0.0.1"
_BACKLOG = 128
_PACKAGE = "minidock.ui"

SERVED = """
GET  /                          pages.page
GET  /assets/{name:rest}        pages.asset
GET  /live                      live.follow
GET  /about                     views.about
GET  /doctor                    views.doctor
GET  /events                    views.events
GET  /images                    views.images
GET  /images/{id}               views.image
GET  /networks                  views.networks
GET  /volumes                   views.volumes
GET  /containers/{id}           views.container
GET  /containers/{id}/logs      logs.follow
GET  /containers/{id}/exec      terminal.run
POST /containers/{id}/{verb}    views.change
"""

_HEADERS = (
    "Cache-Control: no-store",
    "Referrer-Policy: no-referrer",
    "X-Content-Type-Options: nosniff",
    "X-Frame-Options: DENY",
    "Cross-Origin-Opener-Policy: same-origin",
    "Cross-Origin-Resource-Policy: same-origin",
    "Permissions-Policy: camera=(), geolocation=(), microphone=()",
)


def table() -> list[Route]:
    """Return the routes, in the order in which they are tried."""
    triples = (line.split() for line in SERVED.splitlines() if line)
    return [Route(method, path, handler, _PACKAGE) for method, path, handler in triples]


def listen(port: int) -> Listener:
    """Listen on a port of loopback, 0 for any that is free. Raises InvalidArgument, Conflict for one that is taken."""
    if not 0 <= port < 1 << 16:
        raise InvalidArgument(f"port {port}: must be from 0 to 65535")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ADDRESS, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        import errno

        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"port {port} of {ADDRESS} is taken; choose another --port") from error
        raise from_os(error, "listen on", f"{ADDRESS}:{port}") from error
    return Listener(listening)


class UiServer(Server):
    """Serves the page to the one browser that has come by the link."""

    command = "ui"

    def __init__(self, engine: Engine, listener: Listener) -> None:
        super().__init__(engine, [listener])
        self.gate = Gate(listener.socket.getsockname()[1])
        self.head = "\r\n".join(("", *_HEADERS, "", "")).encode()
        self._routes = table()

    def handle(self, request: Request) -> None:
        """Answer what the gate lets in. Raises HttpError, and what the engine raises."""
        try:
            self._handle(request)
        except HttpError as error:
            if request.answered or not _navigates(request):
                raise
            from minidock.ui import pages

            pages.refused(request, error)

    def _handle(self, request: Request) -> None:
        # A log never has more of a request than this: neither token nor place.
        request.path = "(outside)"
        self.gate.require_origin(request)
        path, _, query = request.target.decode("latin-1").partition("?")
        rest = self.gate.inside(path)
        if rest is None:
            raise HttpError(404, "Nothing is here.")
        try:
            request.path = unquote(rest, errors="strict")
        except UnicodeDecodeError:
            raise HttpError(400, "the path is not UTF-8") from None
        request.query = Query(query)
        if (request.method, request.path) == ("GET", "/enter"):
            self._enter(request)
            return
        self.gate.require_session(request)
        for route in self._routes:
            found = route.pattern.fullmatch(request.path) if route.method == request.method else None
            if found is not None:
                request.names = found.groupdict()
                route.call(request)
                return
        raise HttpError(404, "Nothing is here.")

    def _enter(self, request: Request) -> None:
        """Swap the token, and lead to the page. Raises HttpError (403)."""
        headers = [("Location", f"{self.gate.place}/")]
        try:
            headers.append(("Set-Cookie", self.gate.enter(request.query.text("token"))))
        except HttpError:
            if not self.gate.has_session(request):  # who is in already may use the link as a bookmark
                raise
        request.headers_only(headers, 303)


def _navigates(request: Request) -> bool:
    """Whether a person will read the answer."""
    mode = request.headers.get("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate"
    return "text/html" in request.headers.get("accept", "")
