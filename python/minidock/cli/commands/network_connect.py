"""``network connect`` and ``network disconnect``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.errors import NetworkNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _connect(session: Session, values: Values, arguments: list[str]) -> int:
    """Connect a container to a network."""
    from minidock.cli.words import UsageError

    options = {}
    for text in _split(values["driver-opt"]):
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError("invalid key/value pair format in driver options", 1)
        options[name.lower()] = value
    try:
        network = session.engine.networks.get(arguments[0])
    except NetworkNotFound:
        session.engine.containers.get(arguments[1])  # of two that are missing, Docker names the container
        raise
    network.connect(
        arguments[1],
        aliases=_split(values["alias"]) or None,
        ipv4_address=values["ip"],
        ipv6_address=values["ip6"],
        links=values["link"] or None,
        link_local_ips=_split(values["link-local-ip"]) or None,
        driver_opt=options or None,
        gw_priority=values["gw-priority"] or 0,
    )
    return 0


def _disconnect(session: Session, values: Values, arguments: list[str]) -> int:
    """Take a container off a network."""
    session.engine.networks.get(arguments[0]).disconnect(arguments[1], force=values["force"])
    return 0


def _split(texts: list[str]) -> list[str]:
    return [part for text in texts for part in text.split(",")]


CONNECT = Command(
    "[OPTIONS] NETWORK CONTAINER",
    "Connect a container, running or not, to a network.",
    [
        Flag("alias", "list", "Another name for it on this network"),
        Flag("driver-opt", "list", "An option of its interface, NAME=VALUE"),
        Flag("gw-priority", "int", "The network with the highest one has the default route"),
        Flag("ip", "string", "IPv4 address"),
        Flag("ip6", "string", "IPv6 address"),
        Flag("link", "list", "A name that only it has for another container, CONTAINER[:ALIAS]"),
        Flag("link-local-ip", "list", "A link-local address for it"),
    ],
    _connect,
    minimum=2,
    maximum=2,
    complete="networks",
)
DISCONNECT = Command(
    "[OPTIONS] NETWORK CONTAINER",
    "Take a container, running or not, off a network.",
    [Flag("force", "bool", "Even if its supervisor does not answer", short="f")],
    _disconnect,
    minimum=2,
    maximum=2,
    complete="networks",
)
