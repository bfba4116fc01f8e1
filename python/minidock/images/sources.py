"""Where the bytes of an import come from: a file, a descriptor, memory, a Python file.

gzip, zstd and plain tar are read by the native unpacker from a descriptor. xz and bzip2, and whatever has no
descriptor, go through a pipe that a thread fills.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, MinidockError, Unsupported
from minidock.images.parallel import widen
from minidock.store.failures import from_os

_CHUNK = 1 << 20
_XZ = b"\xfd7zXZ\x00"
_BZIP2 = b"BZh"
_HEAD = 6
_XZ_MEMORY = 256 << 20
"""Most memory that xz may use; ``xz -9`` needs 65 MiB."""

_RATIO = 1000
"""Most that may come out of one byte; a disk image's zeros reach this, files do not."""
_RATIO_FROM = 1 << 30
"""Bytes that may come out before that matters."""


class Reader(Protocol):
    """What the pump reads from: at most ``size`` bytes, none at the end."""

    def __call__(self, size: int, /) -> bytes: ...


class Source:
    """An open source: ``fd`` gives a tar, plain or compressed by gzip or zstd; ``name`` is for messages."""

    __slots__ = ("_failure", "fd", "name")

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self._failure: MinidockError | None = None

    def check(self) -> None:
        """Raise what went wrong on the way to ``fd``, if anything did: it explains what the unpacker says."""
        if self._failure is not None:
            raise self._failure

    def failed(self, error: MinidockError) -> None:
        """Remember a failure."""
        self._failure = error


@contextmanager
def opened(source: str | os.PathLike[str] | int | bytes | BinaryIO, verb: str = "import") -> Iterator[Source]:
    """Open what ``import_`` and ``load`` take. ``verb`` is the operation in messages.

    Raises InvalidArgument, NotFound or Denied for a path that gives no bytes.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        with _pumped("bytes", _memory(source), bytes(source[:_HEAD])) as it:
            yield it
        return
    if source == "-":
        source = 0
    if isinstance(source, int):
        if source < 0:
            raise InvalidArgument(f"{verb}: descriptor {source} is negative")
        name = "-" if source == 0 else f"descriptor {source}"
        with _descriptor(name, source, verb) as it:
            yield it
        return
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if path.startswith(("http://", "https://")):
            command = _command(verb)
            raise Unsupported(f"{verb} {path}: minidock does not fetch; download it: curl {path} | {command}")
        fd = _open(path, verb)
        try:
            with _descriptor(path, fd, verb) as it:
                yield it
        finally:
            os.close(fd)
        return
    with _file(source, verb) as it:
        yield it


def _command(verb: str) -> str:
    """What reads a pipe."""
    return "minidock import -" if verb == "import" else f"minidock {verb}"


def _open(path: str, verb: str) -> int:
    if "\0" in path or not path:
        raise InvalidArgument(f"{verb} {path!r}: not a path")
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os(error, verb, path) from error


@contextmanager
def _descriptor(name: str, fd: int, verb: str) -> Iterator[Source]:
    """A descriptor that stays the caller's."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        raise from_os(error, verb, name) from error
    if stat.S_ISDIR(mode):
        raise InvalidArgument(f"{verb} {name}: is a directory; give a tar: tar -C {name} -c . | {_command(verb)}")
    if stat.S_ISCHR(mode) and os.isatty(fd):
        raise InvalidArgument(f"{verb} {name}: is a terminal; redirect a tar to standard input")
    reader = _Polled(fd)
    try:
        if stat.S_ISREG(mode):
            position = os.lseek(fd, 0, os.SEEK_CUR)
            head = os.pread(fd, _HEAD, position)
            if not _needs_python(head):
                yield Source(name, fd)
                return
            with _pumped(name, reader, b"", head) as it:
                yield it
            return
        head = b""
        while len(head) < _HEAD and (more := reader(_HEAD - len(head))):
            head += more
        # What was read cannot be put back, so it goes first through another pipe.
        with _pumped(name, reader, head, head) as it:
            yield it
    except OSError as error:
        raise from_os(error, "read", name) from error
    finally:
        reader.dispose()


@contextmanager
def _file(source: BinaryIO, verb: str) -> Iterator[Source]:
    name = str(getattr(source, "name", "file object"))
    try:
        # A regular file's own descriptor is much faster; its position may be behind what Python has buffered.
        fd = source.fileno()
        os.lseek(fd, source.tell(), os.SEEK_SET)
    except (OSError, ValueError, AttributeError):
        fd = -1
    if fd >= 0:
        with _descriptor(name, fd, verb) as it:
            yield it
        return
    if not callable(getattr(source, "read", None)):
        raise InvalidArgument(f"{verb}: {type(source).__name__} is not a path, descriptor, bytes or binary file")
    head = b""
    while len(head) < _HEAD:
        more = source.read(_HEAD - len(head))
        if not isinstance(more, bytes | bytearray):
            raise InvalidArgument(f"{verb} {name}: a binary file is needed, and this one reads {type(more).__name__}")
        if not more:
            break
        head += more
    with _pumped(name, source.read, head, head) as it:
        yield it


