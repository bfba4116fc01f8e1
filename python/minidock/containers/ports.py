"""Published ports: what ``port`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.spec.docker import PortBinding, PortMap


def published(ports: PortMap | None, private_port: int | str | None = None) -> dict[str, list[PortBinding]]:
    """Return where ports are published, by ``PORT/PROTOCOL``; with ``private_port`` (80, ``80/udp``) only that one's.

    Raises InvalidArgument for a port that is no number, or too large.
    """
    found = {name: bindings for name, bindings in (ports or {}).items() if bindings}
    if private_port is None:
        return found
    name = port_name(str(private_port))
    return {name: found[name]} if name in found else {}


def port_name(text: str) -> str:
    """Return ``PORT/PROTOCOL`` for ``PORT[/PROTOCOL]``. Raises InvalidArgument, in Docker's words."""
    port, slash, protocol = text.partition("/")
    if not port.isascii() or not port.isdigit():
        raise InvalidArgument(f'invalid port ({port}): strconv.ParseUint: parsing "{port}": invalid syntax')
    if int(port) > 65535:
        raise InvalidArgument(f'invalid port ({port}): strconv.ParseUint: parsing "{port}": value out of range')
    return f"{int(port)}/{protocol if slash else 'tcp'}"
