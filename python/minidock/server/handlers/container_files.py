"""Files of containers as tars."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec

from minidock.server.failures import HttpError
from minidock.server.handlers.containers import container_of
from minidock.server.handlers.image_transfers import send

if TYPE_CHECKING:
    from minidock.containers.archive import PathStat
    from minidock.server.http import Request


def export(request: Request) -> None:
    """``GET /containers/{id}/export``."""
    send(request, container_of(request).export())


def _path(request: Request) -> str:
    path = request.query.text("path")
    if not path:
        raise HttpError(400, "missing parameter: path")
    return path


def _stat_header(stat: PathStat) -> tuple[str, str]:
    return "X-Docker-Container-Path-Stat", base64.b64encode(msgspec.json.encode(stat)).decode()


def stat_archive(request: Request) -> None:
    """``HEAD /containers/{id}/archive``."""
    stat = container_of(request).stat_path(_path(request))
    request.headers_only([_stat_header(stat), ("Content-Type", "application/json")])


def get_archive(request: Request) -> None:
    """``GET /containers/{id}/archive``."""
    chunks, stat = container_of(request).get_archive(_path(request))
    try:
        stream = request.stream("application/x-tar", [_stat_header(stat)])
        for chunk in chunks:
            stream.write(chunk)
        stream.close()
    finally:
        chunks.close()  # type: ignore[attr-defined]


def put_archive(request: Request) -> None:
    """``PUT /containers/{id}/archive``."""
    query = request.query
    container_of(request).put_archive(
        _path(request),
        request.reader(),  # type: ignore[arg-type]
        no_overwrite_dir_non_dir=query.flag("noOverwriteDirNonDir"),
        copy_uid_gid=query.flag("copyUIDGID"),
    )
    request.empty(200)
