"""Host names, addresses, name servers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Docker checks nothing here; a name goes into /etc/hosts and sethostname(2), so that white space and NUL must not.
_HOSTNAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_DOMAIN = r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?"
_SEARCH_MAX = 255


def hostname(text: str) -> str:
    """Return a host name: at most 64 bytes (the kernel's limit) of letters, digits, ``_``, ``.`` and ``-``."""
    if not re.fullmatch(_HOSTNAME, text):
        raise InvalidArgument(f"invalid hostname {text[:100]!a}: only [a-zA-Z0-9_.-] are allowed, no leading . or -")
    if len(text) > 64:
        raise InvalidArgument(f"invalid hostname {text[:100]!a}: longer than 64 characters")
    return text


def domainname(text: str) -> str:
    """Return a NIS domain name: at most 64 bytes, as :func:`hostname`."""
    if not re.fullmatch(_HOSTNAME, text) or len(text) > 64:
        raise InvalidArgument(f"invalid domainname {text[:100]!a}: at most 64 of [a-zA-Z0-9_.-] are allowed")
    return text


def is_address(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address."""
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def extra_hosts(values: Mapping[str, str] | Iterable[str]) -> list[str]:
    """Return ``NAME:ADDRESS`` entries from ``NAME:ADDRESS``, ``NAME=ADDRESS`` or a mapping."""
    if isinstance(values, str):
        raise InvalidArgument("extra_hosts: a list of NAME:ADDRESS or a mapping is needed, not text")
    if hasattr(values, "items"):
        return [extra_host(f"{name}={address}") for name, address in values.items()]
    return [extra_host(text) for text in values]


def extra_host(text: str) -> str:
    """Return ``NAME:ADDRESS``; the address is IPv4, IPv6 (brackets are dropped) or ``host-gateway``."""
    name, separator, address = text.partition("=")
    if not separator:
        name, separator, address = text.partition(":")
    if not separator or not name:
        raise InvalidArgument(f'bad format for add-host: "{text}"')
    if not re.fullmatch(_DOMAIN, name):
        raise InvalidArgument(f'invalid name in add-host: "{name}"')
    if address == "host-gateway":
        return f"{name}:{address}"
    if len(address) > 2 and address[0] == "[" and address[-1] == "]":
        address = address[1:-1]
    if not is_address(address):
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def dns_server(text: str) -> str:
    """Return the address of a name server."""
    if not is_address(text.strip()):
        raise InvalidArgument(f"IP address is not correctly formatted: {text}")
    return text.strip()


def dns_search(text: str) -> str:
    """Return a search domain; ``.`` means none."""
    domain = text.strip()
    if domain == ".":
        return domain
    if len(domain) > _SEARCH_MAX or not re.fullmatch(_DOMAIN, domain):
        raise InvalidArgument(f"invalid domain: {text}")
    return domain


def dns_option(text: str) -> str:
    """Return an option of resolv.conf, such as ``ndots:2``."""
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise InvalidArgument(f"invalid DNS option: {text!a}")
    return text
