"""Lists of containers: which, in which order, and what ``ps`` shows of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.containers import states
from minidock.errors import ContainerNotFound, MinidockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.spec.docker import ContainerState, ContainerSummary


def chosen(
    lifecycle: Lifecycle, *, all: bool, filters: Mapping[str, Any] | Sequence[str] | None, limit: int | None
) -> Iterator[tuple[Record, ContainerState]]:
    """Yield containers with their states, newest first: those that run; all with ``all``, ``limit`` or by status.

    Raises InvalidArgument for a filter that makes no sense, ContainerNotFound for a container that one names.
    """
    choice = None
    if filters:
        from minidock.containers.filters import Choice, parse

        wanted = parse(filters)
        all = all or "status" in wanted
    lifecycle.sweep_runs()
    rows = lifecycle.store.containers.all()
    if filters:
        choice = Choice(lifecycle, wanted, [row.id for row in rows])
    left = limit if limit and limit > 0 else None
    everything = all or left is not None
    for row in rows:
        try:
            record, state = lifecycle.settle(row)
        except ContainerNotFound:
            continue
        if (everything or state.status in states.ALIVE) and (choice is None or choice.passes(record, state)):
            yield record, state
            if left is not None:
                left -= 1
                if not left:
                    return


def summaries(
    lifecycle: Lifecycle,
    *,
    all: bool = False,
    filters: Mapping[str, Any] | Sequence[str] | None = None,
    limit: int | None = None,
    size: bool = False,
) -> list[ContainerSummary]:
    """Return ``GET /containers/json``. Raises as :func:`chosen`."""
    from minidock.containers.inspect import summary

    names = ImageNames(lifecycle)
    found = []
    for record, state in chosen(lifecycle, all=all, filters=filters, limit=limit):
        shown = summary(record, state, image=names.shown(record))
        if size:
            from minidock.containers.sizes import sizes

            shown.size_rw, shown.size_root_fs = sizes(record, lifecycle)
        found.append(shown)
    return found


class ImageNames:
    """What images are called now: a container's image may have lost the name that the container was made by."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._known: dict[str, set[str]] = {}

    def shown(self, record: Record) -> str:
        """Return what the container's image was called, or its id when that name is another image's, or nobody's."""
        name = record.config.image
        if not name or not record.image or name == record.image:
            return name or record.rootfs or record.image
        ids = self._known.get(name)
        if ids is None:
            try:
                rows, _ = self._lifecycle.engine.images.resolve_all(name)
            except MinidockError:
                rows = []
            ids = self._known[name] = {row.id for row in rows}
        return name if record.image in ids else record.image
