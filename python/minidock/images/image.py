"""One image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.errors import InvalidArgument
from minidock.images.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.images.collection import ImageCollection
    from minidock.spec.docker_images import ImageDelete, ImageHistory, ImageInspect
    from minidock.spec.oci_image import ExecutionConfig, ImageConfig
    from minidock.store.images import ImageRow


class Image:
    """An image of the data root. Made by :class:`~minidock.images.collection.ImageCollection`."""

    __slots__ = ("_collection", "_config", "_digests", "_tags", "row")

    def __init__(
        self,
        collection: ImageCollection,
        row: ImageRow,
        tags: list[str] | None = None,
        digests: list[str] | None = None,
    ) -> None:
        self._collection = collection
        self._config: ImageConfig | None = None
        self._digests = digests
        self._tags = tags
        self.row = row

    @property
    def id(self) -> str:
        """The digest of its configuration, ``sha256:HEX``."""
        return self.row.id

    @property
    def short_id(self) -> str:
        """``sha256:`` and the first 12 digits of the id."""
        return self.row.id[:19]

    @property
    def size(self) -> int:
        """Bytes of the files in its layers."""
        return self.row.size

    @property
    def tags(self) -> list[str]:
        """Its names as Docker shows them, such as ``busybox:latest``, as of when it was read."""
        if self._tags is None:
            self._tags = self._collection.familiar_tags(self.row.id)
        return self._tags

    @property
    def repo_digests(self) -> list[str]:
        """Digests that registries have it under, such as ``busybox@sha256:…``, as of when it was read."""
        if self._digests is None:
            self._digests = self._collection.familiar_digests(self.row.id)
        return self._digests

    @property
    def platform(self) -> Platform:
        """Operating system, architecture and variant that it is for."""
        return Platform(self.config.os, self.config.architecture, self.config.variant)

    @property
    def config(self) -> ImageConfig:
        """The OCI configuration."""
        if self._config is None:
            self._config = self._collection.decode_config(self.row)
        return self._config

    @property
    def defaults(self) -> ExecutionConfig:
        """The ``config`` part of the configuration: defaults of its containers."""
        from minidock.spec.oci_image import ExecutionConfig

        return self.config.config or ExecutionConfig()

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return dict(self.defaults.labels or {})

    @property
    def attrs(self) -> dict[str, Any]:
        """What ``docker image inspect`` prints."""
        import msgspec

        attrs: dict[str, Any] = msgspec.to_builtins(self.inspect())
        return attrs

    def inspect(self) -> ImageInspect:
        """What ``docker image inspect`` prints, as a struct."""
        return self._collection.inspect(self)

    def history(self) -> list[ImageHistory]:
        """How its layers came about, newest first."""
        return self._collection.history(self)

    def tag(self, repository: str, tag: str | None = None) -> bool:
        """Give it another name; returns True. Raises InvalidArgument for a name that is none."""
        self._collection.tag(self.row.id, repository, tag)
        self._tags = self._digests = None
        return True

    def save(self, chunk_size: int = 2 << 20, *, named: bool | str = False) -> Iterator[bytes]:
        """Return it as a tar in chunks, see :meth:`ImageCollection.save`.

        ``named``: with its first name, or with this one of its names; else the archive has no name for it.
        """
        name = self.row.id
        if named:
            name = named if isinstance(named, str) else next(iter(self.tags), name)
            if self._collection.get(name).id != self.row.id:
                raise InvalidArgument(f"save {self.short_id}: {name!r} is not one of its names")
        return self._collection.save(name, chunk_size=chunk_size)

    def remove(self, *, force: bool = False) -> list[ImageDelete]:
        """Remove it and all its names, see :meth:`ImageCollection.remove`."""
        return self._collection.remove(self.row.id, force=force)

    def reload(self) -> None:
        """Read it again. Raises ImageNotFound when it is gone."""
        self.row = self._collection.get(self.row.id).row
        self._tags = self._digests = None

    def __repr__(self) -> str:
        return f"<Image {', '.join(self.tags) or self.short_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and other.row.id == self.row.id

    def __hash__(self) -> int:
        return hash(self.row.id)
