"""What a build fetches: files by HTTP for ADD and contexts. Bounded, and never sent any credentials."""

from __future__ import annotations

import hashlib
import os
import urllib.parse
from typing import TYPE_CHECKING

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, SystemFailure, Timeout
from minidock.registry import proxies, wire
from minidock.store.failures import translated

if TYPE_CHECKING:
    import urllib3

    from minidock.build.stopping import Stop
    from minidock.engine import Engine

_MAX_SIZE = 32 << 30
_MAX_REDIRECTS = 10
_CHUNK = 1 << 20
_CONNECT_SECONDS = 30.0
_READ_SECONDS = 60.0


def download(engine: Engine, url: str, target: str, stop: Stop | None = None) -> str:
    """Write what ``url`` gives to the new file ``target``; returns its digest, ``sha256:HEX``.

    Raises SystemFailure when the server has it not or cannot be reached, Timeout, LimitExceeded, NoSpace.
    """
    import urllib3

    if urllib.parse.urlsplit(url).username is not None:
        raise InvalidArgument(f"fetch {shown(url)}: credentials in a URL would stay in the image's history")
    chooser = proxies.Chooser(engine.config.proxies, os.environ)
    timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
    hashed = hashlib.sha256()
    at = url
    try:
        for _ in range(_MAX_REDIRECTS):
            with _manager(chooser.choose(at)) as manager:
                response = manager.request(
                    "GET", at, preload_content=False, redirect=False, retries=False, timeout=timeout,
                    headers={"User-Agent": "minidock", "Accept-Encoding": "identity"},
                )  # fmt: skip
                try:
                    where = response.get_redirect_location()
                    if where:
                        at = urllib.parse.urljoin(at, where)
                        if not at.lower().startswith(("http://", "https://")):
                            raise SystemFailure(f"fetch {shown(url)}: leads to {shown(at)}, which is no web address")
                        continue
                    if response.status != 200:
                        status = f"{response.status} {response.reason or ''}".rstrip()
                        raise SystemFailure(f"fetch {shown(url)}: invalid response status {status}")
                    _save(response, target, hashed, shown(url), stop)
                finally:
                    response.release_conn()
                return f"sha256:{hashed.hexdigest()}"
    except urllib3.exceptions.TimeoutError as error:
        raise Timeout(f"fetch {shown(url)}: no answer in time") from error
    except urllib3.exceptions.ProtocolError as error:
        raise SystemFailure(f"fetch {shown(url)}: the connection broke, or ended early") from error
    except urllib3.exceptions.HTTPError as error:
        raise SystemFailure(f"fetch {shown(url)}: {_reason(error)}") from error
    raise SystemFailure(f"fetch {shown(url)}: more than {_MAX_REDIRECTS} redirects")


def _manager(proxy: str | None) -> urllib3.PoolManager:
    import urllib3

    tls = wire.context(verify=True)
    if proxy is None:
        return urllib3.PoolManager(ssl_context=tls)
    url = urllib3.util.parse_url(proxy)
    headers = urllib3.make_headers(proxy_basic_auth=urllib.parse.unquote(url.auth)) if url.auth else None
    return urllib3.ProxyManager(url._replace(auth=None).url, proxy_headers=headers, ssl_context=tls)


def _save(response: urllib3.BaseHTTPResponse, target: str, hashed: hashlib._Hash, what: str, stop: Stop | None) -> None:
    stated = response.headers.get("Content-Length", "")
    size = 0
    with translated("write", target), open(target, "xb") as out:
        for data in response.stream(_CHUNK, decode_content=False):
            if stop is not None:
                stop.check()
            size += len(data)
            if size > _MAX_SIZE:
                raise LimitExceeded(f"fetch {what}: larger than {_MAX_SIZE >> 30} GiB")
            hashed.update(data)
            out.write(data)
    if stated.isdigit() and int(stated) != size:
        raise Corrupt(f"fetch {what}: the connection ended after {size} of {stated} bytes")


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None) or error
    text = str(inner)
    return text.partition(": ")[2] or text


def shown(url: str) -> str:
    """A URL as messages show it: without credentials and query."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))[:300]


def name_of(url: str) -> str:
    """The name that a file gets in a directory; empty where the URL has none."""
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
