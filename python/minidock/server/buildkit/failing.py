"""Failures on the way to clients: gRPC's codes, Docker's words, and where in the Dockerfile it was."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, NamedTuple

import grpc
import msgspec

from minidock.build.dockerfile.instructions import DockerfileError
from minidock.build.failures import BuildFailed
from minidock.errors import Cancelled
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.failures import message_of

if TYPE_CHECKING:
    from typing import NoReturn

_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_TYPES = "github.com/moby/buildkit/errdefs"


class _Status(NamedTuple):
    """grpcio's Status."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


class Given(Exception):  # noqa: N818 - somebody else's failure
    """A failure that the client has told of, to be told back to it."""

    def __init__(self, status: wire.Status) -> None:
        super().__init__(status.message)
        self.status = status


def status_of(error: BaseException, vertex: str = "", dockerfile: tuple[str, bytes] = ("", b"")) -> wire.Status:
    """What a client is told of a failure: of a vertex, in a Dockerfile of this name and text."""
    if isinstance(error, Given):
        return error.status
    # Clients put the names of other codes before the words; Docker has none there.
    code = grpc.StatusCode.CANCELLED if isinstance(error, Cancelled) else grpc.StatusCode.UNKNOWN
    text = message_of(error) if isinstance(error, Exception) else "the server ends"
    if isinstance(error, BuildFailed):
        text = error.reason
    found = wire.Status(code=code.value[0], message=text)
    if not isinstance(error, (BuildFailed, DockerfileError)):
        return found
    if vertex:
        _add(found, "Vertex", {"digest": vertex})
    if error.line:
        name, data = dockerfile
        first, last = {"line": error.line}, {"line": max(error.line, error.end_line)}
        info = {"filename": name, "data": base64.b64encode(data).decode(), "language": "Dockerfile"}
        _add(found, "Source", {"info": info, "ranges": [{"start": first, "end": last}]})
    return found


def _add(status: wire.Status, name: str, value: object) -> None:
    """Add a detail: messages of BuildKit's, which travel here as JSON."""
    detail = status.details.add()
    detail.type_url = f"{_TYPES}.{name}+json"
    detail.value = msgspec.json.encode(value)


def abort(context: grpc.ServicerContext, status: wire.Status) -> NoReturn:
    """End a call with a failure."""
    code = _BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.OK:
        code = grpc.StatusCode.UNKNOWN
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    context.abort_with_status(_Status(code, status.message, details))  # type: ignore[arg-type]
    raise AssertionError  # it has raised
