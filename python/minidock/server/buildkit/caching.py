"""``docker buildx du`` and ``prune``: the build cache in BuildKit's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.statuses import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.build.cache import Entry
    from minidock.engine import Engine


def usage(engine: Engine, request: wire.DiskUsageRequest) -> wire.DiskUsageResponse:
    """What the cache holds. Raises InvalidArgument for a filter that makes no sense."""
    return wire.DiskUsageResponse(record=[_record(entry) for entry in engine.builder.entries(_filters(request.filter))])


def prune(engine: Engine, request: wire.PruneRequest) -> Iterator[wire.UsageRecord]:
    """Remove what nobody needs, and tell what that was."""
    filters = _filters(request.filter)
    if request.keep_duration > 0:
        filters.append(f"unused-for={request.keep_duration // 10**9}s")
    done = engine.builder.prune(
        all=request.all,
        filters=filters or None,
        reserved_space=request.reserved_space or None,
        max_used_space=request.max_used_space or None,
        min_free_space=request.min_free_space or None,
    )
    yield from map(_record, done.entries)


def _filters(given: Sequence[str]) -> list[str]:
    """Filters of containerd's kind (``id~=x``, ``type==regular``) as minidock has them."""
    return [one.replace("==", "=", 1).replace("~=", "=", 1) for text in given for one in text.split(",") if one]


def _record(entry: Entry) -> wire.UsageRecord:
    return wire.UsageRecord(
        id=entry.id,
        mutable=entry.type != "regular",
        in_use=entry.in_use,
        size=entry.size,
        created_at=timestamp(entry.created * 10**9),
        last_used_at=timestamp(entry.last_used * 10**9),
        usage_count=entry.uses,
        description=entry.description,
        record_type=entry.type,
        shared=entry.shared,
    )
