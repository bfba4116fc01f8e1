"""Unpacking of layers; the work is native."""

from __future__ import annotations

import os
from typing import NamedTuple

from minidock._errors import translate
from minidock._native import NativeError
from minidock.store.failures import from_os


class Unpacked(NamedTuple):
    """One unpacked layer: digest and bytes of its uncompressed tar, bytes of its files' contents."""

    diff_id: str
    tar_size: int
    size: int


def unpack(fd: int, directory: str) -> Unpacked:
    """Unpack a layer's tar (plain, gzip or zstd) from ``fd`` into ``directory/fs``, with its record for exact copies.

    ``directory`` is made. Raises Corrupt for a damaged or hostile tar, LimitExceeded for a bomb, NoSpace.
    """
    from minidock import _native

    try:
        tree = os.path.join(directory, "fs")
        os.makedirs(tree, mode=0o700)
        result = _native.unpack_layer(fd, tree, tar_split=os.path.join(directory, "tar-split.zst"))
    except NativeError as error:
        raise translate(error) from error
    except OSError as error:
        raise from_os(error, "unpack layer into", directory) from error
    return Unpacked(result.diff_id, result.tar_size, result.size)
