"""Cache mounts in caches for other machines: the files of one are a tar, compressed by zstd."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.build import caches
from minidock.build.exchange import Kept
from minidock.errors import Conflict, Corrupt, MinidockError
from minidock.store.failures import translated

if TYPE_CHECKING:
    from minidock.build.executor import Build

_ATTEMPTS = 4
"""Of reading files that a command of another build changes meanwhile."""


def pack(build: Build, name: str, path: str) -> Kept | None:
    """Write the files of a cache mount to the new file ``path``; None, and no file, when it is not on this host.

    One that another cache has is brought here first. Raises NoSpace, InvalidArgument for names that a tar of layers
    cannot have (``.wh.…``), Conflict for files that others go on changing.
    """
    identity, sharing = build.mounts_named[name]
    caches.bring(build, name, identity)
    with contextlib.ExitStack() as stack:
        directory = caches.held(build, name, sharing, stack)
        if directory is None:
            return None
        for attempt in range(_ATTEMPTS):
            build.stop.check()
            try:
                return _packed(identity, directory, path)
            except Conflict as error:
                if attempt == _ATTEMPTS - 1:
                    raise Conflict(f"export cache mount {identity}: {error}") from error
                time.sleep(0.2 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _packed(identity: str, directory: str, path: str) -> Kept:
    with translated("write", path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        result = _native.tar_tree(directory, fd, compression="zstd")
    except BaseException as error:
        os.unlink(path)
        if isinstance(error, _native.NativeError):
            raise _failed(f"export cache mount {identity}", error) from error
        raise
    finally:
        os.close(fd)
    return Kept(identity, result.digest, result.compressed_size)


def unpack(fd: int, kept: Kept, target: str, where: str) -> None:
    """Unpack the blob in a file over the empty directory ``target``. Raises Corrupt for another than ``kept``."""
    what = f"cache {where}: mount {kept.id}"
    try:
        digest = _native.digest_file(fd)[0]
        if digest != kept.digest:
            raise Corrupt(f"{what}: its content is {digest}, and {kept.digest} was expected")
        os.lseek(fd, 0, os.SEEK_SET)
        _native.unpack_layer(fd, target)
    except _native.NativeError as error:
        raise _failed(what, error) from error


def _failed(what: str, error: _native.NativeError) -> MinidockError:
    failure = translate(error)
    return type(failure)(f"{what}: {failure}")
