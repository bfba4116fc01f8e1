"""``/_ping``, ``/version``, ``/info``, ``/events``, ``/system/df``, ``/auth``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock.errors import RegistryUnauthorized
from minidock.server.buildkit import is_available
from minidock.server.failures import HttpError
from minidock.server.handlers.images import with_virtual_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.server.http import Request

_BUILDER = "2" if is_available() else "1"
"""BuildKit, or the classic builder alone."""
_PING = (
    ("Builder-Version", _BUILDER),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Swarm", "inactive"),
)


class Auth(msgspec.Struct, rename="lower"):
    """The body of ``POST /auth``."""

    username: str = ""
    password: str = ""
    server_address: str = msgspec.field(default="", name="serveraddress")
    identity_token: str = msgspec.field(default="", name="identitytoken")


def ping(request: Request) -> None:
    """Say that the server is there."""
    request.text("OK", headers=_PING)


def version(request: Request) -> None:
    """What ``docker version`` prints."""
    request.answer(request.engine.version())


def info(request: Request) -> None:
    """What ``docker info`` prints."""
    request.answer(request.engine.info())


def df(request: Request) -> None:
    """What takes up the disk; ``type`` chooses among the kinds."""
    found = msgspec.to_builtins(request.engine.df())
    if request.before(1, 44):
        found["Images"] = with_virtual_sizes(found["Images"] or [])
    kinds = request.query.all("type")
    names = {"container": "Containers", "image": "Images", "volume": "Volumes", "build-cache": "BuildCache"}
    for kind in kinds:
        if kind not in names:
            raise HttpError(400, f"unknown object type: {kind}")
    if kinds:
        for kind, name in names.items():
            if kind not in kinds:
                found[name] = None
        if "image" not in kinds:
            found["LayersSize"] = 0
    request.answer(found)


def _known(filters: Mapping[str, list[str]] | None) -> dict[str, list[str]]:
    """Filters of events without those that Docker does not know, and passes over."""
    from minidock.events import filtering

    found = {name: values for name, values in (filters or {}).items() if name in filtering.NAMES}
    for name, allowed in filtering.VALUES.items():
        if values := found.get(name):
            # Nothing is of a kind that does not exist, nor of a swarm.
            found[name] = [value for value in values if value in allowed]
            found |= {} if found[name] else {name: [], "scope": ["swarm"]}
    return found


def events(request: Request) -> None:
    """What happens, as it happens, a line each."""
    query = request.query
    found = request.engine.events(
        since=query.text("since") or None,
        until=query.text("until") or None,
        filters=_known(query.filters()),
        follow=True,
    )
    encode = msgspec.json.Encoder().encode
    with found, request.server.watch.calling(request.client, found.close):
        stream = request.stream("application/json")
        while True:
            try:
                batch = found.batch()
            except StopIteration:
                break
            stream.write(b"".join(encode(event.message()) + b"\n" for event in batch))
        stream.close()


def auth(request: Request) -> None:
    """Check credentials, and say whether the registry takes them."""
    # Loads OpenSSL's library and more, which one who only pings has no use for.
    from minidock.registry.credentials import Login, registry_host

    body = request.json(Auth)
    try:
        login = Login(body.username, body.password)
        checked = request.engine.registry.check_login(registry_host(body.server_address), login)
    except RegistryUnauthorized as error:
        raise HttpError(401, str(error)) from error
    # Nothing is kept here: clients send what they have with each request that needs it.
    request.answer({"Status": "Login Succeeded", "IdentityToken": checked.identity_token})
