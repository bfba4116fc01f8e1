"""Archives of images, opened for reading in any order: a tar in any compression, from anywhere, or a directory."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import zlib
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from minidock.errors import Cancelled, Corrupt, InvalidArgument, LimitExceeded
from minidock.images import sources, tars
from minidock.store.failures import from_os, translated

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from minidock.store.workspace import Workspace

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_RATIO = 1000
"""Most that may come out of one byte of a compressed archive: a tar of zeros reaches it, and no more makes sense."""
_RATIO_FROM = 1 << 30
_MAX_LINKS = 16

Source = str | os.PathLike[str] | int | bytes | BinaryIO


class Part(NamedTuple):
    """A member's bytes: ``size`` from ``offset`` on in the regular file ``fd``, which :meth:`close` may close."""

    fd: int
    offset: int
    size: int
    owned: bool = False

    def close(self) -> None:
        """Give it back."""
        if self.owned:
            os.close(self.fd)


class Archive(ABC):
    """Members by normal path, as :func:`tars.normal` makes it. Threads may share it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def find(self, path: str) -> Part | None:
        """A member, links followed inside the archive; None when there is none."""

    def has(self, path: str) -> bool:
        """Whether there is a member."""
        part = self.find(path)
        if part is not None:
            part.close()
        return part is not None

    def get(self, path: str) -> Part:
        """A member. Raises Corrupt when there is none."""
        part = self.find(path)
        if part is None:
            raise Corrupt(f"read {self.name}: {path[:200]!r} is missing")
        return part

    def read(self, path: str, limit: int) -> bytes:
        """All bytes of a small member. Raises Corrupt when it is missing, LimitExceeded when it is larger."""
        part = self.get(path)
        try:
            if part.size > limit:
                raise LimitExceeded(f"read {self.name}: {path[:200]!r} has {part.size} bytes, more than {limit}")
            with translated("read", self.name):
                data = os.pread(part.fd, part.size, part.offset)
        finally:
            part.close()
        if len(data) != part.size:
            raise Corrupt(f"read {self.name}: {path[:200]!r} ends too early")
        return data


class TarArchive(Archive):
    """A tar in a regular file."""

    def __init__(self, name: str, fd: int, start: int) -> None:
        super().__init__(name)
        self._fd = fd
        with translated("read", name):
            self._members = tars.scan(fd, start, name)

    def find(self, path: str) -> Part | None:
        """See :class:`Archive`."""
        member = tars.resolve(self._members, path)
        return None if member is None else Part(self._fd, member.offset, member.size)


class DirectoryArchive(Archive):
    """A directory. Only the last component of a path may be a link, and it must stay inside."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        with translated("open", path):
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self._fd)

    def find(self, path: str) -> Part | None:
        """See :class:`Archive`."""
        for _ in range(_MAX_LINKS):
            try:
                found = self._open(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise from_os(error, "open", f"{self.name}/{path}") from error
            if isinstance(found, Part):
                return found
            path = found
        raise Corrupt(f"read {self.name}: {path[:200]!r}: more than {_MAX_LINKS} links")

    def _open(self, path: str) -> Part | str:
        """Open a file, or say where a link leads."""
        parts = path.split("/")
        directory = self._fd
        try:
            for part in parts[:-1]:
                below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                if directory != self._fd:
                    os.close(directory)
                directory = below
            try:
                fd = os.open(
                    parts[-1],
                    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC,
                    dir_fd=directory,
                )
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                return tars.target_of(path, os.readlink(parts[-1], dir_fd=directory))
        finally:
            if directory != self._fd:
                os.close(directory)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise Corrupt(f"read {self.name}: {path[:200]!r} is not a regular file")
        return Part(fd, 0, status.st_size, owned=True)


@contextmanager
def opened(source: Source, work: Workspace) -> Iterator[Archive]:
    """Open an archive; what cannot be read in any order is written into ``work`` first, which takes its size.

    Raises InvalidArgument, NotFound or Denied for what is no archive, Corrupt for a damaged one, LimitExceeded for a
    bomb, NoSpace.
    """
    if isinstance(source, str | os.PathLike) and source != "-" and os.path.isdir(source):
        directory = DirectoryArchive(os.fspath(source))
        try:
            yield directory
        finally:
            directory.close()
        return
    with sources.opened(source, "load") as stream, contextlib.ExitStack() as stack:
        fd = stream.fd
        with translated("read", stream.name):
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            start = os.lseek(fd, 0, os.SEEK_CUR) if regular else 0
        if not regular:
            try:
                fd = stack.enter_context(_file(work.join("archive")))
                _spool(stream.fd, fd)
            except OSError as error:
                raise from_os(error, "write", work.path) from error
            finally:
                stream.check()
        with translated("read", stream.name):
            head = os.pread(fd, 4, start)
        if not head:
            raise InvalidArgument(f"load {stream.name}: empty; give an archive that save wrote")
        if head.startswith((_GZIP, _ZSTD)):
            whole = stack.enter_context(_file(work.join("archive.tar")))
            if head.startswith(_GZIP):
                _inflate(stream.name, fd, start, whole)
            else:
                _unzstd(stream.name, fd, start, whole, work)
            fd, start = whole, 0
        yield TarArchive(stream.name, fd, start)


@contextmanager
def _file(path: str) -> Iterator[int]:
    """A new file to write and to read, which is gone at the end."""
    with translated("make", path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.unlink(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _spool(source: int, out: int) -> None:
    """Write a pipe or socket to a file."""
    try:
        while os.splice(source, out, _CHUNK):
            pass
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        while chunk := os.read(source, _CHUNK):
            write_all(out, chunk)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def copy_range(source: int, offset: int, size: int, out: int, cancel: threading.Event | None = None) -> None:
    """Copy ``size`` bytes of a regular file to ``out``, a file, pipe or socket, in the kernel where it can.

    Raises Corrupt when the file is shorter, Cancelled soon after ``cancel`` is set.
    """
    end = offset + size
    # Across file systems and to a pipe only the second way works, to a file that is appended to only the third.
    for step in (_copy_file_range, _sendfile, _read_write):
        try:
            while offset < end:
                if cancel is not None and cancel.is_set():
                    raise Cancelled("cancelled")
                done = step(source, offset, min(end - offset, _STEP), out)
                if not done:
                    raise Corrupt("a file became shorter while it was read")
                offset += done
            return
        except OSError as error:
            if error.errno not in _OTHER_WAY or step is _read_write:
                raise


_STEP = 64 << 20
_OTHER_WAY = (errno.EINVAL, errno.EXDEV, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def _copy_file_range(source: int, offset: int, size: int, out: int) -> int:
    return os.copy_file_range(source, out, size, offset_src=offset)


def _sendfile(source: int, offset: int, size: int, out: int) -> int:
    return os.sendfile(out, source, offset, size)


def _read_write(source: int, offset: int, size: int, out: int) -> int:
    data = os.pread(source, min(size, _CHUNK), offset)
    write_all(out, data)
    return len(data)


def _inflate(name: str, fd: int, start: int, out: int) -> None:
    """Decompress a gzip file of any number of members. Raises Corrupt, LimitExceeded, NoSpace."""
    read = written = 0
    engine: zlib._Decompress | None = None
    try:
        while chunk := os.pread(fd, _CHUNK, start + read):
            read += len(chunk)
            more = True
            while more:
                engine = engine or zlib.decompressobj(31)
                data = engine.decompress(chunk, _CHUNK)
                written += len(data)
                if written > _RATIO_FROM and written > read * _RATIO:
                    raise LimitExceeded(f"load {name}: {written} bytes out of {read}, more than {_RATIO} to 1")
                write_all(out, data)
                if engine.eof:
                    chunk = engine.unused_data.lstrip(b"\0")
                    engine = None
                    more = bool(chunk)
                else:
                    chunk = engine.unconsumed_tail
                    more = bool(chunk) or len(data) == _CHUNK
    except zlib.error as error:
        raise Corrupt(f"load {name}: decompress gzip: {str(error).lower()}") from error
    except OSError as error:
        raise from_os(error, "decompress", name) from error
    if engine is not None:
        raise Corrupt(f"load {name}: decompress gzip: the data ends too early")


def _unzstd(name: str, fd: int, start: int, out: int, work: Workspace) -> None:
    """Decompress a zstd file: Python has no decoder yet, but the unpacker has, and what it unpacks it can put together.

    Raises what unpacking raises.
    """
    from minidock import _native
    from minidock._errors import translate
    from minidock.images.layers import prepare_directory
    from minidock.store.trees import remove_tree

    scratch = work.join("archive-zstd")
    root = prepare_directory(scratch)
    split = f"{scratch}/tar-split.zst"
    try:
        with translated("read", name):
            os.lseek(fd, start, os.SEEK_SET)
        result = _native.unpack_layer(fd, root, tar_split=split, owners=False)
        _native.reassemble_layer(root, split, out, diff_id=result.diff_id)
    except _native.NativeError as error:
        failure = translate(error)
        raise type(failure)(f"load {name}: {failure}") from error
    remove_tree(scratch)
