"""Images that come and go: pull, import, push, load, save; with progress as lines of JSON."""

from __future__ import annotations

import base64
import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from minidock.errors import InvalidArgument
from minidock.images import references
from minidock.images.progress import ProgressEvent
from minidock.registry.cancel import Cancel
from minidock.server.decoding import decode
from minidock.server.failures import HttpError, Vanished, message_of
from minidock.server.handlers.images import platform_of
from minidock.server.http import JSON
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from minidock.images.loading import Loaded
    from minidock.server.http import Request, Stream

_BAR = 50
_TOLD_SECONDS = 0.1


class _Credentials(msgspec.Struct):
    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


def auth_of(request: Request) -> dict[str, str] | None:
    """The credentials of ``X-Registry-Auth``; None for none, and for a header that is none, as in Docker."""
    try:
        return _plain(decode(_header(request, "x-registry-auth"), _Credentials))
    except (ValueError, HttpError):
        return None


def auths_of(request: Request) -> Callable[[str], dict[str, str] | None]:
    """What ``X-Registry-Config`` has for a registry's host; nothing where it is none, as in Docker."""
    try:
        given = decoding.decode(_header(request, "x-registry-config") or b"{}", dict[str, _Credentials])
    except (ValueError, RecursionError, msgspec.DecodeError):
        given = {}
    found = {name.partition("://")[2] or name: one for name, one in given.items()}
    by_host = {name.partition("/")[0]: one for name, one in found.items()}

    def login(host: str) -> dict[str, str] | None:
        one = by_host.get("index.docker.io" if host == "docker.io" else host) or by_host.get(host)
        try:
            return None if one is None else _plain(one)
        except ValueError:
            return None

    return login


def _header(request: Request, name: str) -> bytes:
    """What a header has in base64. Raises ValueError."""
    text = request.headers.get(name, "")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _plain(given: _Credentials) -> dict[str, str] | None:
    if given.auth and not given.username:
        user, _, password = base64.b64decode(given.auth).decode().partition(":")
        given = _Credentials(user, password, identitytoken=given.identitytoken, registrytoken=given.registrytoken)
    found: dict[str, str] = msgspec.to_builtins(given)
    return {name: value for name, value in found.items() if value and name != "auth"} or None


def failure(error: Exception) -> dict[str, Any]:
    """Return what a failure is on a stream."""
    text = message_of(error)
    return {"errorDetail": {"message": text}, "error": text}


class Told:
    """Progress as Docker tells it; the answer begins with the first line, so that early failures have a status."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._stream: Stream | None = None

    def line(self, value: dict[str, Any]) -> None:
        """Send one line. Raises Vanished."""
        if self._stream is None:
            self._stream = self._request.stream(JSON)
        self._stream.write_json(value)

    def __call__(self, event: ProgressEvent) -> None:
        """Send a step of a transfer."""
        value: dict[str, Any] = {"status": event.status}
        if event.total:
            value["progressDetail"] = {"current": event.current, "total": event.total}
            value["progress"] = _bar(event.current, event.total)
        elif event.id and not event.status.startswith("Pulling from "):
            value["progressDetail"] = {}
        if event.id:
            value["id"] = event.id
        self.line(value)

    def run(
        self,
        work: Callable[[], None],
        detail: Callable[[Exception], dict[str, Any]] = failure,
        *,
        early: type[Exception] | None = None,
    ) -> None:
        """Do the work, and end the answer.

        A failure after the first line is a line, too: what ``detail`` makes; one that is an ``early`` always is.
        """
        try:
            work()
        except Vanished:
            raise
        except Exception as error:
            if self._stream is None and (early is None or not isinstance(error, early)):
                raise
            self.line(detail(error))
        if self._stream is None:
            self._stream = self._request.stream(JSON)
        self._stream.close()


def _bar(current: int, total: int) -> str:
    from minidock.cli.units import decimal_size

    filled = min(_BAR, current * _BAR // total)
    bar = "=" * filled + (">" if filled < _BAR else "") + " " * max(0, _BAR - filled - 1)
    return f"[{bar}] {decimal_size(current):>8}/{decimal_size(total)}"


def create(request: Request) -> None:
    """``POST /images/create``: pull with ``fromImage``, import with ``fromSrc``."""
    query = request.query
    if query.text("fromImage"):
        _pull(request)
    elif query.text("fromSrc"):
        _import(request)
    else:
        raise InvalidArgument("fromImage or fromSrc is needed")


def _pull(request: Request) -> None:
    query, images = request.query, request.engine.images
    name, tag = query.text("fromImage"), query.text("tag")
    reference = references.parse(name)
    if tag and references.is_digest(tag):
        reference = reference._replace(digest=tag)
    elif tag:
        if not references.is_tag(tag):
            raise InvalidArgument(f"invalid tag {tag[:200]!r}")
        reference = reference._replace(tag=tag)
    platform, auth, told, cancel = platform_of(query.text("platform")), auth_of(request), Told(request), Cancel(None)

    def work() -> None:
        if reference.tag is None and reference.digest is None:
            images.pull_all(reference.name, platform=platform, auth_config=auth, progress=told, cancel=cancel)
        else:
            images.pull(reference.canonical, platform=platform, auth_config=auth, progress=told, cancel=cancel)

    with request.server.watch.calling(request.client, cancel.cancel):
        told.run(work)


def _import(request: Request) -> None:
    query, told = request.query, Told(request)
    told_of = query.text("fromSrc")

    def work() -> None:
        with contextlib.nullcontext(request.reader()) if told_of == "-" else _fetched(request, told_of, told) as tar:
            image = request.engine.images.import_(
                tar,  # type: ignore[arg-type]
                query.text("repo") or None,
                query.text("tag") or None,
                changes=query.all("changes"),
                message=query.text("message") or f"Imported from {told_of}",
                platform=platform_of(query.text("platform")),
            )
        told.line({"status": image.id})

    told.run(work)


@contextlib.contextmanager
def _fetched(request: Request, source: str, told: Told) -> Iterator[BinaryIO]:
    """What a URL gives, http:// unless it says another scheme, as a file that goes at the end."""
    from minidock.build import fetching
    from minidock.build.stopping import Stop
    from minidock.store.workspace import Workspace

    url = source if "://" in source else f"http://{source}"
    if not re.match("https?://[^/]", url, re.IGNORECASE):
        raise InvalidArgument(f"fromSrc: {source[:100]!r} is no URL of an archive")
    stop, last = Stop(), -_TOLD_SECONDS

    def progress(current: int, total: int) -> None:
        nonlocal last
        if last < 0:
            told.line({"status": f"Downloading from {fetching.shown(url)}"})
        if current == total or time.monotonic() - last >= _TOLD_SECONDS:
            last = time.monotonic()
            told(ProgressEvent("Importing", "", current, total))

    _ = request.engine.store.database  # the data root is there
    with Workspace(request.engine.store.paths, "import") as work:
        with request.server.watch.calling(request.client, stop.set):
            fetching.download(request.engine, url, work.join("archive"), stop, progress)
        with open(work.join("archive"), "rb") as file:
            yield file


