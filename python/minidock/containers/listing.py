"""Lists of containers: which, in which order, and what ``ps`` shows of each.

A list of summaries reads no more than it shows: part of each record, and at one look what the kernel says of all that
runs. Only a container of which those two do not agree, or that does something uncommon, is looked at in full.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, cast

import msgspec

from minidock.containers import states
from minidock.containers.endpoints import Endpoint, Wanted
from minidock.containers.record import Point
from minidock.errors import ContainerNotFound, MinidockError
from minidock.spec import decoding
from minidock.spec.docker import ContainerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from minidock.containers.record import Record
    from minidock.engine import Engine
    from minidock.spec.docker import ContainerSummary
    from minidock.store.containers import ContainerRow

    Filters = Mapping[str, Any] | Sequence[str] | None
    AnyRecord: TypeAlias = "Record | Brief"


class BriefConfig(msgspec.Struct, rename="pascal"):
    """The part of ``Config`` that lists show."""

    image: str = ""
    cmd: list[str] | None = None
    entrypoint: list[str] | None = None
    labels: dict[str, str] | None = None
    healthcheck: Any = None
    hostname: str = ""
    exposed_ports: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


class BriefHostConfig(msgspec.Struct, rename="pascal"):
    """The part of ``HostConfig`` that lists show."""

    network_mode: str = "default"
    port_bindings: dict[str, Any] | None = None
    publish_all_ports: bool = False


class Brief(msgspec.Struct):
    """The part of a :class:`~minidock.containers.record.Record` that lists show, and that filters look at."""

    id: str
    name: str
    created: str
    config: BriefConfig
    host_config: BriefHostConfig
    image: str = ""
    rootfs: str | None = None
    state: ContainerState = msgspec.field(default_factory=ContainerState)
    starter: Any = None
    networks: dict[str, Wanted] = {}
    endpoints: dict[str, Endpoint] = {}
    mounts: list[Point] = []

    @property
    def args(self) -> list[str]:
        """Entry point and command together."""
        return [*(self.config.entrypoint or ()), *(self.config.cmd or ())]


class _PidFile(msgspec.Struct):
    status: str = "running"
    pid: int = 0
    started_at: str = ""


def containers(
    engine: Engine, *, all: bool, filters: Filters, limit: int | None
) -> Iterator[tuple[Record, ContainerState]]:
    """Yield containers with their states, newest first: those that run; all with ``all``, ``limit`` or by status.

    Raises InvalidArgument for a filter that makes no sense, ContainerNotFound for a container that one names.
    """
    lifecycle = engine.lifecycle
    lifecycle.sweep_runs()
    found = _chosen(engine, lifecycle.settle, all=all, filters=filters, limit=limit)
    return cast("Iterator[tuple[Record, ContainerState]]", found)


def summaries(
    engine: Engine,
    *,
    all: bool = False,
    filters: Filters = None,
    limit: int | None = None,
    size: bool = False,
) -> list[ContainerSummary]:
    """Return ``GET /containers/json``. Raises as :func:`containers`."""
    from minidock.containers.inspect import summary

    names = ImageNames(engine)
    found = []
    for record, state in _chosen(engine, _Look(engine).settle, all=all, filters=filters, limit=limit):
        shown = summary(record, state, engine.store.paths, image=names.shown(record))
        if size:
            from minidock.containers.sizes import sizes

            shown.size_rw, shown.size_root_fs = sizes(record, engine.lifecycle)
        found.append(shown)
    return found


def _chosen(
    engine: Engine,
    settle: Callable[[ContainerRow], tuple[AnyRecord, ContainerState]],
    *,
    all: bool,
    filters: Filters,
    limit: int | None,
) -> Iterator[tuple[AnyRecord, ContainerState]]:
    choice = None
    if filters:
        from minidock.containers.filters import parse

        wanted = parse(filters)
        all = all or "status" in wanted
    rows = engine.store.containers.all()
    if filters:
        from minidock.containers.filters import Choice

        choice = Choice(engine, wanted, [row.id for row in rows])
    left = limit if limit and limit > 0 else None
    everything = all or left is not None
    for row in rows:
        if not everything and row.state != states.RUNNING:
            continue
        try:
            record, state = settle(row)
        except ContainerNotFound:
            continue
        if (everything or state.status in states.ALIVE) and (choice is None or choice.passes(record, state)):
            yield record, state
            if left is not None:
                left -= 1
                if not left:
                    return


@functools.cache
def _boot_id() -> str:
    """The boot that this process belongs to; the kernel takes its time to tell."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


class _Look:
    """One look at all that runs, and what it tells of each container."""

    def __init__(self, engine: Engine) -> None:
        from minidock import _native

        self._engine = engine
        runs = engine.store.paths.run_containers
        self._found = _native.survey(runs, _boot_id(), True)
        # What has no pid file that can be read is not among them, and may be a trace as well.
        supervised = sum(supervised for _, supervised, _, _ in self._found.values())
        if os.path.isdir(runs) and supervised != len(os.listdir(runs)):
            engine.lifecycle.sweep_runs()
        self._decode = decoding.decoder(Brief).decode
        self._decode_pid = decoding.decoder(_PidFile).decode

    def settle(self, row: ContainerRow) -> tuple[AnyRecord, ContainerState]:
        """Return what is needed of a container's record, and its true state. Raises ContainerNotFound."""
        record = self._decode(row.record)
        state = record.state
        if row.state in (states.CREATED, states.EXITED) and record.starter is None:
            return record, state
        facts = self._found.get(row.id)
        if row.state == states.RUNNING and facts is not None and record.config.healthcheck is None:
            text, supervised, runs, paused = facts
            if supervised and runs and not paused:
                file = self._decode_pid(text)
                if file.status == states.RUNNING:
                    state.status, state.running, state.pid = states.RUNNING, True, file.pid
                    state.started_at = file.started_at or state.started_at
                    return record, state
        return self._engine.lifecycle.settle(row)


class ImageNames:
    """What images are called now: a container's image may have lost the name that the container was made by."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[tuple[str, str], bool] = {}

    def shown(self, record: AnyRecord) -> str:
        """Return what the container's image was called, or its id when that name is another image's, or nobody's."""
        name = record.config.image
        if not name or not record.image or name == record.image:
            return name or record.rootfs or record.image
        key = (name, record.image)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._has(record.image, name)
        return name if known else record.image

    def _has(self, image_id: str, name: str) -> bool:
        """Whether an image has a name, in any spelling."""
        for tag in self._engine.store.names.tags(image_id):
            short = tag.name.removeprefix("docker.io/library/")
            if name in (tag.name, short, short.removesuffix(":latest"), tag.name.removesuffix(":latest")):
                return True
        from minidock.images.lookup import ImageLookup

        try:
            rows, _ = ImageLookup(self._engine).resolve_all(name)
        except MinidockError:
            return False
        return any(row.id == image_id for row in rows)
