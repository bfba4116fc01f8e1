"""Which proxy a request goes through. The rules are those of Go's ``httpproxy``, which Docker uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from minidock.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from minidock.config import Proxies


class Chooser:
    """The proxies of the configuration, and where that says nothing, of the environment."""

    def __init__(self, configured: Proxies | None, environment: Mapping[str, str]) -> None:
        def setting(configured: str, name: str) -> str:
            return configured or environment.get(name) or environment.get(name.lower()) or ""

        # In a CGI script HTTP_PROXY is a header of the request ("httpoxy").
        cgi = "REQUEST_METHOD" in environment
        http = configured.http_proxy if configured else ""
        self._http = http if cgi else setting(http, "HTTP_PROXY")
        self._https = setting(configured.https_proxy if configured else "", "HTTPS_PROXY")
        self._exceptions = _Exceptions(setting(configured.no_proxy if configured else "", "NO_PROXY"))

    def __bool__(self) -> bool:
        """Whether any request could have a proxy."""
        return bool(self._http or self._https)

    def choose(self, url: str) -> str | None:
        """The URL of the proxy for a request to ``url``, credentials included; None: without one.

        Raises InvalidArgument or Unsupported for a setting that names no HTTP proxy.
        """
        parts = urlsplit(url)
        proxy = self._https if parts.scheme == "https" else self._http
        host = (parts.hostname or "").lower().rstrip(".")
        if not proxy or self._exceptions.has(host, parts.port or (443 if parts.scheme == "https" else 80)):
            return None
        return _checked(proxy)


def _checked(proxy: str) -> str:
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidArgument("proxy: the configured proxy is not a URL; write http://HOST:PORT")
    if parts.scheme not in ("http", "https"):
        raise Unsupported(f"proxy: {parts.scheme} proxies are not supported; use an http or https one")
    return url


class _Exceptions:
    """``NO_PROXY``: hosts, .suffixes, addresses, networks, each with or without a port, or * for everything."""

    def __init__(self, text: str) -> None:
        from ipaddress import ip_network

        self._everything = False
        self._networks = []
        self._addresses: list[tuple[IPv4Address | IPv6Address, int | None]] = []
        self._names: list[tuple[str, int | None, bool]] = []  # suffix with its dot, port, the bare name too
        for part in text.lower().split(","):
            entry = part.strip()
            if entry == "*":
                self._everything = True
                return
            if "/" in entry:
                try:
                    self._networks.append(ip_network(entry, strict=False))
                except ValueError:
                    pass
                else:
                    continue
            host, port = _split(entry)
            if not host:
                continue
            if (address := _address(host)) is not None:
                self._addresses.append((address, port))
                continue
            host = host[1:] if host.startswith("*.") else host
            bare = not host.startswith(".")
            self._names.append((f".{host}" if bare else host, port, bare))

    def has(self, host: str, port: int) -> bool:
        """Whether ``host``, in lower case, is reached directly."""
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback) or self._everything:
            return True
        if address is not None:
            return any(address in network for network in self._networks) or any(
                address == other and wanted in (None, port) for other, wanted in self._addresses
            )
        return any(
            (host.endswith(suffix) or (bare and host == suffix[1:])) and wanted in (None, port)
            for suffix, wanted, bare in self._names
        )


def _split(entry: str) -> tuple[str, int | None]:
    """Host and port of ``host:port``, ``[v6]:port``, or a host alone."""
    if entry.startswith("["):
        host, bracket, rest = entry[1:].partition("]")
        if bracket and not rest:
            return host, None
    elif entry.count(":") == 1:
        host, _, rest = entry.partition(":")
        rest = f":{rest}"
    else:
        return entry, None
    port = rest.removeprefix(":")
    return (host, int(port)) if port.isascii() and port.isdigit() else (host, None)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    from ipaddress import ip_address

    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
