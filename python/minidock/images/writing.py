"""Writing the tar of an image archive: members at known places, several at a time where the output can seek."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from minidock import _native
from minidock._errors import translate
from minidock.errors import Corrupt
from minidock.images import archives, tars
from minidock.spec import oci_image
from minidock.store.failures import from_os, translated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from minidock.store.layers import LayerRow
    from minidock.store.paths import Paths
    from minidock.store.store import Store

LAYER_TYPES = {"none": oci_image.LAYER, "gzip": oci_image.LAYER_GZIP, "zstd": oci_image.LAYER_ZSTD}
"""Media types of layers in manifests that minidock writes, by compression."""

_END = bytes(2 * tars.BLOCK)
_WORKERS = 4
_PARALLEL_FROM = 1 << 20
"""Smaller archives are not worth a thread."""


class Blob(Struct):
    """What a member consists of: bytes, a file with this digest, or a layer to put together."""

    digest: str
    size: int
    data: bytes | None = None
    path: str = ""
    layer: LayerRow | None = None


class _Placed(NamedTuple):
    offset: int
    path: str
    blob: Blob


def write(store: Store, fd: int, directories: Sequence[str], members: Sequence[tuple[str, Blob]]) -> None:
    """Write a tar to ``fd``, from its offset on. Raises NoSpace, and Corrupt for a damaged store."""
    head = b"".join(tars.header(path, 0, directory=True) for path in directories)
    offset = len(head)
    placed = []
    for path, blob in members:
        placed.append(_Placed(offset, path, blob))
        offset += tars.BLOCK + blob.size + tars.padding(blob.size)
    writer = _Writer(store, fd)
    try:
        if offset >= _PARALLEL_FROM and writer.can_seek():
            writer.parallel(head, placed, offset)
        else:
            writer.sequential(head, placed)
    except OSError as error:
        raise from_os(error, "write", "the archive") from error


def reassemble(paths: Paths, layer: LayerRow, out: int, progress: _native.Progress | None = None) -> int:
    """Write a layer's tar to ``out``; returns its length. Raises Corrupt for a damaged layer, NoSpace."""
    directory = paths.layer(layer.id)
    try:
        result = _native.reassemble_layer(
            f"{directory}/fs", f"{directory}/tar-split.zst", out, diff_id=layer.diff_id, progress=progress
        )
    except _native.NativeError as error:
        failure = translate(error)
        raise type(failure)(f"layer {layer.diff_id}: {failure}") from error
    return result.tar_size


def tar_size(store: Store, layer: LayerRow) -> int:
    """The length of a layer's tar; found out by putting it together when an older version did not note it."""
    if layer.tar_size is not None:
        return layer.tar_size
    with translated("open", os.devnull):
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        size = reassemble(store.paths, layer, null)
    finally:
        os.close(null)
    store.layers.set_tar_size(layer.id, size)
    return size


def descriptor(store: Store, layer: LayerRow) -> oci_image.Descriptor:
    """A layer in the form in which it travels best: as it came if that is kept, else uncompressed."""
    from minidock.images import manifests

    for blob in store.blobs.of_layer(layer.diff_id):
        if blob.kept and blob.media_type in manifests.LAYERS:
            return oci_image.Descriptor(LAYER_TYPES[manifests.LAYERS[blob.media_type]], blob.digest, blob.size)
    return oci_image.Descriptor(oci_image.LAYER, layer.diff_id, tar_size(store, layer))


class _Writer:
    def __init__(self, store: Store, fd: int) -> None:
        self._store = store
        self._fd = fd
        self._progress: list[_native.Progress] = []
        self._cancelled = threading.Event()

    def can_seek(self) -> bool:
        """Whether the output is a regular file that is not appended to."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode) or fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_APPEND:
            return False
        return os.access(f"/proc/self/fd/{self._fd}", os.W_OK)

    def sequential(self, head: bytes, members: Sequence[_Placed]) -> None:
        """Write one after the other; digests of files are checked meanwhile."""
        from concurrent.futures import ThreadPoolExecutor

        archives.write_all(self._fd, head)
        pool = ThreadPoolExecutor(1, "minidock-verify")
        try:
            checks = [pool.submit(self._verify, one.blob) for one in members if one.blob.path]
            for one in members:
                self._member(self._fd, one)
            archives.write_all(self._fd, _END)
            _finish(checks)
        finally:
            self._cancel()
            pool.shutdown(cancel_futures=True)

    def parallel(self, head: bytes, members: Sequence[_Placed], end: int) -> None:
        """Write several at a time, each to its place."""
        from concurrent.futures import ThreadPoolExecutor

        start = os.lseek(self._fd, 0, os.SEEK_CUR)
        archives.write_all(self._fd, head)
        workers = min(_WORKERS, max(2, os.cpu_count() or 1))
        pool = ThreadPoolExecutor(workers, "minidock-save")
        try:
            largest = sorted(members, key=lambda one: one.blob.size, reverse=True)
            _finish([pool.submit(self._place, start, one) for one in largest])
        finally:
            self._cancel()
            pool.shutdown(cancel_futures=True)
        os.lseek(self._fd, start + end, os.SEEK_SET)
        archives.write_all(self._fd, _END)

    def _place(self, start: int, one: _Placed) -> None:
        fd = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.lseek(fd, start + one.offset, os.SEEK_SET)
            self._member(fd, one)
        finally:
            os.close(fd)
        if one.blob.path:
            self._verify(one.blob)

    def _member(self, fd: int, one: _Placed) -> None:
        blob = one.blob
        archives.write_all(fd, tars.header(one.path, blob.size))
        if blob.data is not None:
            archives.write_all(fd, blob.data)
        elif blob.layer is not None:
            size = reassemble(self._store.paths, blob.layer, fd, self._meter())
            if size != blob.size:
                raise Corrupt(f"layer {blob.layer.diff_id}: its tar has {size} bytes, not {blob.size}")
        else:
            source = _open(blob.path)
            try:
                archives.copy_range(source, 0, blob.size, fd, self._cancelled)
            finally:
                os.close(source)
        archives.write_all(fd, bytes(tars.padding(blob.size)))

    def _verify(self, blob: Blob) -> None:
        """Whether a file has its digest still: a disk forgets, and nobody should find out from a copy."""
        source = _open(blob.path)
        try:
            digest, size = _native.digest_file(source, progress=self._meter())
        except _native.NativeError as error:
            raise translate(error) from error
        finally:
            os.close(source)
        if (digest, size) != (blob.digest, blob.size):
            raise Corrupt(f"blob {blob.digest}: damaged in the store, its digest is {digest}; pull the image again")

    def _meter(self) -> _native.Progress:
        progress = _native.Progress()
        self._progress.append(progress)
        if self._cancelled.is_set():
            progress.cancel()
        return progress

    def _cancel(self) -> None:
        self._cancelled.set()
        for progress in list(self._progress):
            progress.cancel()


def _open(path: str) -> int:
    with translated("open", path):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _finish(futures: Sequence[Future[None]]) -> None:
    """Wait for all, and raise the first failure as soon as it is there."""
    from concurrent.futures import FIRST_EXCEPTION, wait

    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()
