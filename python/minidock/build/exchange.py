"""The build cache in a directory, for other machines: ``--cache-to`` and ``--cache-from`` ``type=local``.

``DIR/cache.json`` names steps by their keys, which mean the same everywhere; ``DIR/blobs/sha256/HEX`` are layers,
compressed by zstd. An unpacked layer is checked against the digest that its step stands for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.errors import Corrupt, InvalidArgument, MinidockError, NotFound, Unsupported
from minidock.images import layers as unpacking
from minidock.images.references import is_digest
from minidock.store.failures import translated
from minidock.store.layers import NewLayer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.store.layers import LayerRow
    from minidock.store.store import Store
    from minidock.store.workspace import Workspace

_VERSION = 1
_MAX_INDEX = 64 << 20
_FILE = "cache.json"


class Step(msgspec.Struct, frozen=True):
    """One step: what it is, the layer that it makes, and the blob that has it."""

    kind: str
    description: str
    diff_id: str
    digest: str
    size: int


class Index(msgspec.Struct):
    """``cache.json``."""

    version: int = _VERSION
    steps: dict[str, Step] = {}


class Place(msgspec.Struct, frozen=True):
    """A directory that a cache is written to or read from; ``everything`` (``mode=max``): also of other stages."""

    path: str
    everything: bool = False


def parse(text: str, key: str) -> Place:
    """Return what ``type=local,KEY=DIR[,mode=min|max]`` means. Raises InvalidArgument, Unsupported."""
    fields = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise Unsupported(f"cache {text!r}: only type=local,{key}=DIRECTORY is in this version of minidock")
        fields[name.strip().lower()] = value
    kind, path, mode = fields.pop("type", "registry"), fields.pop(key, ""), fields.pop("mode", "min")
    if kind != "local":
        raise Unsupported(f"cache type {kind}: only type=local,{key}=DIRECTORY is in this version of minidock")
    if not path:
        raise InvalidArgument(f"cache {text!r}: {key} is required")
    if mode not in ("min", "max"):
        raise InvalidArgument(f"cache {text!r}: mode must be min or max")
    if fields:
        raise InvalidArgument(f"cache {text!r}: {min(fields)} is not known to minidock")
    return Place(os.path.abspath(path), mode == "max")


class Imported:
    """A cache that is read from."""

    def __init__(self, place: Place) -> None:
        self._path = place.path
        path = f"{place.path}/{_FILE}"
        try:
            with open(path, "rb") as file:
                data = file.read(_MAX_INDEX + 1)
        except FileNotFoundError:
            data = b""  # as with Docker, a cache that is not there yet is no error
        except OSError as error:
            raise NotFound(f"cache {path}: {error.strerror}") from error
        try:
            self._index = msgspec.json.decode(data, type=Index) if data else Index()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(f"cache {path}: {error}") from error
        if self._index.version != _VERSION:
            self._index = Index()

    def find(self, store: Store, work: Workspace, key: str) -> LayerRow | None:
        """Return the layer of a step, made part of the store and held by ``work``; None when it is not here.

        Raises Corrupt for a layer that is not what it is said to be.
        """
        step = self._index.steps.get(key)
        if step is None or not is_digest(step.digest) or not is_digest(step.diff_id):
            return None
        held = store.layers.lease(work, [step.diff_id])
        if held:
            return held[0]
        path = _blob(self._path, step.digest)
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


def export(store: Store, place: Place, steps: Mapping[str, tuple[str, str, LayerRow]]) -> None:
    """Write steps, (kind, description, layer) by key, to a directory; what it has already is not written again.

    Steps that are not among them are forgotten, and blobs that none needs removed.
    """
    blobs = f"{place.path}/blobs/sha256"
    with translated("make", blobs):
        os.makedirs(blobs, exist_ok=True)
    known = {step.diff_id: step for step in Imported(place)._index.steps.values()}
    index = Index()
    for key, (kind, description, layer) in steps.items():
        before = known.get(layer.diff_id)
        if before is None or not os.path.exists(_blob(place.path, before.digest)):
            digest, size = _write(store, blobs, layer)
            before = known[layer.diff_id] = Step(kind, description, layer.diff_id, digest, size)
        index.steps[key] = Step(kind, description, layer.diff_id, before.digest, before.size)
    fresh = f"{place.path}/.{_FILE}.{os.urandom(4).hex()}"
    with translated("write", fresh):
        with open(fresh, "wb") as file:
            file.write(msgspec.json.encode(index))
        os.rename(fresh, f"{place.path}/{_FILE}")
        wanted = {step.digest.removeprefix("sha256:") for step in index.steps.values()}
        for name in os.listdir(blobs):
            if len(name) == 64 and name not in wanted:
                os.unlink(f"{blobs}/{name}")


def _write(store: Store, blobs: str, layer: LayerRow) -> tuple[str, int]:
    """Write a layer; returns the digest of its blob and the bytes of that."""
    fresh = f"{blobs}/.{os.urandom(6).hex()}"
    directory = store.paths.layer(layer.id)
    with translated("write", fresh):
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            result = _native.reassemble_layer(
                f"{directory}/fs", f"{directory}/tar-split.zst", fd, diff_id=layer.diff_id, compression="zstd"
            )
            os.rename(fresh, f"{blobs}/{result.digest.removeprefix('sha256:')}")
        except _native.NativeError as error:
            os.unlink(fresh)
            raise translate(error) from error
        finally:
            os.close(fd)
    return result.digest, result.compressed_size


def _blob(path: str, digest: str) -> str:
    return f"{path}/blobs/sha256/{digest.removeprefix('sha256:')}"
