"""The build cache in a directory: ``--cache-to`` and ``--cache-from`` ``type=local``.

``DIR/cache.json`` is the index; ``DIR/blobs/sha256/HEX`` are layers and cache mounts, compressed. An unpacked layer is
checked against the digest that its step stands for, and a blob of a mount against its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.build import exchange, exchange_mounts
from minidock.build.exchange import Index, Kept, Step
from minidock.build.locking import taken
from minidock.errors import Corrupt, MinidockError, NotFound, SystemFailure
from minidock.images import layers as unpacking
from minidock.spec import oci_image
from minidock.store.failures import translated
from minidock.store.layers import NewLayer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from minidock.build.exchange import Place
    from minidock.build.executor import Build
    from minidock.build.stopping import Stop
    from minidock.store.layers import LayerRow
    from minidock.store.store import Store

_FILE = "cache.json"
_UNFINISHED = 24 * 3600
"""Seconds after which nobody writes a file any more that has no name yet, where the directory cannot be locked."""
_TYPES = {"gzip": oci_image.LAYER_GZIP, "zstd": oci_image.LAYER_ZSTD}


class LocalSource:
    """A directory that is read from."""

    def __init__(self, place: Place) -> None:
        self._path = place.where
        self._mounts = place.mounts
        path = f"{place.where}/{_FILE}"
        try:
            with open(path, "rb") as file:
                data = file.read(exchange.MAX_INDEX + 1)
        except FileNotFoundError:
            data = b""  # as with Docker, a cache that is not there yet is no error
        except OSError as error:
            raise NotFound(f"cache {path}: {error.strerror}") from error
        self.index = exchange.decode(data, path) if data else Index()

    def find(self, build: Build, key: str) -> LayerRow | None:
        """As :meth:`Imported.find`."""
        store, work = build.store, build.work
        step = self.index.steps.get(key)
        if step is None:
            return None
        held = store.layers.lease(work, [step.diff_id])
        if held:
            return held[0]
        path = blob(self._path, step.digest)
        directory = work.join(f"imported-{os.urandom(6).hex()}")
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            made = unpacking.unpack(fd, directory)
        except MinidockError as error:
            raise type(error)(f"cache {path}: {error}") from error
        finally:
            os.close(fd)
        if made.diff_id != step.diff_id:
            raise Corrupt(f"cache {path}: its content is {made.diff_id}, and {step.diff_id} was expected")
        return store.layers.register(work, NewLayer(made.diff_id, made.size, directory, made.tar_size))

    def fetch_mount(self, build: Build, name: str, target: str) -> bool:
        """As :meth:`Imported.fetch_mount`."""
        kept = self.index.mounts.get(name) if self._mounts else None
        if kept is None:
            return False
        try:
            fd = os.open(blob(self._path, kept.digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            exchange_mounts.unpack(fd, kept, target, self._path)
        finally:
            os.close(fd)
        return True


def export(build: Build, place: Place, steps: Mapping[str, tuple[str, str, LayerRow]]) -> None:
    """As :func:`exchange.export`; blobs that the index does not name any more are removed, and unfinished ones."""
    top = place.where
    blobs = f"{top}/blobs/sha256"
    with translated("make", blobs):
        os.makedirs(blobs, exist_ok=True)
    with _alone(top, build.stop) as alone:
        index = _blobs(build, place, steps)
        with _fresh(f"{top}/.{_FILE}.") as fresh:
            with open(fresh, "wb") as file:
                file.write(exchange.encode(index))
            os.rename(fresh, f"{top}/{_FILE}")
        named = [step.digest for step in index.steps.values()] + [kept.digest for kept in index.mounts.values()]
        wanted = {digest.removeprefix("sha256:") for digest in named}
        with translated("clear", top):
            unfinished = [f"{top}/{name}" for name in os.listdir(top) if name.startswith(f".{_FILE}.")]
            for name in os.listdir(blobs):
                if name.startswith("."):
                    unfinished.append(f"{blobs}/{name}")
                elif len(name) == 64 and name not in wanted:
                    os.unlink(f"{blobs}/{name}")
            for path in unfinished:
                if alone or _is_old(path):
                    os.unlink(path)


@contextlib.contextmanager
def _alone(top: str, stop: Stop) -> Iterator[bool]:
    """Have nobody else write to the cache for the time of the block; False where its file system has no locks."""
    try:
        fd = taken(top, lambda path: os.makedirs(path, exist_ok=True), stop)
    except SystemFailure:
        yield False
        return
    try:
        yield True
    finally:
        os.close(fd)


@contextlib.contextmanager
def _fresh(prefix: str) -> Iterator[str]:
    """The path of a new file, which is gone after the block unless it was renamed. Translates OSErrors."""
    path = f"{prefix}{os.urandom(6).hex()}"
    try:
        with translated("write", path):
            yield path
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _blobs(build: Build, place: Place, steps: Mapping[str, tuple[str, str, LayerRow]]) -> Index:
    """Write what the cache lacks of steps and mounts; returns its new index."""
    top = place.where
    before = LocalSource(place).index
    known = {step.diff_id: step for step in before.steps.values()}
    index = Index()
    for key, (kind, description, layer) in steps.items():
        build.stop.check()
        one = known.get(layer.diff_id)
        if one is None or not os.path.exists(blob(top, one.digest)):
            digest, size = _write(build.store, top, layer, place.compression)
            one = known[layer.diff_id] = Step(kind, description, layer.diff_id, digest, size, _TYPES[place.compression])
        index.steps[key] = Step(kind, description, layer.diff_id, one.digest, one.size, one.media_type)
    if place.mounts:
        index.mounts = _mounts(build, top, before)
    return index


def _mounts(build: Build, top: str, before: Index) -> dict[str, Kept]:
    """Write the cache mounts; one that is not on this host stays as it is in the cache."""
    found = {}
    for name in build.mounts_named:
        with _fresh(f"{top}/blobs/sha256/.") as fresh:
            kept = exchange_mounts.pack(build, name, fresh)
            if kept is not None:
                os.rename(fresh, blob(top, kept.digest))
        if kept is not None:
            found[name] = kept
        elif name in before.mounts and os.path.exists(blob(top, before.mounts[name].digest)):
            found[name] = before.mounts[name]
    return found


def _is_old(path: str) -> bool:
    """Whether a file that was never finished is of a build that is gone."""
    return time.time() - os.lstat(path).st_mtime > _UNFINISHED


def _write(store: Store, top: str, layer: LayerRow, compression: str) -> tuple[str, int]:
    """Write a layer; returns the digest of its blob and the bytes of that."""
    directory = store.paths.layer(layer.id)
    with _fresh(f"{top}/blobs/sha256/.") as fresh:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            result = _native.reassemble_layer(
                f"{directory}/fs", f"{directory}/tar-split.zst", fd, diff_id=layer.diff_id, compression=compression
            )
        except _native.NativeError as error:
            failure = translate(error)
            raise type(failure)(f"cache {top}: {failure}") from error
        finally:
            os.close(fd)
        os.rename(fresh, blob(top, result.digest))
    return result.digest, result.compressed_size


def blob(path: str, digest: str) -> str:
    """The file of a blob."""
    return f"{path}/blobs/sha256/{digest.removeprefix('sha256:')}"
