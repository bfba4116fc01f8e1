"""``engine.images``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO, overload

from minidock.errors import ContainerNotFound, Denied, ImageNotFound, InvalidArgument, NoSpace
from minidock.images import platforms, references
from minidock.images.image import Image

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from minidock.engine import Engine
    from minidock.images.archives import Source
    from minidock.images.loading import Loaded
    from minidock.images.mounting import Mounted
    from minidock.images.outputs import Out
    from minidock.images.progress import ProgressEvent
    from minidock.images.references import Reference
    from minidock.registry.cancel import Cancel
    from minidock.registry.search import SearchResult
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
        return None if row is None else Image(self, row)

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
        return [Image(self, row, sorted(tags.get(row.id, ())), sorted(digests.get(row.id, ()))) for row in rows]

    def summaries(self, name: str | None = None) -> builtins.list[ImageSummary]:
        """What ``GET /images/json`` returns, newest first."""
        from minidock.spec.docker_images import ImageSummary

        return [
            ImageSummary(
                id=image.id,
                parent_id="",
                repo_tags=image.tags,
                repo_digests=image.repo_digests,
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
            self._store, source, self.target(repository, tag), changes=changes, message=message, platform=platform
        )
        return Image(self, row)

    def from_packages(
        self,
        release: str,
        repository: str | None = None,
        tag: str | None = None,
        *,
        include: str | Sequence[str] = (),
        variant: str = "minbase",
        platform: str | None = None,
        mirrors: Sequence[str] = (),
        keyrings: Sequence[str | os.PathLike[str]] = (),
        components: str | Sequence[str] = (),
        progress: Callable[[ProgressEvent], None] | None = None,
    ) -> Image:
        """Make a base image from a distribution's package archive, with the host's apt and gpgv.

        ``release`` is ``debian:SUITE`` or ``ubuntu:SUITE``. The archive is the one that the host's apt sources name for
        it, ``mirrors`` (URLs, or whole ``deb`` lines), or the distribution's public one; ``keyrings`` replace the
        host's. ``variant`` is minbase, apt, buildd, important or standard; ``include`` names further packages. The same
        packages give the same image.

        Raises InvalidArgument, NotFound for an unknown release or package, Denied for a signature that is missing or
        wrong, Corrupt for content that is not what was signed, Unsupported without apt and gpgv.
        """
        from minidock.images.packages import from_packages

        row = from_packages(
            self._engine,
            release,
            self.target(repository, tag),
            include=include,
            variant=variant,
            platform=platform,
            mirrors=[mirrors] if isinstance(mirrors, str) else mirrors,
            keyrings=[keyrings] if isinstance(keyrings, (str, os.PathLike)) else keyrings,
            components=components,
            progress=progress,
        )
        return Image(self, row)

    def from_rootfs(
        self,
        directory: str | os.PathLike[str],
        repository: str | None = None,
        tag: str | None = None,
        *,
        exclude: str | Iterable[str] = (),
        changes: Sequence[str] = (),
        message: str | None = None,
        platform: str | None = None,
    ) -> Image:
        """Make an image of one layer from a directory of the host, such as ``/``, as it is now.

        What is mounted below is left out (its directory stays, empty), as are sockets, minidock's own roots and what
        ``exclude`` matches: names anywhere, or paths from the top, with ``*``, ``?``, ``[…]`` and ``**``. A file that
        is deleted meanwhile is left out; of one that grows, the image has what was there when it was opened.
        ``changes`` and ``message`` are as in :meth:`import_`.

        Raises InvalidArgument, NotFound, Conflict for a file that changes whenever it is read, NoSpace.
        """
        from minidock.images.rootfs import from_rootfs

        row = from_rootfs(
            self._engine,
            directory,
            self.target(repository, tag),
            exclude=[exclude] if isinstance(exclude, str) else exclude,
            changes=[changes] if isinstance(changes, str) else changes,
            message=message,
            platform=platform,
        )
        return Image(self, row)

    def pull(
        self,
        name: str,
        tag: str | None = None,
        *,
        platform: str | None = None,
        auth_config: Mapping[str, str] | None = None,
        progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
    ) -> Image:
        """Pull an image by tag (``latest`` unless given) or digest, for ``platform`` or the host's.

        ``auth_config`` has ``username`` and ``password``, or ``identitytoken``; without it the credentials of ``login``
        are used. ``progress`` is called with each step, from any thread, one at a time. ``timeout`` is in seconds;
        ``cancel`` ends this one call from another thread. What an interrupted pull has fetched is used by the next.

        Raises ImageNotFound, RegistryUnauthorized, RegistryUnreachable, RateLimited, RegistryError, Corrupt,
        Unsupported, NoSpace, Cancelled, Timeout, InvalidArgument.
        """
        from minidock.images import transfers

        row = transfers.pull(
            self._engine,
            _with_tag(references.parse(name), tag),
            platform=platform,
            auth_config=auth_config,
            progress=progress,
            cancel=_cancel(cancel, timeout),
        )
        return Image(self, row)

    def pull_all(
        self,
        repository: str,
        *,
        platform: str | None = None,
        auth_config: Mapping[str, str] | None = None,
        progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
    ) -> builtins.list[Image]:
        """Pull every tag of a repository; otherwise as :meth:`pull`."""
        from minidock.images import transfers

        rows = transfers.pull_all(
            self._engine,
            references.parse(repository),
            platform=platform,
            auth_config=auth_config,
            progress=progress,
            cancel=_cancel(cancel, timeout),
        )
        return [Image(self, row) for row in rows]

    def pull_stream(
        self,
        name: str,
        tag: str | None = None,
        *,
        platform: str | None = None,
        auth_config: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Generator[ProgressEvent, None, Image]:
        """Pull like :meth:`pull` and yield each step. The image is the generator's value; closing it cancels."""
        from minidock.images.progress import stream

        cancel = _cancel(None, timeout)

        def work(progress: Callable[[ProgressEvent], None]) -> Image:
            return self.pull(name, tag, platform=platform, auth_config=auth_config, progress=progress, cancel=cancel)

        return stream(work, cancel)

    def push(
        self,
        name: str,
        tag: str | None = None,
        *,
        all_tags: bool = False,
        platform: str | None = None,
        auth_config: Mapping[str, str] | None = None,
        progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
    ) -> dict[str, str]:
        """Push a tag (``latest`` unless given), or ``all_tags`` of a repository, to the registry in its name.

        Returns the digest that the registry has under each tag. A tag of several platforms goes as a whole if all of
        them are here, else the image for ``platform`` or the host's. Other arguments and errors as in :meth:`pull`.
        """
        from minidock.images import transfers

        return transfers.push(
            self._engine,
            _with_tag(references.parse(name), tag),
            all_tags=all_tags,
            platform=platform,
            auth_config=auth_config,
            progress=progress,
            cancel=_cancel(cancel, timeout),
        )

    def push_stream(
        self,
        name: str,
        tag: str | None = None,
        *,
        platform: str | None = None,
        auth_config: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Generator[ProgressEvent, None, dict[str, str]]:
        """Push like :meth:`push` and yield each step. The digests are the generator's value; closing it cancels."""
        from minidock.images.progress import stream

        cancel = _cancel(None, timeout)

        def work(progress: Callable[[ProgressEvent], None]) -> dict[str, str]:
            return self.push(name, tag, platform=platform, auth_config=auth_config, progress=progress, cancel=cancel)

        return stream(work, cancel)

    @overload
    def save(
        self, names: str | Sequence[str], out: None = None, *, platform: str | None = None, chunk_size: int = 1 << 20
    ) -> Iterator[bytes]: ...
    @overload
    def save(
        self, names: str | Sequence[str], out: Out, *, platform: str | None = None, chunk_size: int = 1 << 20
    ) -> None: ...
    def save(
        self,
        names: str | Sequence[str],
        out: Out | None = None,
        *,
        platform: str | None = None,
        chunk_size: int = 1 << 20,
    ) -> Iterator[bytes] | None:
        """Write images as one tar, an OCI layout that ``docker load`` reads too; the same images give the same bytes.

        A name without a tag means all tags of the repository. ``out`` is a path (replaced when all went well), a
        descriptor, or a binary file; without it the tar is returned as an iterator of chunks. Raises ImageNotFound,
        NoSpace, Corrupt for a damaged store.
        """
        from minidock.images import saving

        names = [names] if isinstance(names, str) else names
        if out is None:
            return saving.stream(self, self._store, names, platform=platform, chunk_size=chunk_size)
        saving.save(self, self._store, names, out, platform=platform)
        return None

    def load(
        self,
        source: Source,
        *,
        platform: str | None = None,
        on_loaded: Callable[[Loaded], None] | None = None,
        progress: Callable[[ProgressEvent], None] | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
    ) -> builtins.list[Image]:
        """Load the images of an archive: of ``docker save``, or an OCI layout, as a tar or a directory.

        ``source`` as for :meth:`import_`. ``on_loaded`` is called after each image. Everything is checked against its
        digest; nothing is left of an image that is not what it should be, and the error comes after the others are in.
        ``progress``, ``timeout`` and ``cancel`` as for :meth:`pull`.

        Raises InvalidArgument, NotFound for a path, Corrupt, Unsupported, LimitExceeded, NoSpace, Cancelled, Timeout,
        and ImageNotFound when there is none for ``platform``.
        """
        from minidock.images import content, loading
        from minidock.images.progress import Reporter

        found = loading.load(
            self._store,
            source,
            keep_blobs=content.keeps_blobs(self._engine.config),
            platform=None if platform is None else platforms.parse(platform),
            on_loaded=on_loaded,
            reporter=Reporter(progress),
            cancel=_cancel(cancel, timeout),
        )
        return [Image(self, row) for row in {one.row.id: one.row for one in found}.values()]

    def mount(self, name: str, path: str | os.PathLike[str] | None = None) -> str:
        """Show an image's tree, read-only, on a directory of the host, until :meth:`unmount`; returns the directory.

        Without ``path`` it gets one below the run root. Mounting it there again is counted. Raises ImageNotFound,
        NotFound or InvalidArgument for a path that is no directory, Conflict when another image is there.
        """
        from minidock.images import mounting

        return mounting.mount(self._store, self.get(name).row, None if path is None else os.fspath(path))

    def unmount(
        self, name: str | None = None, *, path: str | os.PathLike[str] | None = None, force: bool = False
    ) -> builtins.list[str]:
        """Take away the mounts of an image, or the one on a directory; without both, all. Returns the directories.

        One that was mounted several times goes with the last, or with ``force``. Raises NotFound when there is none,
        Conflict while a process uses it.
        """
        from minidock.images import mounting

        image_id = None if name is None else self.get(name).id
        place = None if path is None else os.fspath(path)
        return mounting.unmount(self._store, path=place, image_id=image_id, force=force)

    def mounted(self) -> builtins.list[Mounted]:
        """The images that are mounted, and where."""
        from minidock.images import mounting

        return mounting.mounted(self._store)

    def search(
        self,
        term: str,
        *,
        filters: Mapping[str, Sequence[str]] | None = None,
        limit: int = 25,
        timeout: float | None = None,
        cancel: Cancel | None = None,
    ) -> builtins.list[SearchResult]:
        """Repositories whose name or description has the words, on Docker Hub or with ``HOST/WORDS`` on a registry.

        ``filters`` are Docker's: ``stars`` (at least so many), ``is-official``, ``is-automated``. Raises
        InvalidArgument, Unsupported for a registry that cannot be searched, and the errors of registries.
        """
        return self._engine.registry.search(term, filters=filters, limit=limit, cancel=_cancel(cancel, timeout))

    def tag(self, name: str, repository: str, tag: str | None = None) -> None:
        """Give an image another name. Raises ImageNotFound, and InvalidArgument for a name that is none."""
        target = self.target(repository, tag)
        if target is None:
            raise InvalidArgument("tag: the new name is empty")
        row, reference = self.resolve(name)
        if row is None:
            raise ImageNotFound(f"no such image: {self.shown(name)}")
        names = self._store.names
        source = names.get(reference.canonical) if reference is not None and reference.digest is None else None
        with self._store.database.transaction():
            if source is None or source.target is None:
                names.set_tag(target.canonical, row.id)
                return
            # All the platforms, and what the name stands for in registries.
            for image_id in reversed(names.images(source.name)):
                names.set_tag(target.canonical, image_id, source.target, join=True)

    def remove(self, name: str, *, force: bool = False, platforms: Sequence[str] = ()) -> builtins.list[ImageDelete]:
        """Remove a name, and the image with its last name; by id, the image with all its names.

        ``platforms`` restricts it to those images of the name.

        Returns what was untagged and deleted, in Docker's form. Raises ImageNotFound, and ImageInUse when a container
        uses the image; ``force`` removes it nevertheless from under containers that do not run.
        """
        from minidock.images.removal import remove_image

        return remove_image(self, self._store, name, force=force, platforms=platforms, is_running=self._is_running)

    def prune(self, *, all: bool = False, filters: Mapping[str, Sequence[str]] | None = None) -> ImagesPruned:
        """Remove images that no container uses: those without a tag, or with ``all`` every one.

        ``filters`` are Docker's: ``until`` (made before a time, or so long ago), ``label`` and ``label!``
        (``KEY[=VALUE]``), ``dangling`` (``false`` is ``all``). What interrupted pulls left goes too.
        """
        from minidock.images.filters import prune_filter
        from minidock.images.removal import prune_images

        chosen, everything = prune_filter(self, filters or {}, all)
        return prune_images(self._store, everything=everything, chosen=chosen)

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

    def _is_running(self, container_id: str) -> bool:
        try:
            status = self._engine.containers.get(container_id).status
        except ContainerNotFound:
            return False  # removed meanwhile
        return status in ("running", "paused", "restarting")


def _with_tag(reference: Reference, tag: str | None) -> Reference:
    """The reference with a tag, or digest, that is given apart from it."""
    if tag is None:
        return reference
    if reference.tag is not None or reference.digest is not None:
        raise InvalidArgument(f"{reference.familiar}: has a tag or digest already; leave out {tag[:80]!r}")
    if references.is_digest(tag):
        return reference._replace(digest=tag)
    if not references.is_tag(tag):
        raise InvalidArgument(f"invalid tag {tag[:200]!r}")
    return reference._replace(tag=tag)


def _cancel(cancel: Cancel | None, timeout: float | None) -> Cancel:
    from minidock.registry.cancel import Cancel

    if cancel is None:
        return Cancel(timeout)
    if timeout is not None:
        raise InvalidArgument("give either a timeout, or a Cancel that has one")
    return cancel


def _visible(rows: Iterable[ImageRow | None]) -> list[ImageRow]:
    return [row for row in rows if row is not None and not row.hidden]
