"""``engine.images.build``: options in the caller's words, and a build that is watched while it goes on."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict

from minidock.build import contexts, docker_py, named, options
from minidock.build.backlog import Backlog
from minidock.build.executor import Build
from minidock.build.stopping import Stop
from minidock.errors import InvalidArgument
from minidock.images.parallel import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self, Unpack

    from minidock.build import exchange
    from minidock.build.agents import Agent
    from minidock.build.annotating import Annotation
    from minidock.build.dockerfile.checking import Checked
    from minidock.build.events import Event
    from minidock.build.failures import Failed
    from minidock.build.python.image import Image as Program
    from minidock.engine import Engine
    from minidock.images.image import Image
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.images import ImageRow

    Context = str | os.PathLike[str] | bytes | BinaryIO | int | Program


class BuildOptions(TypedDict, total=False):
    """What ``images.build`` takes besides the context."""

    dockerfile: str | os.PathLike[str] | bytes
    """A path (from the context, if relative), or the text itself."""
    target: str
    """The stage to build; the last one if it is not given."""
    args: Mapping[str, str | None] | Sequence[str]
    """ARGs; of a list's entry without a value, that of the environment counts."""
    secrets: Mapping[str, str | bytes] | Sequence[str]
    """For ``RUN --mount=type=secret``: values by id, or texts as the flag ``--secret``."""
    ssh: Sequence[str]
    """For ``RUN --mount=type=ssh``: texts as the flag ``--ssh``, ``ID[=SOCKET|KEYFILE[,KEYFILE]]``."""
    tags: str | Sequence[str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str] | Sequence[str]
    """For the image's manifest, or with ``manifest-descriptor:KEY`` for what leads to it in an archive; a name of
    ``tags`` has them, also when it is pushed. They do not change the image's id."""
    no_cache: bool
    no_cache_filter: Sequence[str]
    """Stages of which nothing is taken from the cache."""
    pull: bool
    """Base images are looked for in their registries though they are here."""
    platform: str
    cache_from: Sequence[str]
    """Caches of other machines: texts as the flag, ``type=local,src=DIRECTORY`` or ``type=registry,ref=NAME``."""
    cache_to: Sequence[str]
    """Where the cache is to go: ``type=local,dest=DIRECTORY``, ``type=registry,ref=NAME`` (both with ``mode=max``,
    ``mounts=true``), or ``type=inline``."""
    verify: bool
    """Build twice, the second time without any cache, and raise NotReproducible where a file differs."""
    contexts: Mapping[str, str]
    """Other contexts by name, for FROM and ``--from``, before stages and images of this name: directories, URLs,
    ``docker-image://NAME`` or ``oci-layout://PATH[:TAG][@DIGEST]``."""
    network: str
    """``default``, ``none`` or ``host``, for every RUN that names none."""
    extra_hosts: Mapping[str, str] | Sequence[str]
    shm_size: int | str
    ulimits: Sequence[str]
    memory: int | str
    memswap_limit: int | str
    cpu_shares: int
    cpu_quota: int
    cpu_period: int
    cpuset_cpus: str
    cpuset_mems: str
    cgroup_parent: str
    security_opt: Sequence[str]
    timestamps: str
    """``fixed`` (the default): all that the build makes has the time of SOURCE_DATE_EPOCH, or 2000-01-01, so that the
    same input gives the same image; ``keep``: the times that it has, as with Docker."""

    # docker-py's words for the same.
    path: str | os.PathLike[str]
    """The context."""
    fileobj: BinaryIO
    """A Dockerfile that needs no context; with ``custom_context`` a tar with the context."""
    custom_context: bool
    tag: str
    """One of ``tags``."""
    buildargs: Mapping[str, str | None]
    """``args``."""
    nocache: bool
    """``no_cache``."""
    network_mode: str
    """``network``."""
    shmsize: int | str
    """``shm_size``."""
    rm: bool
    """True, as it always is: containers of RUN do not stay."""
    forcerm: bool
    """True, as it always is."""
    container_limits: Mapping[str, int | str]
    """``memory``, ``memswap`` (``memswap_limit``), ``cpushares`` (``cpu_shares``), ``cpusetcpus`` (``cpuset_cpus``)."""


