"""What is in a container: its files, and the commands that are run in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO, Unpack

    from minidock.containers.archive import PathStat
    from minidock.containers.changes import Change
    from minidock.containers.copying import Copied
    from minidock.containers.exec_options import ExecOptions
    from minidock.containers.execs import Exec
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.containers.result import ExecResult
    from minidock.images.image import Image
    from minidock.images.outputs import Out


class Contents:
    """The part of a :class:`~minidock.containers.container.Container` that is about what is in it."""

    _lifecycle: Lifecycle
    record: Record
    warnings: list[str]

    @overload
    def export(self, out: None = None, *, chunk_size: int = 2 << 20) -> Iterator[bytes]: ...
    @overload
    def export(self, out: Out, *, chunk_size: int = 2 << 20) -> None: ...
    def export(self, out: Out | None = None, *, chunk_size: int = 2 << 20) -> Iterator[bytes] | None:
        """Write its root filesystem as a plain tar; what is mounted in it (volumes, /proc) is no part of that.

        ``out`` is a path (replaced when all went well), a descriptor, or a binary file; without it the tar is returned
        as an iterator of chunks. The container may run; when a file changes while it is read, that is an error.

        Raises Conflict for that, Unsupported for a directory of the host with other file systems in it, NoSpace.
        """
        from minidock.containers import exporting
        from minidock.images import outputs

        def write(fd: int) -> None:
            exporting.write(self._lifecycle, self.record.id, fd)

        if out is None:
            return outputs.piped(write, chunk_size)
        outputs.write_to(out, write, "export")
        return None

    def commit(
        self,
        repository: str | None = None,
        tag: str | None = None,
        *,
        message: str = "",
        author: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of it: one more layer over its image with what it has written, and its configuration.

        One that runs is frozen meanwhile, unless ``pause`` is false. ``changes`` are Dockerfile instructions, as for
        ``images.import_``. The same files give the same layer; no time in it is later than the environment's
        ``SOURCE_DATE_EPOCH``.

        Raises Unsupported for one that has no image or no writable layer of its own, Conflict when a file changes
        while it is read; InvalidArgument, NoSpace.
        """
        from minidock.images.committing import commit

        collection = self._lifecycle.engine.images
        target = collection.target(repository, tag)
        changes = [changes] if isinstance(changes, str) else changes
        row = commit(
            self._lifecycle, self.record.id, target, message=message, author=author, changes=changes, pause=pause
        )
        return collection.get(row.id)

    def diff(self) -> list[Change]:
        """Return the paths that it has added, changed or deleted, in order; what is mounted in it is not looked at.

        As Docker does, it compares type, mode, owner, size and time, not contents.
        """
        from minidock.containers.changes import changes

        return changes(self._lifecycle, self.record.id)

    def stat_path(self, path: str) -> PathStat:
        """Return what is at a path of it; a link in the last place is not followed. Raises NotFound."""
        from minidock.containers.archive import opened

        with opened(self._lifecycle, self.record.id, writable=False) as files:
            return files.stat(path)

    def get_archive(self, path: str, *, chunk_size: int = 2 << 20) -> tuple[Iterator[bytes], PathStat]:
        """Return a tar of a file or directory of it, in chunks, and what that is. Raises NotFound.

        A path that ends with ``/.`` gives what is in the directory.
        """
        from minidock.containers import archive

        return archive.get(self._lifecycle, self.record.id, path, chunk_size)

    def put_archive(
        self,
        path: str,
        data: bytes | BinaryIO | int,
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        """Unpack a tar, plain or compressed by gzip, zstd, xz or bzip2, into a directory of it.

        ``no_overwrite_dir_non_dir``: a directory must not take the place of something else, nor the reverse.
        ``copy_uid_gid``: files get the user and group that it runs as. Raises NotFound, InvalidArgument, Conflict.
        """
        from minidock.containers import archive

        archive.put(
            self._lifecycle,
            self.record.id,
            path,
            data,
            no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
            copy_uid_gid=copy_uid_gid,
        )

    def copy_from(
        self,
        path: str,
        destination: str | os.PathLike[str] | int | BinaryIO,
        *,
        follow_link: bool = False,
        archive: bool = False,
    ) -> Copied:
        """Copy a file or directory of it to the host, by the rules of ``docker cp`` (docs/copying.md).

        A descriptor or binary file gets a tar. Otherwise the caller owns the copies, which have no set-user-id bits;
        with ``archive`` they keep owners and bits. Raises NotFound, Conflict, InvalidArgument.
        """
        from minidock.containers import copying

        return copying.copy_from(
            self._lifecycle, self.record.id, path, destination, follow_link=follow_link, archive=archive
        )

    def copy_to(
        self,
        source: str | os.PathLike[str] | bytes | int | BinaryIO,
        path: str,
        *,
        follow_link: bool = False,
        archive: bool = False,
    ) -> Copied:
        """Copy a file or directory of the host into it, by the rules of ``docker cp`` (docs/copying.md).

        Bytes, a descriptor or a binary file are a tar. Copies keep their owner's number; with ``archive`` they belong
        to the user and group that it runs as, if that is set. Raises NotFound, Conflict, InvalidArgument.
        """
        from minidock.containers import copying

        return copying.copy_to(self._lifecycle, self.record.id, source, path, follow_link=follow_link, archive=archive)

    @overload
    def exec(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | None = None,
        check: bool = False,
        output_limit: int | None = None,
        detach: Literal[False] = False,
        **options: Unpack[ExecOptions],
    ) -> ExecResult: ...
    @overload
    def exec(self, command: str | Sequence[str], *, detach: Literal[True], **options: Unpack[ExecOptions]) -> Exec: ...
    def exec(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | None = None,
        check: bool = False,
        output_limit: int | None = None,
        detach: bool = False,
        **options: Unpack[ExecOptions],
    ) -> ExecResult | Exec:
        """Run one more command in it, while it runs, and return what came of it.

        ``command`` as text is split into words as a shell does; ``input`` is what it reads, ``/dev/null`` unless given.
        All of it, background processes included, is killed when its ``timeout`` has passed, when it writes more than
        ``output_limit`` bytes (64 MiB) to stdout or stderr, or when this process dies. ``check`` raises ContainerFailed
        unless it ends with 0. With ``detach`` it is started in the background, its output thrown away, and an
        :class:`Exec` is returned, which outlives this process.

        Raises Conflict when the container does not run or is paused, CommandNotFound, CommandNotExecutable, NotFound
        for a user or working directory that does not exist, InvalidArgument, LimitExceeded, and Timeout when it could
        not even be started in time.
        """
        from minidock.containers import exec_options, execs

        wanted = exec_options.config(command, **options)
        if detach:
            return execs.detached(self._lifecycle, self.record.id, wanted)
        return execs.run(self._lifecycle, self.record.id, wanted, input=input, check=check, output_limit=output_limit)
