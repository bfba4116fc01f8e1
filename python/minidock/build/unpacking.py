"""Archives of a build: the context as a tar, and what ADD unpacks. One tar parser, below a directory of our own."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, BinaryIO

from minidock import _native
from minidock._errors import translate
from minidock.errors import Corrupt, MinidockError
from minidock.images import sources
from minidock.store.trees import remove_tree

if TYPE_CHECKING:
    import contextlib

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


def unpacked(fd: int, directory: str, what: str, stack: contextlib.ExitStack) -> str | None:
    """Unpack the archive in the file ``fd`` below ``directory``, for the time of ``stack``; None when it is none."""
    target = tempfile.mkdtemp(prefix="unpacked-", dir=directory)
    stack.callback(remove_tree, target)
    os.chmod(target, 0o755)  # noqa: S103 - the mode of a directory that is made for its files
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
    return target