def push(request: Request) -> None:
    """``POST /images/{name}/push``."""
    query, images = request.query, request.engine.images
    name, tag = request.names["name"], query.text("tag") or None
    auth, told, cancel = auth_of(request), Told(request), Cancel(None)
    platform = platform_of(query.text("platform"))
    reference = references.parse(name)
    first = f"The push refers to repository [{reference.name}]"

    def progress(event: ProgressEvent) -> None:
        if event.status != first:  # it has been said
            told(event)

    def work() -> None:
        told.line({"status": first})  # before anything can fail
        images.push(
            name,
            tag,
            all_tags=tag is None and reference.tag is None,
            platform=platform,
            auth_config=auth,
            progress=progress,
            cancel=cancel,
        )

    with request.server.watch.calling(request.client, cancel.cancel):
        told.run(work)


def load(request: Request) -> None:
    """``POST /images/load``."""
    told, cancel, quiet = Told(request), Cancel(None), request.query.flag("quiet")

    def loaded(one: Loaded) -> None:
        for name in one.names:
            told.line({"stream": f"Loaded image: {name}\n"})
        if not one.names:
            told.line({"stream": f"Loaded image ID: {one.row.id}\n"})

    def work() -> None:
        request.engine.images.load(
            request.reader(),  # type: ignore[arg-type]
            platform=platform_of(request.query.text("platform")),
            on_loaded=loaded,
            progress=None if quiet else told,
            cancel=cancel,
        )

    # The client is still sending, or waits: no watch, as it may close its own half.
    told.run(work, early=Exception)


def save_one(request: Request) -> None:
    """``GET /images/{name}/get``."""
    _save(request, [request.names["name"]])


def save_many(request: Request) -> None:
    """``GET /images/get?names=…``."""
    names = [name for text in request.query.all("names") for name in text.split(",") if name]
    if not names:
        raise InvalidArgument("names: at least one image is needed")
    _save(request, names)


def _save(request: Request, names: list[str]) -> None:
    send(request, request.engine.images.save(names, platform=platform_of(request.query.text("platform"))))


def send(request: Request, chunks: Iterator[bytes]) -> None:
    """Answer with a tar that comes in chunks; what fails before the first is an answer with a status."""
    try:
        first = next(chunks, b"")
        stream = request.stream("application/x-tar")
        stream.write(first)
        for chunk in chunks:
            stream.write(chunk)
        stream.close()
    finally:
        chunks.close()  # type: ignore[attr-defined]
