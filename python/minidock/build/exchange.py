"""The build cache for other machines: what ``--cache-to`` and ``--cache-from`` say, and what such a cache holds.

A cache names steps by their keys, which mean the same everywhere, with the layer that each makes, and cache mounts by
their names. :mod:`exchange_local` has it in a directory, :mod:`exchange_registry` in a registry or inside of an image.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import msgspec

from minidock.errors import Corrupt, InvalidArgument, Unsupported
from minidock.images import references
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.build.executor import Build
    from minidock.store.layers import LayerRow

MAX_INDEX = 64 << 20
"""Bytes of the largest index that is read."""
_VERSION = 1
_TRUE = ("true", "1")
_FALSE = ("false", "0")
_FROM = {"local": ("src",), "registry": ("ref",)}
_TO = {"local": ("dest", "compression", "mounts"), "registry": ("ref", "compression", "mounts"), "inline": ()}
_ALWAYS = ("oci-mediatypes", "image-manifest")
"""BuildKit's keys for the form that a cache here always has."""


class Step(msgspec.Struct, frozen=True):
    """One step: what it is, the layer that it makes, and the blob that has it."""

    kind: str
    description: str
    diff_id: str
    digest: str
    size: int
    media_type: str = "application/vnd.oci.image.layer.v1.tar+zstd"


class Kept(msgspec.Struct, frozen=True):
    """A cache mount: the id that it is called by, and the blob that has its files."""

    id: str
    digest: str
    size: int


class Index(msgspec.Struct, omit_defaults=True):
    """What a cache holds: steps by key, cache mounts by name."""

    version: int = 0
    steps: dict[str, Step] = {}
    mounts: dict[str, Kept] = {}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a cache is written to or read from: a directory, a repository, or (``inline``) the image that is built.

    ``everything`` (``mode=max``): also steps of other stages. ``lenient``: a failure to write it is told, and no error.
    """

    type: str
    where: str = ""
    everything: bool = False
    compression: str = "zstd"
    mounts: bool = False
    lenient: bool = False

    def __str__(self) -> str:
        return self.where or self.type


class Imported(Protocol):
    """A cache that is read from."""

    def find(self, build: Build, key: str) -> LayerRow | None:
        """Return the layer of a step, made part of the store and held by the build; None when it is not there.

        Raises Corrupt for a layer that is not what it is said to be.
        """

    def fetch_mount(self, build: Build, name: str, target: str) -> bool:
        """Put the files of a cache mount into the empty directory ``target``; False when it has them not."""


def source(text: str) -> Place:
    """Return what ``--cache-from`` says. Raises InvalidArgument, Unsupported."""
    return _parse(text, _FROM, ("mounts",))


def destination(text: str) -> Place:
    """Return what ``--cache-to`` says. Raises InvalidArgument, Unsupported."""
    place = _parse(text, _TO, ("mode", "ignore-error", *_ALWAYS))
    if place.type == "registry" and references.parse(place.where).digest is not None:
        raise InvalidArgument(f"cache {text!r}: a cache is pushed under a tag; leave out the digest")
    return place


def _parse(text: str, known: Mapping[str, tuple[str, ...]], more: tuple[str, ...]) -> Place:
    from minidock.build.dockerfile.text import csv_fields

    entries = csv_fields(text)
    if not entries or not all(entries) or "\0" in text:
        raise InvalidArgument(f"cache {text!r}: key=value pairs between commas are needed")
    if all("=" not in entry for entry in entries):
        entries = ["type=registry", *(f"ref={entry}" for entry in entries)]
    fields: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        name = name.strip().lower()
        if not equals or name in fields:
            raise InvalidArgument(f"cache {text!r}: invalid field '{entry}' must be a key=value pair, each key once")
        fields[name] = value
    kind = fields.pop("type", "")
    if not kind:
        raise InvalidArgument(f'cache {text!r}: type required form> "type=value"')
    if kind not in known:
        raise Unsupported(f"cache type {kind}: must be {' or '.join(known)}")
    unknown = set(fields) - set(known[kind]) - set(more)
    if unknown:
        raise InvalidArgument(f"cache {text!r}: {min(unknown)} is not known to minidock for type {kind}")
    for name in _ALWAYS:
        if not _flag(text, fields, name, default=True):
            raise Unsupported(f"cache {text!r}: a cache is an OCI image manifest; leave out {name}")
    mode, compression = fields.get("mode", "min"), fields.get("compression", "zstd")
    if mode not in ("min", "max"):
        raise InvalidArgument(f"cache {text!r}: mode must be min or max")
    if kind == "inline" and mode == "max":
        raise Unsupported(f"cache {text!r}: an image has the steps of its own stage only; use type=registry")
    if compression not in ("gzip", "zstd"):
        raise InvalidArgument(f"cache {text!r}: compression must be gzip or zstd")
    return Place(
        type=kind,
        where=_where(text, kind, fields, known[kind]),
        everything=mode == "max",
        compression=compression,
        mounts=_flag(text, fields, "mounts", default=known is _FROM),
        lenient=_flag(text, fields, "ignore-error", default=False),
    )


def _where(text: str, kind: str, fields: Mapping[str, str], known: tuple[str, ...]) -> str:
    if kind == "inline":
        return ""
    value = fields.get(known[0], "")
    if not value:
        raise InvalidArgument(f"cache {text!r}: {known[0]} is required")
    if kind == "local":
        return os.path.abspath(value)
    return references.parse(value).with_default_tag().canonical


def _flag(text: str, fields: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = fields.get(name, "").lower()
    if name not in fields or value in (*_TRUE, *_FALSE):
        return default if name not in fields else value in _TRUE
    raise InvalidArgument(f"cache {text!r}: {name} must be true or false")


def decode(data: bytes, what: str) -> Index:
    """Return an index; an empty one for that of another version. Raises Corrupt."""
    if len(data) > MAX_INDEX:
        raise Corrupt(f"cache {what}: its index has more than {MAX_INDEX >> 20} MiB")
    try:
        index = decoding.decode(data, Index)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"cache {what}: {error}") from error
    if index.version != _VERSION:
        return Index()
    digests = [step.digest for step in index.steps.values()] + [step.diff_id for step in index.steps.values()]
    if not all(references.is_digest(one) for one in (*digests, *(kept.digest for kept in index.mounts.values()))):
        raise Corrupt(f"cache {what}: it names what is no digest")
    return index


def encode(index: Index) -> bytes:
    """Return the text of an index; the same for the same content."""
    index.version = _VERSION
    return msgspec.json.encode(index, order="deterministic")


def opened(build: Build, place: Place) -> Imported:
    """Open a cache to read from; one that is not there yet is empty where it is a directory.

    Raises Corrupt, NotFound, and for a repository ImageNotFound and the errors of registries.
    """
    if place.type == "local":
        from minidock.build.exchange_local import LocalSource

        return LocalSource(place)
    from minidock.build.exchange_registry import opened as opened_there

    return opened_there(build, place)


def export(build: Build, place: Place, steps: Mapping[str, tuple[str, str, LayerRow]]) -> None:
    """Write steps to a cache, and with ``mounts`` the cache mounts that the build has named; what it has is kept.

    Steps that are not among them are forgotten. Raises NoSpace, Denied, the errors of registries.
    """
    if place.type == "local":
        from minidock.build.exchange_local import export as write

        write(build, place, steps)
    else:
        from minidock.build.exchange_registry import export as push

        push(build, place, steps)
