"""What clients ask a frontend for besides a build: ``docker build --check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from minidock.build.building import check_opened
from minidock.errors import Unsupported
from minidock.server.buildkit.client import Asked

if TYPE_CHECKING:
    from minidock.build.dockerfile.checking import Checked
    from minidock.build.options import Options
    from minidock.server.buildkit.client import Client

_LINT = "frontend.lint"
_VERSION = b"1.0.0"


def answer(request: str, client: Client, asked: Asked, options: Options) -> dict[str, bytes]:
    """Return what is asked for.

    Raises Unsupported for what minidock does not know, and what opening a context raises.
    """
    if request != _LINT:
        raise Unsupported(f"{request.removeprefix('frontend.')}: minidock builds and checks Dockerfiles, and no more")
    context = asked.open(lambda _size, _done: None)
    try:
        found = check_opened(client.engine, options, context)
        name, data = context.dockerfile_shown, context.dockerfile
    finally:
        context.close()
        client.close()
    result = msgspec.json.encode(_result(found, name, data))
    code = b"1" if found.warnings or found.error is not None else b"0"
    text = _text(found).encode("utf-8", "replace")
    return {"result.json": result, "result.txt": text, "result.statuscode": code, "version": _VERSION}


def _result(found: Checked, name: str, data: bytes) -> dict[str, Any]:
    warnings = [
        {
            "ruleName": one.rule,
            "description": one.description,
            "url": one.url,
            "detail": one.detail,
            "location": _location(one.line, one.end_line),
        }
        for one in found.warnings
    ]
    result: dict[str, Any] = {
        "warnings": warnings,
        "sources": [{"filename": name, "language": "Dockerfile", "data": data}],
    }
    if found.error is not None:
        location = _location(found.error.line, found.error.end_line)
        result["buildError"] = {"message": str(found.error), "location": location}
    return result


def _location(first: int, last: int) -> dict[str, Any]:
    if not first:
        return {}
    return {"ranges": [{"start": {"line": first}, "end": {"line": max(first, last)}}]}


def _text(found: Checked) -> str:
    lines = [str(one) for one in found.warnings]
    return "".join(f"{line}\n" for line in [*lines, *([] if found.error is None else [str(found.error)])])
