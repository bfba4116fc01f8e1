"""``EXPOSE``: ports, ranges and protocols. Addresses and host ports, which Docker takes, are checked and dropped."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_HIGHEST = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


class PortError(Exception):
    """The text says what is wrong."""


class Exposed(NamedTuple):
    """The ports of one word: ``80/tcp``. ``protocol`` as written; ``published``: an address or host port was there."""

    ports: list[str]
    protocol: str
    published: bool


def parse(word: str) -> Exposed:
    """Read one word. Raises PortError, in BuildKit's words."""
    head, _, rest = word.rpartition(":")
    address, colon, host = head.rpartition(":")
    if not colon:
        address, host = "", head
    port, _, protocol = rest.partition("/")
    if not port:
        raise PortError(f'invalid port: "{word}": no port specified')
    protocol = protocol or "tcp"
    if protocol.lower() not in _PROTOCOLS:
        raise PortError(f'invalid port: "{word}": invalid proto: {protocol}')
    if address:
        _address(address)
    ports = _range(port)
    if ports is None:
        raise PortError(f"invalid containerPort: {port}")
    if host:
        hosts = _range(host)
        if hosts is None:
            raise PortError(f"invalid hostPort: {host}")
        if len(hosts) != len(ports) and len(ports) != 1:
            raise PortError(f"invalid ranges specified for container and host Ports: {port} and {host}")
    return Exposed([f"{number}/{protocol.lower()}" for number in ports], protocol, bool(address or host))


def _address(text: str) -> None:
    try:
        ipaddress.ip_address(text[1:-1] if text[0] == "[" and text[-1] == "]" else text)
    except ValueError:
        raise PortError(f"invalid IP address: {text}") from None


def _range(text: str) -> range | None:
    start, dash, end = text.partition("-")
    first, last = _port(start), _port(end if dash else start)
    if first is None or last is None or last < first:
        return None
    return range(first, last + 1)


def _port(text: str) -> int | None:
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text, re.ASCII):
        return None
    number = int(text)
    return number if 0 <= number <= _HIGHEST else None
