"""The description of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidock.server.http import Request


def openapi(request: Request) -> None:
    """``GET /openapi.json``."""
    from minidock.server import openapi

    request.answer(openapi.document())
