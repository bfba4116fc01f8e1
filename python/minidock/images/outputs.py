"""Where archives go: a file that is there completely or not at all, a descriptor, a Python file, an iterator."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from typing import TYPE_CHECKING, BinaryIO

from minidock.errors import InvalidArgument, NotFound
from minidock.images.parallel import started
from minidock.store.failures import from_os, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Out = str | os.PathLike[str] | int | BinaryIO

CHUNK = 1 << 20


def write_to(out: Out, write: Callable[[int], None], what: str) -> None:
    """Call ``write`` with a descriptor that leads to ``out``; ``what`` is the operation in messages.

    Raises what it raises, InvalidArgument and NotFound for a path that cannot be written.
    """
    if isinstance(out, str | os.PathLike):
        with replaced(os.fspath(out)) as fd:
            write(fd)
    elif isinstance(out, int):
        write(out)
    else:
        to_file(write, out, what)


def piped(write: Callable[[int], None], chunk_size: int) -> Iterator[bytes]:
    """What ``write`` writes to the descriptor that it gets, in a thread of its own, as chunks."""
    if chunk_size <= 0:
        raise InvalidArgument(f"chunk_size {chunk_size}: not a number of bytes")
    r, w = os.pipe2(os.O_CLOEXEC)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            write(w)
        except BaseException as error:  # raised by the reader
            failures.append(error)
        finally:
            os.close(w)

    thread = threading.Thread(target=run, name="minidock-save", daemon=True)
    finished = False
    started(thread, r, w)
    try:
        while chunk := os.read(r, chunk_size):
            yield chunk
        finished = True
    finally:
        # With the reading end closed, a writer that nobody waits for ends at its next write.
        os.close(r)
        thread.join()
    if finished and failures:
        raise failures[0]


@contextlib.contextmanager
def replaced(path: str, mode: int = 0o600) -> Iterator[int]:
    """A descriptor of a new file that takes the place of ``path`` at the end, unless something goes wrong before.

    Another thing than a regular file, such as ``/dev/stdout``, is written to as it is.
    """
    directory, name = os.path.split(path)
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            with _existing(path) as fd:
                yield fd
            return
    if not name:
        raise InvalidArgument(f"invalid output path: {path!r} must be a file")
    if directory and not os.path.isdir(directory):
        raise NotFound(f"invalid output path: directory {directory!r} does not exist")
    # A link is not replaced, but what it leads to.
    target = os.path.realpath(path)
    fresh = f"{target}.{os.urandom(6).hex()}.tmp"
    try:
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except OSError as error:
        raise from_os(error, "make", path) from error
    try:
        try:
            yield fd
        finally:
            os.close(fd)
        with translated("write", path):
            os.rename(fresh, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


@contextlib.contextmanager
def _existing(path: str) -> Iterator[int]:
    if os.path.isdir(path):
        raise InvalidArgument(f"invalid output path: {path!r} is a directory")
    with translated("open", path):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def to_file(write: Callable[[int], None], out: BinaryIO, what: str) -> None:
    """Write to a Python file: by its descriptor if it has one. ``what`` is the operation in messages."""
    if not callable(getattr(out, "write", None)):
        raise InvalidArgument(f"{what}: {type(out).__name__} is not a path, descriptor or binary file")
    try:
        fd = out.fileno()
    except (OSError, ValueError, AttributeError):
        for chunk in piped(write, CHUNK):
            out.write(chunk)
        return
    out.flush()
    write(fd)