def _needs_python(head: bytes) -> bool:
    return head.startswith((_XZ, _BZIP2))


@contextmanager
def _pumped(name: str, read: Reader, first: bytes, head: bytes | None = None) -> Iterator[Source]:
    """A pipe that a thread fills with ``first`` and what ``read`` gives, decompressed if ``head`` says xz or bzip2."""
    head = first if head is None else head
    r, w = os.pipe2(os.O_CLOEXEC)
    source = Source(name, r)
    thread = threading.Thread(target=_pump, args=(source, read, first, head, w), name="minidock-import", daemon=True)
    try:
        thread.start()
        yield source
    finally:
        # With the reading end closed, the thread ends at its next write.
        os.close(r)
        close = getattr(read, "close", None)
        if close is not None:
            close()
        thread.join(timeout=1)


def _pump(source: Source, read: Reader, first: bytes, head: bytes, w: int) -> None:
    try:
        widen(w)
        chunks = _chunks(read, first)
        if _needs_python(head):
            chunks = _decompressed(chunks, xz=head.startswith(_XZ))
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(w, view) :]
    except BrokenPipeError:
        pass  # nobody reads any more
    except MinidockError as error:
        source.failed(error)
    except OSError as error:
        source.failed(from_os(error, "read", source.name))
    except Exception as error:
        source.failed(Corrupt(f"read {source.name}: {error}"))
    finally:
        os.close(w)


def _chunks(read: Reader, first: bytes) -> Iterator[bytes]:
    if first:
        yield first
    while chunk := read(_CHUNK):
        yield chunk


def _decompressed(chunks: Iterator[bytes], *, xz: bool) -> Iterator[bytes]:
    """Decompress all the streams of a file, with bounded memory."""
    import bz2
    import lzma

    def new() -> lzma.LZMADecompressor | bz2.BZ2Decompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY) if xz else bz2.BZ2Decompressor()

    kind = "xz" if xz else "bzip2"
    decompressor: lzma.LZMADecompressor | bz2.BZ2Decompressor | None = None
    streams = 0
    read = written = 0
    try:
        for chunk in chunks:
            data = chunk
            read += len(chunk)
            while True:
                if decompressor is None:
                    if xz and streams:
                        data = data.lstrip(b"\0")  # padding between streams
                    if not data:
                        break
                    decompressor = new()
                    streams += 1
                out = decompressor.decompress(data, _CHUNK)
                written += len(out)
                # The native unpacker, which does the same for gzip and zstd, sees only what comes out here.
                if written > _RATIO_FROM and written > read * _RATIO:
                    raise LimitExceeded(f"decompress {kind}: {written} bytes out of {read}, more than {_RATIO} to 1")
                yield out
                if decompressor.eof:
                    data = decompressor.unused_data
                    decompressor = None
                elif decompressor.needs_input:
                    break
                else:
                    data = b""
    except lzma.LZMAError as error:
        if "limit" in str(error).lower():
            raise LimitExceeded(f"decompress {kind}: needs more than {_XZ_MEMORY >> 20} MiB of memory") from error
        raise Corrupt(f"decompress {kind}: {str(error).lower()}") from error
    except (OSError, ValueError, EOFError) as error:
        raise Corrupt(f"decompress {kind}: {str(error)[:1].lower()}{str(error)[1:]}") from error
    if decompressor is not None:
        raise Corrupt(f"decompress {kind}: the data ends too early")


class _Polled:
    """Reads from a descriptor that may never give anything; ``close`` from another thread ends a read."""

    __slots__ = ("_fd", "_r", "_w")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._r, self._w = os.pipe2(os.O_CLOEXEC)

    def __call__(self, size: int, /) -> bytes:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN | select.POLLHUP)
        poll.register(self._r, select.POLLHUP)
        ready = dict(poll.poll())
        if self._r in ready:
            return b""
        return os.read(self._fd, size)

    def close(self) -> None:
        """End a read that waits."""
        if self._w >= 0:
            os.close(self._w)
            self._w = -1

    def dispose(self) -> None:
        """Give back the descriptors; no thread reads any more."""
        self.close()
        if self._r >= 0:
            os.close(self._r)
            self._r = -1


def _memory(data: bytes | bytearray | memoryview) -> Reader:
    view = memoryview(data)[_HEAD:]

    def read(size: int, /) -> bytes:
        nonlocal view
        chunk = bytes(view[:size])
        view = view[size:]
        return chunk

    return read
