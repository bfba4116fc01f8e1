"""Archives of a build: the context as a tar, and what ADD unpacks. One tar parser, below a directory of our own."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from minidock import _native
from minidock._errors import translate
from minidock.build.merged import Merged, Node
from minidock.build.sources import Source
from minidock.errors import Corrupt, MinidockError
from minidock.images import sources
from minidock.store.trees import remove_tree

if TYPE_CHECKING:
    import contextlib

    from minidock.build.copying import Placing

_MAGIC = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
HEAD = 512


def is_archive(head: bytes) -> bool:
    """Whether a file that begins like this is a tar, plain or compressed by gzip, bzip2, xz or zstd."""
    return head.startswith(_MAGIC) or is_tar(head)


def is_tar(head: bytes) -> bool:
    """Whether it is a plain tar: the checksum of its first header is right."""
    if len(head) < HEAD:
        return False
    try:
        stated = int(head[148:156].split(b"\0", 1)[0].strip() or b"x", 8)
    except ValueError:
        return False
    return stated == sum(head[:HEAD]) - sum(head[148:156]) + 8 * 32


def unpack(source: int | bytes | BinaryIO, target: str, what: str, *, owners: bool) -> None:
    """Unpack an archive into the empty directory ``target``. Raises Corrupt, Denied, LimitExceeded, NoSpace."""
    try:
        with sources.opened(source, "unpack") as stream:
            try:
                _native.unpack_layer(stream.fd, target, whiteouts="delete", owners=owners)
            except _native.NativeError as error:
                stream.check()
                raise translate(error) from error
            stream.check()
    except MinidockError as error:
        raise type(error)(f"{what}: {error}") from error


class Unpacked(NamedTuple):
    """An archive's files in a directory, and when they were written."""

    directory: str
    what: str
    begin: int
    end: int

    def place(self, placing: Placing, destination: str) -> None:
        """Put them where they belong."""
        tree = Source(Merged([self.directory]), self.what)
        for found in tree.match("/"):
            placing.unpack(tree, found, destination, self._is_implied)

    def _is_implied(self, node: Node) -> bool:
        """A directory without an entry has the time of its making, and others one from before the archive was."""
        return self.begin <= node.status.st_mtime_ns <= self.end


def unpacked(fd: int, directory: str, what: str, stack: contextlib.ExitStack) -> Unpacked | None:
    """Unpack the archive in the file ``fd`` below ``directory``, for the time of ``stack``; None when it is none."""
    target = tempfile.mkdtemp(prefix="unpacked-", dir=directory)
    stack.callback(remove_tree, target)
    begin = os.stat(target).st_mtime_ns
    duplicate = os.dup(fd)
    try:
        os.lseek(duplicate, 0, os.SEEK_SET)
        unpack(duplicate, target, what, owners=True)
    except Corrupt:
        if os.listdir(target):
            raise
        return None
    finally:
        os.close(duplicate)
    return Unpacked(target, what, begin, time.time_ns())
