"""One HEAD of a manifest without the full client, whose import costs more than the rest of an up-to-date pull.

It knows the plain case only: no proxy, no mirror, no login, no certificates, no redirect, one tidy answer. Whatever
else happens, it returns None, and the full client finds out.
"""

from __future__ import annotations

import os
import time

from minidock.images.references import DEFAULT_DOMAIN, DEFAULT_TAG, Reference, is_digest
from minidock.registry.kinds import ACCEPT, CERTIFICATES, Head

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import ssl
    from collections.abc import Mapping

    from minidock.config import Config

_PATIENCE = 2.0
_MAX_HEAD = 16 << 10
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_NAME = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def head(config: Config | None, reference: Reference, environment: Mapping[str, str] | None = None) -> Head | None:
    """What the registry says about the reference's tag or digest; None where only the full client can tell.

    Without a configuration nothing is configured.
    """
    env = os.environ if environment is None else environment
    host, colon, port = reference.domain.rpartition(":")
    # Docker Hub and its mirrors always want a token.
    if reference.domain == DEFAULT_DOMAIN or "[" in reference.domain:
        return None
    if not colon:
        host, port = reference.domain, ""
    loopback = host == "localhost" or host.startswith("127.")
    if not port:
        return None  # this machine: two ports to try; elsewhere: registries for everybody, which want a token
    if not loopback and ((config is not None and config.insecure_registries) or _has_proxy(config, env)):
        return None
    directories = env.get("MINIDOCK_CERTS_D")
    for directory in directories.split(":") if directories else CERTIFICATES:
        if os.path.isdir(f"{directory}/{reference.domain}"):
            return None
    wanted = reference.digest or reference.tag or DEFAULT_TAG
    request = (
        f"HEAD /v2/{reference.path}/manifests/{wanted} HTTP/1.1\r\nHost: {reference.domain}\r\n"
        f"User-Agent: minidock\r\nAccept: {ACCEPT}\r\nConnection: close\r\n\r\n"
    )
    try:
        answer = _ask(host, int(port), request.encode("ascii"), secure=not loopback)
    except (OSError, ValueError, OverflowError):
        return None
    return _parse(answer, wanted)


def _has_proxy(config: Config | None, environment: Mapping[str, str]) -> bool:
    proxies = None if config is None else config.proxies
    if proxies is not None and (proxies.http_proxy or proxies.https_proxy):
        return True
    return any(environment.get(name) for name in _PROXIES)


def _ask(host: str, port: int, request: bytes, *, secure: bool) -> bytes:
    """The head of the answer: what comes before the empty line."""
    end = time.monotonic() + _PATIENCE
    connection = _connect_tls(host, port) if secure else _connect(host, port)
    try:
        connection.sendall(request)
        got = b""
        while b"\r\n\r\n" not in got:
            left = end - time.monotonic()
            if left <= 0 or len(got) > _MAX_HEAD:
                raise ValueError
            connection.settimeout(left)
            piece = connection.recv(_MAX_HEAD)
            if not piece:
                raise ValueError
            got += piece
        return got.partition(b"\r\n\r\n")[0]
    finally:
        connection.close()


def _connect(host: str, port: int) -> _socket.socket:
    # What `socket` is built on; that one's import takes longer than the whole question, as does the codec for names
    # that are no bytes.
    import _socket

    family, kind, protocol, _, address = _socket.getaddrinfo(host.encode("ascii"), port, 0, _socket.SOCK_STREAM)[-1]
    made = _socket.socket(family, kind, protocol)
    try:
        made.settimeout(_PATIENCE)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


def _connect_tls(host: str, port: int) -> ssl.SSLSocket:
    import socket
    import ssl

    plain = socket.create_connection((host, port), _PATIENCE)
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _parse(answer: bytes, wanted: str) -> Head | None:
    """The parts of a 200 that has each header that counts once, else None."""
    try:
        first, *lines = answer.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        return None
    version, _, status = first.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (status == "200" or status.startswith("200 ")):
        return None
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or not _NAME.issuperset(name) or not value.replace("\t", " ").isprintable():
            return None
        name = name.lower()
        if name in found and name in ("content-type", "content-length", "docker-content-digest"):
            return None
        found[name] = value.strip()
    digest, length = found.get("docker-content-digest", ""), found.get("content-length", "")
    media_type = found.get("content-type", "").partition(";")[0].strip().lower()
    if not is_digest(digest) or not media_type or not (length.isdigit() and len(length) < 10):
        return None
    if is_digest(wanted) and wanted != digest:
        return None
    return Head(media_type, digest, int(length))
