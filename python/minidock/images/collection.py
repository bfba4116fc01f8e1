"""``engine.images``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from minidock.errors import ContainerNotFound, ImageNotFound, InvalidArgument
from minidock.images.exchange import ImageExchange
from minidock.images.image import Image

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Unpack

    from minidock.build.building import BuildOptions, BuildStream, Context
    from minidock.build.events import Event
    from minidock.images.mounting import Mounted
    from minidock.images.progress import ProgressEvent
    from minidock.images.references import Reference
    from minidock.spec.docker_images import ImageDelete, ImageHistory, ImageInspect, ImagesPruned, ImageSummary
    from minidock.store.images import ImageRow


class ImageCollection(ImageExchange):
    """The images of an engine's data root."""

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
        target = self.target(repository, tag)
        row = import_image(self._store, source, target, changes=changes, message=message, platform=platform)
        return self._imported(row, target)

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

        target = self.target(repository, tag)
        row = from_packages(
            self._engine,
            release,
            target,
            include=include,
            variant=variant,
            platform=platform,
            mirrors=[mirrors] if isinstance(mirrors, str) else mirrors,
            keyrings=[keyrings] if isinstance(keyrings, (str, os.PathLike)) else keyrings,
            components=components,
            progress=progress,
        )
        return self._imported(row, target)

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

        target = self.target(repository, tag)
        row = from_rootfs(
            self._engine,
            directory,
            target,
            exclude=[exclude] if isinstance(exclude, str) else exclude,
            changes=[changes] if isinstance(changes, str) else changes,
            message=message,
            platform=platform,
        )
        return self._imported(row, target)

    def build(
        self,
        context: Context | None = None,
        *,
        progress: Callable[[Event], None] | None = None,
        **options: Unpack[BuildOptions],
    ) -> Image:
        """Build an image from a Dockerfile, or from a :class:`minidock.build.Image`, and return it.

        ``context`` is a directory, ``-`` or 0 for standard input, a tar (bytes, file object, descriptor), the URL of a
        tar or a git repository, or such an image, which has contexts of its own. ``progress`` gets each event, one at
        a time, from whichever thread it happens in. See :class:`~minidock.build.building.BuildOptions` for the options.

        Raises DockerfileError for a Dockerfile that makes no sense, BuildFailed (which has the line, and a command's
        last output and exit code) for a step that fails, NotFound, InvalidArgument, Unsupported. Steps that were done
        stay in the build cache.
        """
        from minidock.build.building import build

        return self.made(build(self._engine, context, progress or (lambda _event: None), **options))

    def build_files(
        self,
        context: Context,
        destination: str | os.PathLike[str] | int,
        *,
        progress: Callable[[Event], None] | None = None,
        **options: Unpack[BuildOptions],
    ) -> None:
        """Build, and copy the files of the last stage (or ``target``) into a directory of this host; no image is made.

        The directory is made if need be, and keeps what else it has. For a descriptor, they are written as a tar to it.
        Raises as :meth:`build`.
        """
        from minidock.build.building import build_files

        build_files(self._engine, context, destination, progress or (lambda _event: None), **options)

    def build_stream(self, context: Context | None = None, **options: Unpack[BuildOptions]) -> BuildStream:
        """Begin a build in another thread; the result is an iterator over its events, and has its ``image``."""
        from minidock.build.building import BuildStream

        return BuildStream(self._engine, context, options)

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

    def tag(self, name: str, repository: str, tag: str | None = None) -> None:
        """Give an image another name. Raises ImageNotFound, and InvalidArgument for a name that is none."""
        target = self.target(repository, tag)
        if target is None:
            raise InvalidArgument("tag: the new name is empty")
        row, reference = self.resolve(name)
        if row is None:
            raise ImageNotFound(f"no such image: {self.shown(name)}")
        names = self._store.names
        with self._store.database.transaction():
            source = names.get(reference.canonical) if reference is not None and reference.digest is None else None
            if source is None or source.target is None:
                names.set_tag(target.canonical, row.id)
            else:
                # All the platforms, and what the name stands for in registries.
                for image_id in reversed(names.images(source.name)):
                    names.set_tag(target.canonical, image_id, source.target, join=True)
        from minidock.images.announcing import announce

        announce(self._store, "tag", row, target.familiar)

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

    def _imported(self, row: ImageRow, target: Reference | None) -> Image:
        from minidock.images.announcing import announce_import

        announce_import(self._store, row, target)
        return self.made(row)

    def _is_running(self, container_id: str) -> bool:
        try:
            status = self._engine.containers.get(container_id).status
        except ContainerNotFound:
            return False  # removed meanwhile
        return status in ("running", "paused", "restarting")
