"""Sessions: clients that serve while a build goes on (files, secrets, agents, credentials), each on one connection."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote_plus

from google.protobuf.message import DecodeError

from minidock.errors import Corrupt, InvalidArgument, MinidockError, NotFound
from minidock.server.buildkit import transport
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.transport import CallFailed, Transport

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

    from google.protobuf.message import Message

    from minidock.server.buildkit.transport import Call

_T = TypeVar("_T", bound="Message")
_ARRIVAL_SECONDS = 5.0
"""A client's session and its build come on two connections, in any order."""
_CALL_SECONDS = 60.0


class SessionError(MinidockError):
    """The client has gone, or does not answer."""


class Session:
    """One client, to which this is gRPC's client."""

    def __init__(self, uuid: str, shared_key: str, methods: Iterable[str], carrier: Transport) -> None:
        self.uuid = uuid
        self.shared_key = shared_key
        self._methods = frozenset(one.lower() for one in methods)
        self._transport = carrier

    def offers(self, service: str, method: str) -> bool:
        """Whether the client has said that it serves this."""
        return f"/{service}/{method}".lower() in self._methods

    def call(self, service: str, method: str, request: Message, answer: type[_T]) -> _T:
        """Ask once. Raises SessionError, NotFound, and InvalidArgument with the client's words."""
        with translated():
            call = self._transport.call(f"/{service}/{method}")
            call.send(request.SerializeToString())
            call.end()
            found = call.take(_CALL_SECONDS)
            if not found:
                raise InvalidArgument(f"the client does not answer {service}")
            call.take(_CALL_SECONDS)  # its status
            return answer.FromString(found[0])

    def stream(self, service: str, method: str, metadata: Iterable[tuple[str, str]] = ()) -> Call:
        """Talk in both directions. Raises SessionError, and InvalidArgument where the client does not offer that."""
        if not self.offers(service, method):
            raise InvalidArgument(f"the client offers no {service}")
        with translated():
            return self._transport.call(f"/{service}/{method}", metadata)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what a call raises into errors of minidock."""
    try:
        yield
    except CallFailed as error:
        if error.code in (transport.UNAVAILABLE, transport.CANCELLED, transport.DEADLINE):
            raise SessionError(f"the client of the build does not answer any more: {error}") from error
        if error.code == transport.NOT_FOUND:
            raise NotFound(str(error)) from error
        raise InvalidArgument(str(error) or f"the client answers with code {error.code}") from error
    except DecodeError as error:
        raise Corrupt(f"the client of the build sends what is no message: {error}") from error


def headers(name: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """Texts as metadata: those that are no ASCII are quoted, and a header says so."""
    found = list(values)
    if all(value.isascii() and value.isprintable() for value in found):
        return [(name, value) for value in found]
    return [*((name, quote_plus(value)) for value in found), (f"{name}-encoded", "1")]


class Sessions:
    """The sessions of a server, by the names that their clients have given them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sessions: dict[str, Session] = {}

    def serve(
        self, uuid: str, shared_key: str, methods: Iterable[str], connection: socket.socket, early: bytes = b""
    ) -> None:
        """Have a session on a connection until that ends; closes it."""
        carrier = Transport(connection)
        session = Session(uuid, shared_key, methods, carrier)
        with self._changed:
            self._sessions[uuid] = session
            self._changed.notify_all()
        try:
            carrier.serve(early)
        finally:
            with self._changed:
                if self._sessions.get(uuid) is session:
                    del self._sessions[uuid]

    def get(self, uuid: str) -> Session:
        """The session of this name, which may be about to come. Raises SessionError."""
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        with self._changed:
            while (session := self._sessions.get(uuid)) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SessionError(f"no active session for {uuid}: context deadline exceeded")
                self._changed.wait(left)
            return session


def credentials(session: Session, host: str) -> dict[str, str] | None:
    """What the client knows for a registry, in docker-py's words; None for nothing."""
    if not session.offers("moby.filesync.v1.Auth", "Credentials"):
        return None
    found = session.call(
        "moby.filesync.v1.Auth", "Credentials", wire.CredentialsRequest(host=host), wire.CredentialsResponse
    )
    if not found.secret:
        return None
    if not found.username:
        return {"identitytoken": found.secret}
    return {"username": found.username, "password": found.secret}
