"""What a build fetches: files by HTTP for ADD and contexts. Bounded, and never sent any credentials."""

from __future__ import annotations

import contextlib
import hashlib
import os
import urllib.parse
from typing import TYPE_CHECKING

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, RegistryUnreachable, SystemFailure, Timeout
from minidock.registry import proxies, wire
from minidock.store.failures import translated

if TYPE_CHECKING:
    from collections.abc import Callable

    import urllib3

    from minidock.build.stopping import Stop
    from minidock.engine import Engine
    from minidock.registry.cancel import Cancel

_MAX_SIZE = 32 << 30
_MAX_REDIRECTS = 10
_CHUNK = 1 << 20
_LIMITS = wire.Limits(connect=30, read=60, answer=60)


def download(
    engine: Engine, url: str, target: str, stop: Stop | None = None, progress: Callable[[int, int], None] | None = None
) -> str:
    """Write what ``url`` gives to the new file ``target``; returns its digest, ``sha256:HEX``.

    ``progress`` is told of bytes that have come, and of how many there are to be, 0 where the server has not said so.

    Raises SystemFailure when the server has it not or cannot be reached, Timeout for one that stalls or trickles,
    Corrupt for less than it has announced, LimitExceeded, NoSpace, Cancelled once ``stop`` is set.
    """
    _check(url, url)
    if urllib.parse.urlsplit(url).username is not None:
        raise InvalidArgument(f"fetch {shown(url)}: credentials in a URL would stay in the image's history")
    with contextlib.nullcontext() if stop is None else stop.cancelling() as cancel:
        return _download(proxies.Chooser(engine.config.proxies, os.environ), url, target, cancel, progress)


def _download(
    chooser: proxies.Chooser,
    url: str,
    target: str,
    cancel: Cancel | None,
    progress: Callable[[int, int], None] | None,
) -> str:
    import urllib3

    hashed = hashlib.sha256()
    at = url
    try:
        for _ in range(_MAX_REDIRECTS):
            guard = wire.Guard(urllib.parse.urlsplit(at).netloc.rpartition("@")[2], _LIMITS, cancel)
            with _manager(chooser.choose(at)) as manager, wire.guarded(guard):
                response = manager.request(
                    "GET", at, preload_content=False, redirect=False, retries=False,
                    headers={"User-Agent": "minidock", "Accept-Encoding": "identity"},
                )  # fmt: skip
                try:
                    where = response.get_redirect_location()
                    if where:
                        _check(where, url)
                        at = urllib.parse.urljoin(at, where)
                        if not at.lower().startswith(("http://", "https://")):
                            raise SystemFailure(f"fetch {shown(url)}: leads to {shown(at)}, which is no web address")
                        continue
                    if response.status != 200:
                        status = f"{response.status} {response.reason or ''}".rstrip()
                        raise SystemFailure(f"fetch {shown(url)}: invalid response status {status}")
                    _save(response, target, hashed, shown(url), progress)
                finally:
                    response.close()
                return f"sha256:{hashed.hexdigest()}"
    except wire.Stalled as error:
        raise Timeout(f"fetch {shown(url)}: {error}") from error
    except RegistryUnreachable as error:
        raise SystemFailure(f"fetch {shown(url)}: {error}") from error
    except urllib3.exceptions.ProtocolError as error:
        raise SystemFailure(f"fetch {shown(url)}: the connection broke, or ended early") from error
    except urllib3.exceptions.HTTPError as error:
        raise SystemFailure(f"fetch {shown(url)}: {_reason(error)}") from error
    raise SystemFailure(f"fetch {shown(url)}: more than {_MAX_REDIRECTS} redirects")


def _check(text: str, url: str) -> None:
    """Raise InvalidArgument for what is no URL, in ``url`` or where that leads."""
    try:
        _ = urllib.parse.urlsplit(text).port
    except ValueError as error:
        raise InvalidArgument(f"fetch {shown(url)}: {error}") from error


def _manager(proxy: str | None) -> urllib3.PoolManager:
    return wire.manager(wire.context(verify=True), proxy, connections=1)


def _save(
    response: urllib3.BaseHTTPResponse,
    target: str,
    hashed: hashlib._Hash,
    what: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    stated = response.headers.get("Content-Length", "")
    total = int(stated) if stated.isdigit() else 0
    size = 0
    with translated("write", target), open(target, "xb") as out:
        while data := response.read1(_CHUNK, decode_content=False):
            size += len(data)
            if size > _MAX_SIZE:
                raise LimitExceeded(f"fetch {what}: larger than {_MAX_SIZE >> 30} GiB")
            hashed.update(data)
            out.write(data)
            if progress is not None:
                progress(size, total)
    with contextlib.suppress(OSError, OverflowError):  # of times that no file can have
        os.utime(target, (_changed(response),) * 2)
    if stated.isdigit() and int(stated) != size:
        raise Corrupt(f"fetch {what}: the connection ended after {size} of {stated} bytes")


def _changed(response: urllib3.BaseHTTPResponse) -> int:
    """When the server says that a file was changed; as with Docker 1970 where it does not."""
    import email.utils

    found = email.utils.parsedate_tz(response.headers.get("Last-Modified", ""))
    try:
        return 0 if found is None else email.utils.mktime_tz(found)
    except ValueError:
        return 0


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None) or error
    text = str(inner)
    return text.partition(": ")[2] or text


def shown(url: str) -> str:
    """A URL as messages show it: without credentials and query."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # no URL: then what could be credentials is everything up to the last @
        return url.rpartition("@")[2][:300]
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))[:300]


def name_of(url: str) -> str:
    """The name that a file gets in a directory: the last of its URL's path, or what Docker calls one without."""
    path = os.fsdecode(urllib.parse.unquote_to_bytes(urllib.parse.urlsplit(url).path))
    name = path.rstrip("/").rpartition("/")[2]
    if name in ("", "."):
        return "__unnamed__"
    return "download" if name == ".." or "\0" in name else name
