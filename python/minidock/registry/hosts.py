"""Where a registry is: its URL, whether it may be insecure, the certificates for it, mirrors."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from minidock.errors import InvalidArgument, NotFound
from minidock.images.references import DEFAULT_DOMAIN
from minidock.store.failures import from_os

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

HUB = "registry-1.docker.io"


class Origin(NamedTuple):
    """Scheme, host in lower case, port: what credentials belong to."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """``host``, or ``host:port`` where the port is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Endpoint(NamedTuple):
    """One place that serves repositories. ``host`` is its name in references and credentials."""

    host: str
    url: str
    insecure: bool
    mirror: bool = False


_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> Origin:
    """The origin of an absolute URL. Raises InvalidArgument for anything that is not an http or https URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument(f"{url[:200]!r} is not a URL") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InvalidArgument(f"{url[:200]!r} is not an http or https URL")
    return Origin(parts.scheme, parts.hostname.lower(), port if port is not None else _PORTS[parts.scheme])


def api_host(host: str) -> str:
    """The host that serves the API of the registry named ``host``."""
    return HUB if host == DEFAULT_DOMAIN else host


def is_loopback(host: str) -> bool:
    """Whether ``host``, with or without a port, is this machine by its name or address."""
    name = _name(host)
    return name in ("localhost", "::1") or (name.startswith("127.") and _address(name) is not None)


class Hosts:
    """``insecure-registries``, ``registry-mirrors`` and the directories of certificates."""

    def __init__(self, insecure: Sequence[str], mirrors: Sequence[str], certificates: Sequence[str]) -> None:
        self._names: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        self._resolved: dict[str, bool] = {}
        self._certificates = certificates
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._lock = threading.Lock()
        for entry in insecure:
            self._add(entry)
        self.mirrors = [self._mirror(url) for url in mirrors]

    def _add(self, entry: str) -> None:
        name = entry.strip().lower()
        for scheme in ("http://", "https://"):
            name = name.removeprefix(scheme)
        name = name.rstrip("/")
        if "/" in name:
            from ipaddress import ip_network

            try:
                self._networks.append(ip_network(name, strict=False))
            except ValueError as error:
                raise InvalidArgument(
                    f"insecure-registries: {entry!r} is neither a host, nor host:port, nor a network in CIDR notation"
                ) from error
        elif name:
            self._names.add(name)

    def _mirror(self, url: str) -> Endpoint:
        where = origin(url)
        parts = urlsplit(url)
        if parts.query or parts.fragment or parts.username or parts.password:
            raise InvalidArgument(f"registry-mirrors: {url!r} has more than a scheme, a host and a path")
        host = where.netloc
        return Endpoint(host, url.rstrip("/"), self.is_insecure(host), mirror=True)

    def is_insecure(self, host: str) -> bool:
        """Whether unverified TLS and plain http are allowed to ``host[:port]``: as Docker's daemon decides it."""
        host = host.lower()
        if is_loopback(host) or host in self._names:
            return True
        if not self._networks:
            return False
        name = _name(host)
        known = self._resolved.get(name)
        if known is None:
            known = any(address in network for address in _addresses(name) for network in self._networks)
            self._resolved[name] = known
        return known

    def has_certificates(self, host: str) -> bool:
        """Whether a directory of certificates is there for ``host``."""
        if host.startswith("."):  # out of the directory
            return False
        return any(os.path.isdir(os.path.join(directory, host)) for directory in self._certificates)

    def tls(self, host: str) -> ssl.SSLContext:
        """The TLS configuration for ``host[:port]``. Raises InvalidArgument for certificates that cannot be used."""
        insecure = self.is_insecure(host)
        with self._lock:
            # Hosts without certificates of their own share connections' configuration.
            key = (host if self.has_certificates(host) else "", insecure)
            made = self._contexts.get(key)
            if made is None:
                from minidock.registry import wire

                made = wire.context(verify=not insecure)
                if key[0]:
                    for directory in self._certificates:
                        _load(made, os.path.join(directory, host))
                self._contexts[key] = made
            return made


def _load(context: ssl.SSLContext, directory: str) -> None:
    """Load ``*.crt`` as CAs, ``*.cert`` with ``*.key`` as client certificates."""
    import ssl

    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise from_os(error, "read certificates", directory) from error
    for name in names:
        path = os.path.join(directory, name)
        stem, extension = os.path.splitext(name)
        try:
            if extension == ".crt":
                context.load_verify_locations(cafile=path)
            elif extension == ".cert":
                if f"{stem}.key" not in names:
                    raise NotFound(
                        f"certificates: {path}: missing key {stem}.key for this client certificate; "
                        "CA certificates must use the extension .crt"
                    )
                context.load_cert_chain(path, os.path.join(directory, f"{stem}.key"))
            elif extension == ".key" and f"{stem}.cert" not in names:
                raise NotFound(f"certificates: {path}: missing client certificate {stem}.cert for this key")
        except ssl.SSLError as error:
            raise InvalidArgument(
                f"certificates: {path}: not usable: {(error.reason or str(error)).lower()}"
            ) from error
        except OSError as error:
            raise from_os(error, "read certificate", path) from error


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _address(name: str) -> object | None:
    from ipaddress import ip_address

    try:
        return ip_address(name)
    except ValueError:
        return None


def _addresses(name: str) -> list[object]:
    """The addresses of a host; none for a name that is not known."""
    if (address := _address(name)) is not None:
        return [address]
    import socket

    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [address for entry in found if (address := _address(str(entry[4][0]).partition("%")[0])) is not None]
