"""``/grpc`` and ``/session``: connections that become gRPC's, in one direction and in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.server.buildkit import SESSION, is_available
from minidock.server.failures import HttpError

if TYPE_CHECKING:
    from minidock.server.buildkit.backend import Backend
    from minidock.server.http import Request


def _backend(request: Request) -> Backend:
    if not is_available():
        raise HttpError(501, "BuildKit's API needs the extra of minidock: pip install 'minidock[buildkit]'")
    if request.headers.get("upgrade", "").lower() != "h2c":
        raise HttpError(400, "no upgrade to h2c was asked for")
    return request.server.buildkit()


def grpc(request: Request) -> None:
    """``POST /grpc``: the client calls BuildKit's services."""
    backend = _backend(request)
    connection, early = request.hijack()
    try:
        request.confirm_upgrade("h2c")
    except BaseException:
        connection.close()
        raise
    backend.serve(connection, early)


def session(request: Request) -> None:
    """``POST /session``: the client serves what its builds need."""
    backend = _backend(request)
    uuid = request.headers.get(f"{SESSION}uuid", "")
    if not uuid:
        raise HttpError(400, f"{SESSION}uuid: the session has no id")
    shared = request.headers.get(f"{SESSION}sharedkey", "")
    methods = request.all_headers(f"{SESSION}grpc-method")
    connection, early = request.hijack()
    try:
        request.confirm_upgrade("h2c")
    except BaseException:
        connection.close()
        raise
    backend.sessions.serve(uuid, shared, methods, connection, early)
