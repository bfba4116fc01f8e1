"""Unpacking of layers; the work is native."""

from __future__ import annotations

import os
from typing import NamedTuple

from minidock import _native
from minidock._errors import translate
from minidock.store.failures import from_os


class Unpacked(NamedTuple):
    """One unpacked layer: digest and bytes of its uncompressed tar, bytes of its files' contents."""

    diff_id: str
    tar_size: int
    size: int


def unpack(fd: int, directory: str) -> Unpacked:
    """Unpack a layer's tar (plain, gzip or zstd) from ``fd`` into ``directory/fs``, with its record for exact copies.

    ``directory`` is made. Raises Corrupt for a damaged tar, Denied for one that leaves its directory, LimitExceeded for
    a bomb, NoSpace.
    """
    root = prepare_directory(directory)
    try:
        result = _native.unpack_layer(fd, root, tar_split=f"{directory}/tar-split.zst")
    except _native.NativeError as error:
        raise translate(error) from error
    return Unpacked(result.diff_id, result.tar_size, result.size)


def prepare_directory(directory: str) -> str:
    """Make ``directory`` and the root of a layer in it, which is returned. Raises NoSpace, SystemFailure."""
    root = f"{directory}/fs"
    try:
        os.mkdir(directory, 0o700)
        os.mkdir(root, 0o755)
        os.chmod(root, 0o755)  # noqa: S103 - the container's /, unless the tar says otherwise
    except OSError as error:
        raise from_os(error, "make", root) from error
    return root