_RUN = (
    "extra_hosts",
    "shm_size",
    "ulimits",
    "memory",
    "memswap_limit",
    "cpu_shares",
    "cpu_quota",
    "cpu_period",
    "cpuset_cpus",
    "cpuset_mems",
    "cgroup_parent",
    "security_opt",
)


def checked(given: BuildOptions) -> tuple[options.Options, Any]:
    """Return the options, and the Dockerfile. Raises InvalidArgument."""
    unknown = set(given) - set(BuildOptions.__annotations__)
    if unknown:
        raise InvalidArgument(f'unknown option "{min(unknown)}"')
    tags = given.get("tags") or []
    tags = [tags] if isinstance(tags, str) else list(tags)
    if given.get("tag"):
        tags.append(given["tag"])
    args = options.pairs({**(given.get("buildargs") or {})}, os.environ)
    args |= options.pairs(given.get("args") or {}, os.environ)
    made = options.Options(
        target=given.get("target") or "",
        args={name: value for name, value in args.items() if value is not None},
        labels={name: value or "" for name, value in (given.get("labels") or {}).items()},
        annotations=_annotations(given.get("annotations") or ()),
        tags=options.names(tags),
        no_cache=bool(given.get("no_cache")),
        no_cache_filter=tuple(name.lower() for name in given.get("no_cache_filter") or ()),
        pull=bool(given.get("pull")),
        verify=bool(given.get("verify")),
        platform=options.platform(given.get("platform")),
        network=given.get("network") or "default",
        epoch=options.epoch(given.get("timestamps") or "fixed", args.get("SOURCE_DATE_EPOCH") or ""),
        secrets=_secrets(given.get("secrets") or {}),
        cache_from=_places(given.get("cache_from") or (), to=False),
        cache_to=_places(given.get("cache_to") or (), to=True),
        ssh=_agents(given.get("ssh") or ()),
        contexts=named.given({name: os.fspath(value) for name, value in (given.get("contexts") or {}).items()}),
        run={name: given[name] for name in _RUN if given.get(name) is not None},  # type: ignore[literal-required]
    )
    return made, given.get("dockerfile")


def opened(
    engine: Engine, context: Context | None, given: BuildOptions, stop: Stop | None = None
) -> tuple[options.Options, contexts.BuildContext]:
    """Return the options, and the context that is opened; see :func:`contexts.load`. Raises InvalidArgument."""
    is_classic = bool(given.get("custom_context"))
    context, given = docker_py.ours(context, given)
    made, dockerfile = checked(given)
    loaded = contexts.load(engine, context, dockerfile, stop)
    # Such tars are for Docker's classic builder, to which owners say nothing: they are those of whoever packed it.
    loaded.keeps_owners = loaded.keeps_owners and not is_classic
    if is_classic:
        contexts.drop_ignored(loaded, dockerfile if isinstance(dockerfile, str) else contexts.DOCKERFILE)
    return made, loaded


def _agents(texts: Sequence[str]) -> dict[str, Agent]:
    if not texts:
        return {}
    from minidock.build import agents

    return dict(agents.parse(text, os.environ) for text in texts)


def _annotations(given: Mapping[str, str] | Sequence[str]) -> tuple[Annotation, ...]:
    if not given:
        return ()
    from minidock.build import annotating

    return annotating.parse(given)


def _places(texts: Sequence[str], *, to: bool) -> tuple[exchange.Place, ...]:
    if not texts:
        return ()
    from minidock.build import exchange

    return tuple(exchange.destination(text) if to else exchange.source(text) for text in texts)


def _secrets(given: Mapping[str, str | bytes] | Sequence[str]) -> dict[str, options.Secret]:
    if hasattr(given, "items"):
        return {
            name: options.Secret(name, value=value.encode() if isinstance(value, str) else value)
            for name, value in given.items()
        }
    return {one.id: one for one in map(options.secret, given)}


