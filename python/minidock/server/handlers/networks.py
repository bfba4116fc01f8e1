"""Networks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from minidock.errors import Conflict, InvalidArgument, NameInUse
from minidock.server.bodies import ConnectBody, DisconnectBody, NetworkBody
from minidock.server.failures import HttpError, message_of
from minidock.spec.docker import EndpointSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.server.http import Request


@contextlib.contextmanager
def _forbidding() -> Iterator[None]:
    """Docker's status for what a network's state excludes, unless its name is taken."""
    try:
        yield
    except NameInUse:
        raise
    except Conflict as error:
        raise HttpError(403, message_of(error)) from error


def listed(request: Request) -> None:
    """``GET /networks``."""
    found = [msgspec.structs.replace(one.inspect(), containers={})
             for one in request.engine.networks.list(filters=request.query.filters())]  # fmt: skip
    request.answer(found)


def inspect(request: Request) -> None:
    """``GET /networks/{id}``."""
    request.answer(request.engine.networks.get(request.names["id"]).inspect())


def create(request: Request) -> None:
    """``POST /networks/create``."""
    body = request.json(NetworkBody)
    if not body.name:
        raise InvalidArgument("network name is required")
    with _forbidding():
        made = request.engine.networks.create(
            body.name,
            body.driver,
            options=body.options,
            ipam={} if body.ipam is UNSET else msgspec.to_builtins(body.ipam),
            internal=body.internal,
            labels=body.labels,
            enable_ipv6=body.enable_ipv6,
            attachable=body.attachable,
            scope=body.scope or None,
            ingress=body.ingress,
            enable_ipv4=body.enable_ipv4,
            config_only=body.config_only,
            config_from=body.config_from.network or None,
        )
    request.answer({"Id": made.id, "Warning": "\n".join(made.warnings)}, 201)


def connect(request: Request) -> None:
    """``POST /networks/{id}/connect``."""
    body = request.json(ConnectBody)
    network = request.engine.networks.get(request.names["id"])
    endpoint = body.endpoint_config or EndpointSettings()
    ipam = endpoint.ipam_config
    with _forbidding():
        network.connect(
            body.container,
            aliases=endpoint.aliases,
            ipv4_address=ipam.ipv4_address or None if ipam else None,
            ipv6_address=ipam.ipv6_address or None if ipam else None,
            links=endpoint.links,
            link_local_ips=ipam.link_local_ips if ipam else None,
            mac_address=endpoint.mac_address or None,
            driver_opt=endpoint.driver_opts,
            gw_priority=endpoint.gw_priority,
        )
    request.empty(200)


def disconnect(request: Request) -> None:
    """``POST /networks/{id}/disconnect``."""
    body = request.json(DisconnectBody)
    request.engine.networks.get(request.names["id"]).disconnect(body.container, force=body.force)
    request.empty(200)


def remove(request: Request) -> None:
    """``DELETE /networks/{id}``."""
    with _forbidding():
        request.engine.networks.get(request.names["id"]).remove()
    request.empty()


def prune(request: Request) -> None:
    """``POST /networks/prune``."""
    request.answer(request.engine.networks.prune(request.query.filters()))
