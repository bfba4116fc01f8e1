"""Builds by the classic route, and what they leave in the cache."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from minidock.build import events
from minidock.build.building import BuildStream
from minidock.build.failures import BuildFailed
from minidock.build.stopping import Stop
from minidock.errors import Cancelled
from minidock.server.buildkit import is_available
from minidock.server.failures import HttpError, message_of
from minidock.server.handlers.image_transfers import Told, auths_of
from minidock.server.handlers.images import platform_of
from minidock.spec import decoding
from minidock.spec.docker import Ulimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from minidock.build.building import BuildOptions
    from minidock.images.platforms import Platform
    from minidock.server.http import Request
    from minidock.store.workspace import Workspace

_CHUNK = 1 << 20
_lock = threading.Lock()
_running: dict[str, Callable[[], None]] = {}
"""How builds are stopped that have a ``buildid``."""
_STEP = re.compile(r"\[(?:\S+ )?([0-9]+)/([0-9]+)\] (.*)", re.DOTALL)
_REMOTE = re.compile(r"(https?|git|ssh)://|git@|github\.com/")
"""Contexts that are no path: one of this host is nobody's to name who only sends a request."""
_NUMBERS = {
    "memory": "memory",
    "memswap": "memswap_limit",
    "cpushares": "cpu_shares",
    "cpuperiod": "cpu_period",
    "cpuquota": "cpu_quota",
    "shmsize": "shm_size",
}
_TEXTS = {"cpusetcpus": "cpuset_cpus", "cpusetmems": "cpuset_mems", "cgroupparent": "cgroup_parent", "target": "target"}


def build(request: Request) -> None:
    """``POST /build``: a context as a tar, or one that ``remote`` names."""
    query = request.query
    options, quiet, told = _options(request), query.flag("q"), Told(request)
    traced, build_id = query.text("version") == "2", query.text("buildid")
    tell = _tracer(told, query.text("dockerfile") or "Dockerfile") if traced else _classic(told)
    with _context(request) as context:
        # The classic route: what a client packs has no owners.
        if not isinstance(context, str):
            options["fileobj"], options["custom_context"] = context, True

        path = context if isinstance(context, str) else None

        def work() -> None:
            stop = Stop()
            with (
                request.server.watch.calling(request.client, stop.set),
                _cancellable(build_id, stop.set),
                BuildStream(request.engine, path, options, stop, _Logins(auths_of(request))) as stream,
            ):
                for event in stream:
                    if not quiet:
                        tell(event)
                image = stream.image
            if traced and not quiet:
                told.line({"id": "moby.image.id", "aux": {"ID": image.id}})
                return
            told.line({"aux": {"ID": image.id}})
            if quiet:
                told.line({"stream": f"{image.id}\n"})
                return
            told.line({"stream": f"Successfully built {image.id.removeprefix('sha256:')[:12]}\n"})
            for name in options["tags"]:
                told.line({"stream": f"Successfully tagged {_familiar(name)}\n"})

        # As by Docker, which tells of each step before it begins: what fails in one is said on the stream.
        told.run(work, _traced_detail if traced else _detail, early=BuildFailed)


class _Logins:
    """The client of the classic route, who has sent its credentials, and is asked for nothing else."""

    def __init__(self, login: Callable[[str], Mapping[str, str] | None]) -> None:
        self.login = login

    def secret(self, name: str) -> None: ...
    def agent(self, name: str) -> None: ...
    def files(self, value: str) -> None: ...
    def image(self, value: str, work: Workspace) -> None: ...

    def layout(self, text: str, platform: Platform, work: Workspace) -> str:
        return text


def cancel(request: Request) -> None:
    """``POST /build/cancel``: end the build that was given this ``buildid``, if it still goes on."""
    build_id = request.query.text("id")
    if not build_id:
        raise HttpError(400, "build ID not provided")
    with _lock:
        stop = _running.get(build_id)
    if stop is not None:
        stop()
    request.empty(200)


@contextlib.contextmanager
def _cancellable(build_id: str, stop: Callable[[], None]) -> Iterator[None]:
    """Let :func:`cancel` find a build that has an id."""
    if not build_id:
        yield
        return
    with _lock:
        _running[build_id] = stop
    try:
        yield
    finally:
        with _lock:
            if _running.get(build_id) is stop:
                del _running[build_id]


def _tracer(told: Told, dockerfile: str) -> Callable[[events.Event], None]:
    """What tells of events in BuildKit's messages, as Docker does for ``version=2``."""
    from minidock.server.buildkit.statuses import Statuses

    statuses = Statuses(os.urandom(8).hex())

    def tell(event: events.Event) -> None:
        response = statuses.response(0, event, lambda: (dockerfile, b""))
        if response is not None:
            message = base64.b64encode(response.SerializeToString()).decode()
            told.line({"id": "moby.buildkit.trace", "aux": message})

    return tell


def _classic(told: Told) -> Callable[[events.Event], None]:
    return lambda event: _tell(told, event)


def _tell(told: Told, event: events.Event) -> None:
    if isinstance(event, events.Started):
        step = _STEP.fullmatch(event.step.name)
        if step is not None:
            told.line({"stream": f"Step {step[1]}/{step[2]} : {step[3]}"})
            told.line({"stream": "\n"})
    elif isinstance(event, events.Output):
        told.line({"stream": event.data.decode("utf-8", "replace")})
    elif isinstance(event, events.Warned):
        told.line({"stream": f"[Warning] {event.warning}\n"})
    elif isinstance(event, events.Finished) and event.cached:
        step = _STEP.fullmatch(event.step.name)
        if step is not None and not step[3].upper().startswith("FROM "):
            told.line({"stream": " ---> Using cache\n"})