def build(
    engine: Engine,
    context: Context | None,
    report: Callable[[Event], None],
    shell: Callable[[Failed], None] | None = None,
    **given: Unpack[BuildOptions],
) -> ImageRow:
    """Build an image; see :meth:`ImageCollection.build`, and for ``shell`` :class:`Build`."""
    made, loaded = opened(engine, context, given)
    try:
        return Build(engine, loaded, made, report, shell).run()
    finally:
        loaded.close()


def build_files(
    engine: Engine,
    context: Context | None,
    destination: str | os.PathLike[str] | int | None,
    report: Callable[[Event], None],
    shell: Callable[[Failed], None] | None = None,
    **given: Unpack[BuildOptions],
) -> None:
    """Build files; see :meth:`ImageCollection.build_files`, and for ``shell`` :class:`Build`.

    Without a destination what was done goes into the cache alone.
    """
    from minidock.build import outputs

    def use(layers: list[str]) -> None:
        if destination is None:
            return
        if isinstance(destination, int):
            outputs.write(layers, destination)
        else:
            outputs.extract(layers, os.fspath(destination))

    made, loaded = opened(engine, context, given)
    try:
        Build(engine, loaded, made, report, shell).files(use)
    finally:
        loaded.close()


def check(engine: Engine, context: Context | None, **given: Unpack[BuildOptions]) -> tuple[Checked, str, list[str]]:
    """Return what is to be said about a Dockerfile, its name and its lines; nothing is built or pulled."""
    made, loaded = opened(engine, context, given)
    try:
        lines = loaded.dockerfile.decode("utf-8", "replace").splitlines()
        return check_opened(engine, made, loaded), loaded.dockerfile_shown, lines
    finally:
        loaded.close()


def check_opened(engine: Engine, made: options.Options, loaded: contexts.BuildContext) -> Checked:
    """The same for a context that is open."""
    from minidock.build.dockerfile import checking
    from minidock.errors import MinidockError
    from minidock.images import platforms

    def image(name: str, platform: platforms.Platform | None) -> ImageConfig | None:
        try:
            row, _ = engine.images.resolve(name, None if platform is None else str(platform))
        except MinidockError:
            return None
        return None if row is None else engine.images.decode_config(row)

    host = platforms.host()
    target = host if made.platform is None else platforms.parse(made.platform)
    return checking.check(
        loaded.dockerfile, image, host, target, given=made.args, target=made.target, ignore=loaded.ignore
    )


class BuildStream:
    """A build in another thread: an iterator over its events; leaving the ``with`` block early ends it."""

    def __init__(
        self,
        engine: Engine,
        context: Context | None,
        given: BuildOptions,
        stop: Stop | None = None,
        asker: options.Asker | None = None,
    ) -> None:
        """``stop`` ends the opening of the context, too; ``asker`` is asked for credentials."""
        self._stop = Stop() if stop is None else stop
        self._events = Backlog()
        self._engine = engine
        self._row: ImageRow | None = None
        self._error: BaseException | None = None
        made, self._loaded = opened(engine, context, given, self._stop)
        made.asker = asker
        self._build = Build(engine, self._loaded, made, self._events.put, stop=self._stop)
        self._thread = threading.Thread(target=self._run, name="minidock-build", daemon=True)
        try:
            started(self._thread)
        except BaseException:
            self._loaded.close()
            raise

    def _run(self) -> None:
        try:
            self._row = self._build.run()
        except BaseException as error:
            self._error = error
        finally:
            self._loaded.close()
            self._events.put(None)

    def __iter__(self) -> Iterator[Event]:
        while (event := self._events.get()) is not None:
            yield event
        self._events.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    @property
    def image(self) -> Image:
        """The image; waits for the build's end and raises what it failed with."""
        self._events.free()
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._row is not None  # noqa: S101 - it did not fail
        return self._engine.images.made(self._row)

    def stop(self) -> None:
        """Let the build end soon, with Cancelled; for another thread."""
        self._stop.set()
        self._events.free()

    def close(self) -> None:
        """End the build, if it goes on."""
        if self._thread.is_alive():
            self.stop()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
