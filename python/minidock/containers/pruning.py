"""``container prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock import events
from minidock.containers import filters as filtering
from minidock.containers import states
from minidock.containers.sizes import sizes
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument
from minidock.spec.docker_system import ContainersPruned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from minidock.containers.container import Container
    from minidock.containers.lifecycle import Lifecycle


def prune(
    lifecycle: Lifecycle, containers: Iterable[Container], filters: Mapping[str, Any] | Sequence[str] | None
) -> ContainersPruned:
    """Remove those of ``containers`` that do not run and pass the filters; those that others start meanwhile stay.

    Raises InvalidArgument for a filter that makes no sense.
    """
    wanted = filtering.parse(filters, ("label", "label!", "until"))
    moments = [filtering.until(value) for value in wanted.get("until", ())]
    if len(moments) > 1:
        raise InvalidArgument("more than one until filter specified")
    done = ContainersPruned()
    for container in containers:
        record = container.record
        if container.status in states.ALIVE or any(filtering.created(record) > moment for moment in moments):
            continue
        if not all(filtering.has_label(record.config.labels, label) for label in wanted.get("label", ())):
            continue
        if any(filtering.has_label(record.config.labels, label) for label in wanted.get("label!", ())):
            continue
        written = sizes(record, lifecycle)[0]
        try:
            container.remove()
        except (Conflict, ContainerNotFound):
            continue
        done.containers_deleted = [*(done.containers_deleted or ()), record.id]
        done.space_reclaimed += written
    events.append(lifecycle.paths, "container", "prune", "", {"reclaimed": str(done.space_reclaimed)})
    return done
