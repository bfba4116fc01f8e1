"""One volume."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from minidock.volumes.record import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.images.outputs import Out
    from minidock.spec.docker_volume import VolumeInspect
    from minidock.volumes.archives import In
    from minidock.volumes.collection import VolumeCollection
    from minidock.volumes.record import Record

_SHORT = 20


class Volume:
    """A volume, as it was when it was looked up."""

    def __init__(self, collection: VolumeCollection, record: Record) -> None:
        self._collection = collection
        self.record = record

    def __repr__(self) -> str:
        return f"<Volume: {self.short_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and other.id == self.id

    def __hash__(self) -> int:
        return hash((Volume, self.id))

    @property
    def id(self) -> str:
        """Its name, as with docker-py."""
        return self.record.name

    @property
    def short_id(self) -> str:
        """The beginning of its name."""
        return self.record.name[:_SHORT]

    @property
    def name(self) -> str:
        """Its name: 64 hexadecimal digits unless somebody gave it another."""
        return self.record.name

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.record.labels or {})

    @property
    def options(self) -> dict[str, str]:
        """The driver's options."""
        return dict(self.record.options or {})

    @property
    def anonymous(self) -> bool:
        """Whether nobody gave it a name: ``prune`` removes those."""
        return ANONYMOUS in (self.record.labels or {})

    @property
    def created(self) -> datetime:
        """When it was made, in UTC."""
        return datetime.fromtimestamp(self.record.created / 10**9, UTC)

    @property
    def mountpoint(self) -> str:
        """The directory of its files. One with driver options has them there only while a running container has it."""
        return self._collection.mountpoint(self.record.name)

    @property
    def attrs(self) -> dict[str, Any]:
        """What ``docker volume inspect`` prints."""
        import msgspec

        found: dict[str, Any] = msgspec.to_builtins(self.inspect())
        return found

    def inspect(self) -> VolumeInspect:
        """Return what ``docker volume inspect`` prints, typed."""
        from minidock.volumes.record import inspect

        return inspect(self.record, self.mountpoint)

    def reload(self) -> None:
        """Look again. Raises VolumeNotFound when it has been removed."""
        self.record = self._collection.get(self.name).record

    def remove(self, force: bool = False) -> None:
        """Remove it with its files. Raises VolumeInUse while a container has it, running or not, VolumeNotFound.

        ``force`` only means that it may be gone already, as in Docker.
        """
        [error] = self._collection.remove([self.name], force=force)
        if error is not None:
            raise error

    def export(self, out: Out | None = None, *, chunk_size: int = 1 << 20) -> Iterator[bytes] | None:
        """Write its files as a plain tar to ``out``: a path, a descriptor, a binary file; return chunks without it.

        A file takes the place of what had its name only when it is complete. Raises Conflict when files change
        meanwhile, and what writing raises.
        """
        from minidock.volumes import archives

        return archives.export(self._collection.table, self.record, out, chunk_size)

    def import_(self, source: In) -> None:
        """Unpack a tar, plain or compressed by gzip, zstd, xz or bzip2, over its files.

        ``source`` is a path, a descriptor, bytes or a binary file. What the archive does not have stays. Nothing
        changes unless all of it can be read and unpacked; who is killed while files are put in place leaves the rest
        to the next user of the volume. Raises Corrupt, Denied and LimitExceeded for hostile archives, NoSpace.
        """
        from minidock.volumes import archives

        archives.import_(self._collection.table, self.record, source)

    def clone(self, name: str | None = None) -> Volume:
        """Return a new volume with a copy of its files and its labels; blocks are shared where the disk can.

        Files that change meanwhile are copied as they are found. Raises NameInUse, InvalidArgument, NoSpace.
        """
        return self._collection.clone(self, name)
