"""Ports as users name them: ``-p``, ``--expose``, docker-py's ``ports``. The words of errors are Docker's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minidock.errors import InvalidArgument
from minidock.spec.docker import PortBinding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.spec.docker import PortMap

PROTOCOLS = ("tcp", "udp", "sctp")
_LARGEST = 65535
_MOST = 65536
"""Ports that the options of one container may name: more cannot be meant."""


def port_range(text: str) -> tuple[int, int]:
    """Return the ends of ``PORT`` or ``PORT-PORT``. Raises ValueError with what Docker says of it."""
    if not text:
        raise ValueError("empty string specified for ports.")
    first, dash, last = text.partition("-")
    start, end = _number(first), _number(last if dash else first)
    if end < start:
        raise ValueError(f"invalid range specified for the Port: {text}")
    return start, end


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if len(text) > 20 or int(text) > _LARGEST:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def protocol(text: str) -> str:
    """Return ``tcp``, ``udp`` or ``sctp``. Raises InvalidArgument."""
    if text.lower() not in PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {text}")
    return text.lower()


def expose(text: str) -> list[str]:
    """Return ``PORT/PROTOCOL`` for each port of ``PORT[-PORT][/PROTOCOL]``. Raises InvalidArgument."""
    if ":" in text:
        raise InvalidArgument(f"invalid port format for --expose: {text}")
    numbers, slash, kind = text.partition("/")
    kind = protocol(kind) if slash and kind else "tcp"
    try:
        start, end = port_range(numbers)
        if start == 0:
            raise ValueError("port 0 is none of a container's")
    except ValueError as error:
        raise InvalidArgument(f"invalid range format for --expose: {text}, error: {error}") from None
    return [f"{port}/{kind}" for port in range(start, end + 1)]


def publish(text: str) -> list[tuple[str, PortBinding]]:
    """Return port and binding for each port of ``[IP:][HOST[-RANGE]:]PORT[-RANGE][/PROTOCOL]``.

    An IPv6 address is in brackets. Also Docker's long form, ``target=80,published=8080,protocol=udp``. Raises
    InvalidArgument.
    """
    if "=" in text:
        text = _short(text)
    rest, slash, kind = text.partition("/")
    *before, inside = rest.split(":")
    host = before.pop() if before else ""
    ip = _address(":".join(before))
    if not inside:
        raise InvalidArgument(f"no port specified: {text}<empty>")
    try:
        start, end = port_range(inside)
        if start == 0:
            raise ValueError
    except ValueError:
        raise InvalidArgument(f"invalid containerPort: {inside}") from None
    first = last = 0
    if host:
        try:
            first, last = port_range(host)
        except ValueError:
            raise InvalidArgument(f"invalid hostPort: {host}") from None
        if end - start != last - first and end != start:
            raise InvalidArgument(f"invalid ranges specified for container and host Ports: {inside} and {host}")
    kind = protocol(kind) if slash and kind else "tcp"
    if host and start == end:
        wanted = [str(first) if first == last else f"{first}-{last}"]
    else:
        wanted = [str(first + port - start) if host else "" for port in range(start, end + 1)]
    return [(f"{start + index}/{kind}", PortBinding(ip, one)) for index, one in enumerate(wanted)]


def _address(text: str) -> str:
    """Return the address before the host's port, without its brackets."""
    if not text:
        return ""
    ip = text
    if text[0] == "[":
        if text[-1] != "]":
            raise InvalidArgument(f"invalid ip address {text}: address {text}:: missing ']' in address")
        ip = text[1:-1]
    elif ":" in text:
        raise InvalidArgument(f"invalid ip address {text}: address {text}:: too many colons in address")
    return host_address(ip) if ip else ""


def host_address(text: str) -> str:
    """Return an address that a port is published on. Raises InvalidArgument."""
    from minidock.containers.parse.hosts import is_address

    if not is_address(text):
        raise InvalidArgument(f"invalid ip address: {text}")
    return text


_FIELDS = ("mode", "target", "published", "protocol")


def _short(text: str) -> str:
    """Return the short form of ``target=80,published=8080,protocol=udp``; ``mode`` is there for services only."""
    fields = {"protocol": "tcp", "published": "", "target": ""}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals:
            raise InvalidArgument(f"invalid field: {field}")
        if key not in _FIELDS:
            raise InvalidArgument(f"invalid field key: {key}")
        if key == "mode" and value not in ("ingress", "host"):
            raise InvalidArgument(f"invalid publish mode value ({value}): must be either 'ingress' or 'host'")
        if key == "protocol" and value.lower() not in PROTOCOLS:
            raise InvalidArgument(f"invalid protocol value ({value}): must be one of {', '.join(PROTOCOLS)}")
        fields[key] = value
    if not fields["target"]:
        raise InvalidArgument("missing mandatory field 'target'")
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def published(texts: Iterable[str]) -> PortMap:
    """Return what several texts publish. Raises InvalidArgument, also for one binding that is given twice."""
    found: dict[str, list[PortBinding]] = {}
    for text in texts:
        for port, binding in publish(text):
            _add(found, port, binding)
    return dict(found)


LOOPBACK = "127.0.0.1"


def mapping(ports: Mapping[object, Any]) -> PortMap:
    """Return what docker-py's ``ports`` publishes: ``80``, ``"80"``, ``"80/udp"`` or ``(80, "udp")`` to where.

    That is a port of the host, None for any, an address and a port, or a list of such. Where there is no address, it is
    that of the loopback interface: what a program publishes for itself is not there for the network. Raises
    InvalidArgument, TypeError.
    """
    found: dict[str, list[PortBinding]] = {}
    for key, value in ports.items():
        name = "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
        inside = expose(name)
        if len(inside) != 1:
            raise InvalidArgument(f"{name}: one port is needed here; publish takes ranges")
        for one in value if isinstance(value, list) else [value]:
            _add(found, inside[0], _binding(one))
    return dict(found)


def _binding(value: Any) -> PortBinding:
    ip, port = LOOPBACK, value
    if isinstance(value, Mapping):
        ip, port = value.get("HostIp") or LOOPBACK, value.get("HostPort")
    elif isinstance(value, tuple):
        if not 1 <= len(value) <= 2:
            raise InvalidArgument(f"{value!r:.60}: an address and a port are needed")
        ip, port = value[0] or LOOPBACK, value[1] if len(value) == 2 else None
    if isinstance(port, bool) or not isinstance(port, (int, str, type(None))):
        raise TypeError
    wanted = "" if port is None else str(port)
    if wanted:
        try:
            port_range(wanted)
        except ValueError:
            raise InvalidArgument(f"invalid hostPort: {wanted}") from None
    return PortBinding(host_address(ip), wanted)


def _add(found: dict[str, list[PortBinding]], port: str, binding: PortBinding) -> None:
    bindings = found.setdefault(port, [])
    fixed = binding.host_port not in ("", "0") and "-" not in binding.host_port
    if fixed and binding in bindings:
        where = f"[{binding.host_ip}]" if ":" in binding.host_ip else binding.host_ip or "0.0.0.0"  # noqa: S104 - words
        raise InvalidArgument(f"port {where}:{binding.host_port} is published twice for {port}")
    bindings.append(binding)
    if len(found) + len(bindings) > _MOST:
        raise InvalidArgument(f"more than {_MOST} ports are published")
