"""``engine.images``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO

from minidock.errors import ContainerNotFound, Corrupt, Denied, ImageNotFound, InvalidArgument, NoSpace
from minidock.images import references
from minidock.images.image import Image
from minidock.spec import decoding

if TYPE_CHECKING:
    import builtins
    from collections.abc import Sequence

    from minidock.engine import Engine
    from minidock.images.references import Reference
    from minidock.spec.docker_images import ImageDelete, ImageHistory, ImageInspect, ImagesPruned, ImageSummary
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.images import ImageRow
    from minidock.store.store import Store

HELLO = "docker.io/minidock/hello:latest"
"""The built-in image's canonical name."""


class ImageCollection:
    """The images of an engine's data root."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store: Store = engine.store

    def get(self, name: str) -> Image:
        """The image with this reference, id, or prefix of an id.

        Raises ImageNotFound, and InvalidArgument for a name that cannot be one or a prefix that several ids have.
        """
        image = self.find(name)
        if image is None:
            raise ImageNotFound(f"no such image: {self.shown(name)}")
        return image

    def find(self, name: str) -> Image | None:
        """Like :meth:`get`, but None when there is no such image."""
        row, _ = self.resolve(name)
        return None if row is None else Image(self, row)

    def resolve(self, name: str) -> tuple[ImageRow | None, Reference | None]:
        """The image's row, and the reference with a tag that named it, or None when an id did."""
        table = self._store.images
        digits = references.id_digits(name)
        if digits is not None and len(digits) == 64:
            row = table.by_id("sha256:" + digits)
            return (row if row is not None and not row.hidden else None), None
        if name.startswith("sha256:"):
            if digits is None:
                raise InvalidArgument(f"invalid reference format: {name[:200]!r}: not an image id")
            return table.by_prefix(digits), None
        reference = references.parse(name).with_default_tag()
        canonical = reference.canonical
        if canonical == HELLO:
            self.ensure_hello()
        row = table.by_tag(canonical)
        if row is not None:
            return row, reference
        if digits is None:
            return None, reference
        row = table.by_prefix(digits)
        return row, None if row is not None else reference

    def list(self, name: str | None = None, *, all: bool = False) -> builtins.list[Image]:
        """All images, newest first; with ``name``, those with a tag of that repository, or that reference.

        ``all`` adds nothing yet: intermediate images come with the builder.
        """
        del all
        # On a full or read-only disk a listing shows what is there.
        with contextlib.suppress(NoSpace, Denied):
            self.ensure_hello()
        table = self._store.images
        with self._store.database.snapshot():
            rows = table.all()
            tags: dict[str, builtins.list[str]] = {}
            for canonical, image_id, _ in table.tags():
                tags.setdefault(image_id, []).append(canonical)
        if name is not None:
            wanted = references.parse(name)
            for image_id, names in tags.items():
                tags[image_id] = [one for one in names if _matches(one, wanted)]
            rows = [row for row in rows if tags.get(row.id)]
        return [Image(self, row, sorted(map(_familiar, tags.get(row.id, ())))) for row in rows]

    def summaries(self, name: str | None = None) -> builtins.list[ImageSummary]:
        """What ``GET /images/json`` returns, newest first."""
        from minidock.spec.docker_images import ImageSummary

        return [
            ImageSummary(
                id=image.id,
                parent_id="",
                repo_tags=image.tags,
                repo_digests=[],
                created=image.row.created,
                size=image.size,
                labels=image.labels or None,
            )
            for image in self.list(name)
        ]

    def import_(
        self,
        source: str | os.PathLike[str] | int | bytes | BinaryIO,
        repository: str | None = None,
        tag: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str | None = None,
        platform: str | None = None,
    ) -> Image:
        """Make an image of one layer from a root filesystem's tar, plain or compressed by gzip, zstd, xz or bzip2.

        ``source`` is a path, ``-`` or 0 for standard input, a descriptor (which stays the caller's), the tar itself,
        or a binary file object. ``repository`` may have a tag; without it the image has no name. ``changes`` are
        Dockerfile instructions (CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME,
        WORKDIR). An image that had the name loses it. Nothing is left of an import that fails.

        Raises InvalidArgument, NotFound for a path, Corrupt for a damaged or hostile tar, LimitExceeded for a bomb,
        NoSpace.
        """
        from minidock.images.importing import import_image

        if isinstance(changes, str):
            changes = [changes]
        row = import_image(
            self._store, source, self._target(repository, tag), changes=changes, message=message, platform=platform
        )
        return Image(self, row)

    def tag(self, name: str, repository: str, tag: str | None = None) -> None:
        """Give an image another name. Raises ImageNotFound, and InvalidArgument for a name that is none."""
        target = self._target(repository, tag)
        if target is None:
            raise InvalidArgument("tag: the new name is empty")
        self._store.images.set_tag(target.canonical, self.get(name).id)

    def remove(self, name: str, *, force: bool = False) -> builtins.list[ImageDelete]:
        """Remove a name, and the image with its last name; by id, the image with all its names.

        Returns what was untagged and deleted, in Docker's form. Raises ImageNotFound, and ImageInUse when a container
        uses the image; ``force`` removes it nevertheless from under containers that do not run.
        """
        from minidock.images.removal import remove_image

        return remove_image(self, self._store, name, force=force, is_running=self._is_running)

    def prune(self, *, all: bool = False) -> ImagesPruned:
        """Remove images that no container uses: those without a name, or with ``all`` every one."""
        from minidock.images.removal import prune_images

        return prune_images(self._store, everything=all)

    def inspect(self, image: Image) -> ImageInspect:
        """What ``docker image inspect`` prints."""
        from minidock.images.inspection import inspect

        return inspect(self._store, image)

    def history(self, image: Image) -> builtins.list[ImageHistory]:
        """How an image's layers came about, newest first."""
        from minidock.images.inspection import history

        return history(self._store, image)

    def familiar_tags(self, image_id: str) -> builtins.list[str]:
        """Names of an image as Docker shows them."""
        return sorted(_familiar(name) for name, _, _ in self._store.images.tags(image_id))

    def decode_config(self, row: ImageRow) -> ImageConfig:
        """An image's configuration. Raises Corrupt when it is none."""
        import msgspec

        from minidock.spec.oci_image import ImageConfig

        try:
            return decoding.decode(row.config, ImageConfig)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Corrupt(f"read the configuration of image {row.id}: {error}") from error

    def ensure_hello(self) -> None:
        """Make the built-in image if it is not there, or is of another version of minidock."""
        from minidock.images.hello import ensure

        ensure(self._store)

    def _target(self, repository: str | None, tag: str | None) -> Reference | None:
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

    def _is_running(self, container_id: str) -> bool:
        try:
            status = self._engine.containers.get(container_id).status
        except ContainerNotFound:
            return False  # removed meanwhile
        return status in ("running", "paused", "restarting")


def _familiar(canonical: str) -> str:
    return references.from_canonical(canonical).familiar


def _matches(canonical: str, wanted: Reference) -> bool:
    have = references.from_canonical(canonical)
    return have.name == wanted.name and wanted.tag in (None, have.tag)