def _traced_detail(error: Exception) -> dict[str, Any]:
    """What a failure is in the words of BuildKit."""
    if isinstance(error, BuildFailed) and error.code is not None:
        command = error.instruction.partition(" ")[2]
        text = f'process "/bin/sh -c {command}" did not complete successfully: exit code: {error.code}'
        return {"errorDetail": {"message": text}, "error": text}
    text = "context canceled" if isinstance(error, Cancelled) else message_of(error)
    return {"errorDetail": {"message": text}, "error": text}


def _detail(error: Exception) -> dict[str, Any]:
    """What a failure is in the words of the classic builder."""
    if isinstance(error, BuildFailed) and error.code is not None:
        command = error.instruction.partition(" ")[2]
        text = f"The command '/bin/sh -c {command}' returned a non-zero code: {error.code}"
        return {"errorDetail": {"code": error.code, "message": text}, "error": text}
    text = message_of(error)
    return {"errorDetail": {"message": text}, "error": text}


def _familiar(name: str) -> str:
    from minidock.images import references

    return references.parse(name).with_default_tag().familiar


@contextlib.contextmanager
def _context(request: Request) -> Iterator[str | BinaryIO]:
    """The context: the body, kept on disk meanwhile, as it is read while the answer is written already."""
    remote = request.query.text("remote")
    if remote:
        if not _REMOTE.match(remote):
            raise HttpError(400, f"remote: {remote[:100]!r} is no URL of an archive or a repository")
        yield remote
        return
    paths = request.engine.store.paths
    paths.prepare()
    with tempfile.TemporaryFile(dir=paths.tmp) as file:
        reader = request.reader()
        while chunk := reader.read(_CHUNK):
            file.write(chunk)
        file.seek(0)
        yield file


def _options(request: Request) -> BuildOptions:
    query = request.query
    if query.text("version") not in ("", "1", "2"):
        raise HttpError(400, f'invalid version "{query.text("version")[:60]}"')
    if query.flag("squash"):
        raise HttpError(400, "squash is only supported with experimental mode")
    if query.text("isolation") not in ("", "default"):
        raise HttpError(400, f'unsupported isolation: "{query.text("isolation")[:60]}"')
    for name, kind in (("outputs", list[Any] | None), ("cachefrom", list[str] | None)):
        if text := query.text(name):
            _json(text, name, kind)  # the classic builder has no use for them
    if query.text("version") == "2":
        if not is_available():
            raise HttpError(501, "BuildKit's API needs the extra of minidock: pip install 'minidock[buildkit]'")
        if query.text("outputs") not in ("", "null", "[]"):
            raise HttpError(
                501, "outputs: results of /build are images; others are BuildKit's own routes' (docker buildx)"
            )
    if query.text("session"):
        raise HttpError(501, "sessions of /build are not served; BuildKit's own routes have them (docker 23 and newer)")
    options: dict[str, Any] = {
        "tags": [tag for tag in query.all("t") if tag],
        "args": {name: value for name, value in _mapping(request, "buildargs").items() if value is not None},
        "labels": {name: value or "" for name, value in _mapping(request, "labels").items()},
        "no_cache": query.flag("nocache"),
        "pull": query.flag("pull"),
        "extra_hosts": [host for text in query.all("extrahosts") for host in text.split(",") if host],
    }
    dockerfile = query.text("dockerfile").lstrip("/")
    if dockerfile:
        if ".." in dockerfile.split("/"):
            raise HttpError(400, f"dockerfile: {dockerfile[:100]!r} leads out of the context")
        options["dockerfile"] = dockerfile
    if platform := platform_of(query.text("platform")):
        options["platform"] = platform
    if network := query.text("networkmode"):
        options["network"] = network
    options |= {ours: number for theirs, ours in _NUMBERS.items() if (number := query.number(theirs))}
    options |= {ours: text for theirs, ours in _TEXTS.items() if (text := query.text(theirs))}
    if limits := query.text("ulimits"):
        options["ulimits"] = [
            f"{one.name}={one.soft}:{one.hard}" for one in _json(limits, "ulimits", list[Ulimit] | None) or ()
        ]
    return options  # type: ignore[return-value]


def _mapping(request: Request, name: str) -> Mapping[str, str | None]:
    text = request.query.text(name)
    return (_json(text, name, dict[str, str | None] | None) or {}) if text else {}


def _json(text: str, name: str, kind: Any) -> Any:
    try:
        return decoding.decode(text, kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise HttpError(400, f"{name}: {error}") from None


def prune(request: Request) -> None:
    """``POST /build/prune``."""
    query = request.query
    done = request.engine.builder.prune(
        all=query.flag("all"),
        # `docker system prune` sends its filters here, too; Docker takes no notice of labels, as the cache has none.
        filters={name: values for name, values in (query.filters() or {}).items() if name not in ("label", "label!")},
        reserved_space=query.number("reserved-space") or query.number("keep-storage"),
        max_used_space=query.number("max-used-space"),
        min_free_space=query.number("min-free-space"),
    )
    request.answer(
        {"CachesDeleted": [entry.id for entry in done.entries] or None, "SpaceReclaimed": done.space_reclaimed}
    )
