"""Links to other containers (``--link``).

On the default network they are lines of /etc/hosts and variables, as they were when the container was started. On a
network of the user's own they are names that only this container has for others; its name server answers them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minidock.containers import states
from minidock.containers.draft.network import is_user_defined
from minidock.errors import Conflict, ContainerNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.containers.settling import Settling

_SHORTEST_RANGE = 3
_OWN = frozenset(("HOME", "PATH"))
"""Variables of the linked container that say nothing to others."""


class Linked(NamedTuple):
    """What links put into a container when it is started."""

    hosts: list[tuple[str, str]]
    """Addresses with their names."""
    environment: list[str]


def linked(lifecycle: Settling, record: Record) -> Linked:
    """Return what a container is told of those that it is linked to on the default network.

    Raises ContainerNotFound, and Conflict for one that does not run, or is not on that network.
    """
    wanted = [(link, name) for name, one in record.networks.items() for link in one.links or ()]
    wanted += [(link, "bridge") for link in record.host_config.links or ()]
    made = Linked([], [])
    for link, network in wanted:
        if is_user_defined(network):
            continue
        name, _, alias = link.partition(":")
        target, state = lifecycle.settle(lifecycle.store.containers.get(name))
        if state.status not in (states.RUNNING, states.PAUSED):
            raise Conflict(f"cannot link to a non running container: /{target.name} AS /{record.name}/{alias}")
        endpoint = target.endpoints.get(network)
        if endpoint is None:
            raise Conflict(f"cannot link to /{target.name}, as it is not on network {network}")
        names = " ".join(dict.fromkeys((alias, target.id[:12], target.name)))
        made.hosts.extend((one.partition("/")[0], names) for one in (endpoint.ipv4, endpoint.ipv6) if one)
        address = (endpoint.ipv4 or endpoint.ipv6).partition("/")[0]
        made.environment.extend(_variables(record.name, alias, target, address))
    return made


def unlink(lifecycle: Lifecycle, key: str) -> None:
    """Remove the link that ``container/alias`` names; the line in /etc/hosts of one that runs goes, too.

    Raises ContainerNotFound for what is no link, Conflict for the name of a container alone.
    """
    container, slash, alias = key.removeprefix("/").rpartition("/")
    if not slash:
        lifecycle.store.containers.get(key)
        raise Conflict("Conflict, cannot remove the default link name of the container")
    found = False

    def change(record: Record) -> None:
        nonlocal found
        links = record.host_config.links or []
        kept = [link for link in links if link.rpartition(":")[2] != alias]
        found = len(kept) != len(links)
        record.host_config.links = kept or None

    missing = ContainerNotFound(f"no such container: {key}")
    try:
        record = lifecycle.modify(lifecycle.store.containers.get(container).id, change)
    except ContainerNotFound:
        raise missing from None
    if record is None or not found:
        raise missing
    from minidock.containers import connecting

    connecting.forget_name(lifecycle, record, alias)


def _variables(own_name: str, alias: str, target: Record, address: str) -> Iterator[str]:
    """The variables about one container: its name, its exposed ports, its own variables."""
    prefix = alias.upper().replace("-", "_")
    yield f"{prefix}_NAME=/{own_name}/{alias}"
    exposed = target.config.exposed_ports
    ports = sorted((int(port.partition("/")[0]), port.partition("/")[2] or "tcp") for port in exposed or ())
    if ports:
        number, protocol = min(ports, key=lambda one: (one[1] != "tcp", one))
        yield f"{prefix}_PORT={protocol}://{address}:{number}"
    for protocol, first, last in _ranges(ports):
        start = f"{prefix}_PORT_{first}_{protocol.upper()}"
        yield f"{start}_START={protocol}://{address}:{first}"
        yield f"{start}_PORT_START={first}"
        yield f"{start}_PORT_END={last}"
        yield f"{start}_END={protocol}://{address}:{last}"
    for number, protocol in ports:
        start = f"{prefix}_PORT_{number}_{protocol.upper()}"
        yield f"{start}={protocol}://{address}:{number}"
        yield f"{start}_ADDR={address}"
        yield f"{start}_PORT={number}"
        yield f"{start}_PROTO={protocol}"
    for entry in target.config.env or ():
        key, equals, value = entry.partition("=")
        if equals and key not in _OWN:
            yield f"{prefix}_ENV_{key}={value}"


def _ranges(ports: Sequence[tuple[int, str]]) -> Iterator[tuple[str, int, int]]:
    """The runs of at least three ports without a gap: protocol, first and last."""
    for protocol in dict.fromkeys(protocol for _, protocol in ports):
        numbers = [number for number, its in ports if its == protocol]
        start = 0
        for end in range(1, len(numbers) + 1):
            if end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
                continue
            if end - start >= _SHORTEST_RANGE:
                yield protocol, numbers[start], numbers[end - 1]
            start = end
