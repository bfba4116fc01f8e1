"""Unpacking of layers; the work is native."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minidock._errors import translate
from minidock._native import NativeError

if TYPE_CHECKING:
    pass


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
        result = _native.unpack_layer(fd, directory)  # type: ignore[attr-defined]
    except NativeError as error:
        raise translate(error) from error
    return Unpacked(result.diff_id, result.tar_size, result.size)
