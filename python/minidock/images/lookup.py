"""Images by name: references, ids, platforms."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

from minidock.errors import Denied, ImageNotFound, InvalidArgument, NoSpace
from minidock.images import platforms, references
from minidock.images.image import Image

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Sequence

    from minidock.engine import Engine
    from minidock.images.collection import ImageCollection
    from minidock.images.references import Reference
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.images import ImageRow
    from minidock.store.store import Store

HELLO = "docker.io/minidock/hello:latest"
"""The built-in image's canonical name."""


class ImageLookup:
    """Finds images; the part of :class:`~minidock.images.collection.ImageCollection` that all others need."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store: Store = engine.store

    def get(self, name: str, *, platform: str | None = None) -> Image:
        """The image with this reference, id, or prefix of an id; of a name with several platforms, that one.

        Raises ImageNotFound, and InvalidArgument for a name that cannot be one or a prefix that several ids have.
        """
        image = self.find(name, platform=platform)
        if image is None:
            raise ImageNotFound(f"no such image: {self.shown(name)}")
        return image

    def find(self, name: str, *, platform: str | None = None) -> Image | None:
        """Like :meth:`get`, but None when there is no such image."""
        row, _ = self.resolve(name, platform)
        return None if row is None else self.made(row)

    def resolve(self, name: str, platform: str | None = None) -> tuple[ImageRow | None, Reference | None]:
        """The image's row, and the reference with a tag or digest that named it, or None when an id did.

        Of several platforms, the one asked for; without, the host's; else the one that came last. Raises ImageNotFound
        when the image is there, but not for that platform.
        """
        rows, reference = self._resolve(name)
        if not rows:
            return None, reference
        if platform is None:
            if len(rows) > 1:
                rows = self._best(rows, platforms.host()) or rows
            return rows[0], reference
        wanted = platforms.parse(platform)
        fits = self._best(rows, wanted)
        if not fits:
            there = ", ".join(str(self._platform(row)) for row in rows)
            raise ImageNotFound(
                f"no such image: {self.shown(name)} for the platform {wanted}; here it is {there}: "
                f"minidock pull --platform {wanted} {self.shown(name)}"
            )
        return fits[0], reference

    def resolve_all(self, name: str, only: Sequence[str] = ()) -> tuple[builtins.list[ImageRow], Reference | None]:
        """All images of a name, or those of the platforms ``only``. Raises ImageNotFound when there is none."""
        rows, reference = self._resolve(name)
        if not rows:
            raise ImageNotFound(f"no such image: {self.shown(name)}")
        if only:
            found = []
            for platform in only:
                row, _ = self.resolve(name, platform)
                if row is not None and row not in found:
                    found.append(row)
            rows = found
        return rows, reference

    def _resolve(self, name: str) -> tuple[builtins.list[ImageRow], Reference | None]:
        table, names = self._store.images, self._store.names
        digits = references.id_digits(name)
        if digits is not None and len(digits) == 64:
            return _visible([table.by_id("sha256:" + digits)]), None
        if name.startswith("sha256:"):
            if digits is None:
                raise InvalidArgument(f"invalid reference format: {name[:200]!r}: not an image id")
            return _visible([table.by_prefix(digits)]), None
        reference = references.parse(name).with_default_tag()
        if reference.digest is not None:
            reference = reference._replace(tag=None)
            return _visible(map(table.by_id, names.by_digest(reference.name, reference.digest or ""))), reference
        canonical = reference.canonical
        if canonical == HELLO:
            self.ensure_hello()
        rows = _visible(map(table.by_id, names.images(canonical)))
        if rows or digits is None:
            return rows, reference
        rows = _visible([table.by_prefix(digits)])
        return rows, None if rows else reference

    def _best(self, rows: builtins.list[ImageRow], wanted: platforms.Platform) -> builtins.list[ImageRow]:
        """Those of the rows that fit a platform, best first."""
        ranks = [(wanted.rank(self._platform(row)), row) for row in rows]
        fits = [(rank, row) for rank, row in ranks if rank is not None]
        return [row for _, row in sorted(fits, key=lambda fit: fit[0])]

    def _platform(self, row: ImageRow) -> platforms.Platform:
        config = self.decode_config(row)
        return platforms.Platform(config.os, config.architecture, config.variant)

    def list(self, name: str | None = None, *, all: bool = False) -> builtins.list[Image]:
        """All images, newest first; with ``name``, those with a tag of that repository, or that reference.

        ``all`` adds nothing yet: intermediate images come with the builder.
        """
        del all
        # On a full or read-only disk a listing shows what is there.
        with contextlib.suppress(NoSpace, Denied):
            self.ensure_hello()
        store = self._store
        wanted = None if name is None else references.parse(name)
        tags: dict[str, builtins.list[str]] = {}
        digests: dict[str, builtins.list[str]] = {}
        with store.database.snapshot():
            rows = store.images.all()
            for tag in store.names.tags():
                reference = references.from_canonical(tag.name)
                if wanted is None or (reference.name == wanted.name and wanted.tag in (None, reference.tag)):
                    tags.setdefault(tag.image_id, []).append(reference.familiar)
            for one in store.names.digests():
                reference = references.from_canonical(f"{one.repository}@{one.digest}")
                if wanted is None or reference.name == wanted.name:
                    digests.setdefault(one.image_id, []).append(reference.familiar)
        if wanted is not None:
            rows = [row for row in rows if tags.get(row.id) or (wanted.tag is None and digests.get(row.id))]
        return [self.made(row, sorted(tags.get(row.id, ())), sorted(digests.get(row.id, ()))) for row in rows]

    def familiar_tags(self, image_id: str) -> builtins.list[str]:
        """Names of an image as Docker shows them."""
        return sorted(references.from_canonical(tag.name).familiar for tag in self._store.names.tags(image_id))

    def familiar_digests(self, image_id: str) -> builtins.list[str]:
        """Digests that registries have an image under, as Docker shows them: ``busybox@sha256:…``."""
        return sorted(
            references.from_canonical(f"{one.repository}@{one.digest}").familiar
            for one in self._store.names.digests(image_id)
        )

    def decode_config(self, row: ImageRow) -> ImageConfig:
        """An image's configuration. Raises Corrupt when it is none."""
        from minidock.images import current

        return current.config_of(row)

    def ensure_hello(self) -> None:
        """Make the built-in image if it is not there, or is of another version of minidock."""
        from minidock.images.hello import ensure

        ensure(self._store)

    def target(self, repository: str | None, tag: str | None) -> Reference | None:
        """The name that these mean together, ``latest`` unless there is a tag; None without a repository."""
        if not repository:
            if tag:
                raise InvalidArgument(f"tag {tag!r}: given without a repository")
            return None
        target = references.parse_repository(repository)
        if tag:
            if target.tag is not None:
                raise InvalidArgument(f"repository {repository!r} has a tag already; leave out tag {tag!r}")
            if not references.is_tag(tag):
                raise InvalidArgument(f"invalid tag {tag[:200]!r}")
            target = target._replace(tag=tag)
        return target.with_default_tag()

    def shown(self, name: str) -> str:
        """A name as error messages show it."""
        if name.startswith("sha256:") or (len(name) == 64 and references.id_digits(name) is not None):
            return name
        return references.parse(name).with_default_tag().familiar

    def made(
        self, row: ImageRow, tags: builtins.list[str] | None = None, digests: builtins.list[str] | None = None
    ) -> Image:
        """The object for a row, with its names if they are known."""
        return Image(cast("ImageCollection", self), row, tags, digests)


def _visible(rows: Iterable[ImageRow | None]) -> list[ImageRow]:
    return [row for row in rows if row is not None and not row.hidden]
