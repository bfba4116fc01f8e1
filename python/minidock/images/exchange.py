"""Images come and go: registries and archives."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from minidock.errors import InvalidArgument
from minidock.images import platforms, references
from minidock.images.lookup import ImageLookup

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from minidock.images.archives import Source
    from minidock.images.image import Image
    from minidock.images.loading import Loaded
    from minidock.images.outputs import Out
    from minidock.images.progress import ProgressEvent
    from minidock.images.references import Reference
    from minidock.registry.cancel import Cancel
    from minidock.registry.search import SearchResult


class ImageExchange(ImageLookup):
    """Exchanges images with the world; part of :class:`~minidock.images.collection.ImageCollection`."""

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
        from minidock.images.announcing import announce_transfer

        reference = _with_tag(references.parse(name), tag)
        row = transfers.pull(
            self._engine,
            reference,
            platform=platform,
            auth_config=auth_config,
            progress=progress,
            cancel=_cancel(cancel, timeout),
        )
        announce_transfer(self._store, "pull", reference.with_default_tag(), row)
        return self.made(row)

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
        from minidock.images.announcing import announce_transfer

        reference = references.parse(repository)
        rows = transfers.pull_all(
            self._engine,
            reference,
            platform=platform,
            auth_config=auth_config,
            progress=progress,
            cancel=_cancel(cancel, timeout),
        )
        announce_transfer(self._store, "pull", reference)
        return [self.made(row) for row in rows]

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
        from minidock.images.announcing import announce_transfer

        reference = _with_tag(references.parse(name), tag)
        digests = transfers.push(
            self._engine,
            reference,
            all_tags=all_tags,
            platform=platform,
            auth_config=auth_config,
            progress=progress,
            cancel=_cancel(cancel, timeout),
        )
        if all_tags:
            announce_transfer(self._store, "push", reference)
        else:
            tagged = reference.with_default_tag()
            announce_transfer(self._store, "push", tagged, self.resolve(tagged.canonical, platform)[0])
        return digests

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
        return [self.made(row) for row in {one.row.id: one.row for one in found}.values()]

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
