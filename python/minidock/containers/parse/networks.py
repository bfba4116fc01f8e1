"""Networks as users name them: ``--network``, ``--link``, MAC addresses. The words of errors are Docker's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from minidock.containers.endpoints import Wanted
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONG = re.compile(r"\w+=\w+")
_SHORT = re.compile(r"(?!container:)([A-Za-z0-9][A-Za-z0-9_.-]*):(.*=.*)")
_LONGEST = 255


def network(text: str) -> tuple[str, Wanted]:
    """Return name and settings of ``NAME``, ``name=NAME,alias=…,ip=…`` or ``NAME:alias=…,ip=…``.

    The fields are ``alias``, ``link-local-ip`` and ``driver-opt``, which may be repeated, ``ip``, ``ip6``,
    ``mac-address`` and ``gw-priority``. Raises InvalidArgument.
    """
    short = _SHORT.fullmatch(text)
    if short is not None:
        text = f"name={short[1]},{short[2]}"
    elif not _LONG.search(text):
        if not text:
            raise InvalidArgument("no name set for network")
        return check_name(text), Wanted()
    found = Wanted()
    target = ""
    for field in text.split(","):
        key, equals, value = field.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals or not key:
            raise InvalidArgument(f"invalid field {field}")
        if key == "name":
            target = value
        elif key == "alias":
            found.aliases = [*(found.aliases or ()), alias(value)]
        elif key == "ip":
            found.ipv4 = value
        elif key == "ip6":
            found.ipv6 = value
        elif key == "mac-address":
            found.mac = mac_address(value)
        elif key == "link-local-ip":
            found.link_local = [*(found.link_local or ()), value]
        elif key == "driver-opt":
            name, assigned, setting = value.partition("=")
            if not assigned or not name:
                raise InvalidArgument("invalid key value pair format in driver options")
            found.driver_opts = {**(found.driver_opts or {}), name.strip(): setting.strip()}
        elif key == "gw-priority":
            found.gw_priority = priority(value)
        else:
            raise InvalidArgument(f"invalid field key {key}")
    if not target:
        raise InvalidArgument("network name/id is not specified")
    return check_name(target), found


def check_name(text: str) -> str:
    """Return a network's name or id, or ``container:NAME``. Raises InvalidArgument."""
    if text == "container:":
        raise InvalidArgument("invalid network mode: invalid container format container:<name|id>")
    if not text.isprintable() or "," in text or len(text) > _LONGEST:
        raise InvalidArgument(f"invalid network: {text[:100]!a}")
    return text


def priority(text: str) -> int:
    """Return a gateway's priority: the network with the highest one has the default route."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) is None:
        raise InvalidArgument(f"invalid gw-priority ({text}): invalid syntax")
    return int(text)


_ALIAS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def alias(text: str) -> str:
    """Return a name on a network: what can be asked for, and stands in /etc/hosts. Raises InvalidArgument."""
    if _ALIAS.fullmatch(text) is None or len(text) > _LONGEST or any(len(part) > 63 for part in text.split(".")):
        raise InvalidArgument(f"invalid network alias {text[:100]!a}: a host name is needed")
    return text


def mac_address(text: str) -> str:
    """Return a MAC address of six bytes with colons between. Raises InvalidArgument."""
    digits = text.lower()
    for separator, size in ((":", 2), ("-", 2), (".", 4)):
        parts = digits.split(separator)
        if len(parts) == 12 // size and all(re.fullmatch(f"[0-9a-f]{{{size}}}", part) for part in parts):
            joined = "".join(parts)
            if int(joined[:2], 16) & 1 or not int(joined, 16):
                raise InvalidArgument(f"{text} is not a valid mac address: it is not that of one interface")
            return ":".join(joined[index : index + 2] for index in range(0, 12, 2))
    raise InvalidArgument(f"{text} is not a valid mac address")


def link(text: str) -> str:
    """Return ``CONTAINER:ALIAS`` for ``CONTAINER[:ALIAS]``. Raises InvalidArgument."""
    name, colon, other = text.partition(":")
    name = name.removeprefix("/")
    if not text:
        raise InvalidArgument("empty string specified for links")
    if ":" in other:
        raise InvalidArgument(f"bad format for links: {text}")
    if not name:
        raise InvalidArgument('could not get container for : invalid name or ID supplied: ""')
    return f"{name}:{alias(other) if colon and other else name}"


def endpoint(settings: Mapping[str, Any] | None) -> Wanted:
    """Return the settings that Docker's ``EndpointSettings`` ask for; what only its answers have is not looked at.

    Raises InvalidArgument, TypeError.
    """
    settings = settings or {}
    ipam = settings.get("IPAMConfig") or {}
    mac = settings.get("MacAddress") or ""
    options = settings.get("DriverOpts")
    return Wanted(
        ipv4=str(ipam.get("IPv4Address") or ""),
        ipv6=str(ipam.get("IPv6Address") or ""),
        link_local=_texts(ipam.get("LinkLocalIPs")),
        links=[link(text) for text in _texts(settings.get("Links")) or ()] or None,
        aliases=[alias(text) for text in _texts(settings.get("Aliases")) or ()] or None,
        mac=mac_address(mac) if mac else "",
        driver_opts={str(key): str(value) for key, value in options.items()} if options else None,
        gw_priority=int(settings.get("GwPriority") or 0),
    )


def _texts(value: Any) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        raise TypeError
    return [str(entry) for entry in value] or None
