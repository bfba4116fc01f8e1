"""Manifests, indexes and configurations of images as registries and archives give them: checked, then decoded.

They come from strangers. What two readers could understand differently is refused: a media type that the document
itself contradicts, a manifest that has an index's fields (CVE-2021-41190), a key that comes twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from minidock.errors import Corrupt, ImageNotFound, LimitExceeded, Unsupported
from minidock.images.references import is_digest
from minidock.spec import decoding, strict_json
from minidock.spec.oci_image import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_LAYER_PLAIN,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.images.platforms import Platform

MANIFESTS = frozenset((MANIFEST, DOCKER_MANIFEST))
INDEXES = frozenset((INDEX, DOCKER_INDEX))
LAYERS = {
    LAYER: "none",
    LAYER_GZIP: "gzip",
    LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "gzip",
    DOCKER_LAYER_PLAIN: "none",
    DOCKER_LAYER_ZSTD: "zstd",
}
"""Media types of layers, and their compression."""

MAX_DOCUMENT = 4 << 20
"""Largest manifest or index, in bytes (distribution-spec: clients accept at least this)."""
MAX_CONFIG = 4 << 20
MAX_LAYERS = 500
"""The kernel stacks no more."""
_MAX_ENTRIES = 5000
_SIZE_MAX = 1 << 50
_SHOWN = 30
"""Platforms of an index that an error names."""

T = TypeVar("T")


class Layer(NamedTuple):
    """One layer of an image: what travels, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: str


def media_type_of(data: bytes) -> str:
    """What a document is by its own words, where no header says it: an archive, a blob.

    Raises Corrupt when it does not say it, or says two things.
    """
    document = _load(data, "manifest")
    claimed = document.get("mediaType")
    if isinstance(claimed, str) and claimed:
        return claimed
    if "manifests" in document and "layers" not in document and "config" not in document:
        return INDEX
    if "layers" in document and "config" in document and "manifests" not in document:
        return MANIFEST
    raise Corrupt("read manifest: it does not say what it is: no mediaType, and neither layers nor manifests alone")


def parse(media_type: str, data: bytes) -> Manifest | Index:
    """Decode a manifest or an index whose source says that it is ``media_type``.

    Raises Corrupt for one that is damaged, ambiguous or of another type, Unsupported for schema 1 and artifacts,
    LimitExceeded.
    """
    if media_type in MANIFESTS:
        return parse_manifest(media_type, data)
    if media_type in INDEXES:
        return parse_index(media_type, data)
    if "manifest.v1" in media_type and "docker" in media_type:
        raise Unsupported("read manifest: Docker's schema 1, retired in 2019; push the image again with a current tool")
    raise Corrupt(f"read manifest: {media_type[:100]!r} is not the media type of an image's manifest or index")


def parse_manifest(media_type: str, data: bytes) -> Manifest:
    """Decode the manifest of one image; errors as in :func:`parse`."""
    document = _checked(media_type, data, "manifest", ("manifests", "fsLayers", "history"))
    _no_null(document, "layers")
    manifest = _convert(document, Manifest, "manifest")
    _check_descriptor(manifest.config, "manifest: config")
    if manifest.config.media_type not in (CONFIG, DOCKER_CONFIG):
        raise Unsupported(
            f"read manifest: its config is {manifest.config.media_type[:100]!r}: an artifact, not a container image"
        )
    if manifest.config.size > MAX_CONFIG:
        raise LimitExceeded(f"read manifest: a configuration of {manifest.config.size} bytes, more than {MAX_CONFIG}")
    if len(manifest.layers) > MAX_LAYERS:
        raise LimitExceeded(f"read manifest: {len(manifest.layers)} layers, and the kernel stacks {MAX_LAYERS}")
    for number, layer in enumerate(manifest.layers):
        _check_descriptor(layer, f"manifest: layer {number}")
        if "foreign" in layer.media_type or "nondistributable" in layer.media_type:
            raise Unsupported(
                f"read manifest: layer {number} is foreign: it lies elsewhere than in the registry, and minidock "
                "fetches from registries only"
            )
        if layer.media_type not in LAYERS:
            raise Unsupported(f"read manifest: layer {number} is {layer.media_type[:100]!r}, not a layer of an image")
    return manifest


def parse_index(media_type: str, data: bytes) -> Index:
    """Decode an index; errors as in :func:`parse`."""
    document = _checked(media_type, data, "index", ("layers", "config", "fsLayers", "history"))
    _no_null(document, "manifests")
    index = _convert(document, Index, "index")
    if len(index.manifests) > _MAX_ENTRIES:
        raise LimitExceeded(f"read index: {len(index.manifests)} manifests, more than {_MAX_ENTRIES}")
    for number, one in enumerate(index.manifests):
        _check_descriptor(one, f"index: manifest {number}", any_digest=True)
    return index


def parse_config(data: bytes) -> ImageConfig:
    """Decode an image's configuration. Raises Corrupt, Unsupported for another system than Linux, LimitExceeded."""
    if len(data) > MAX_CONFIG:
        raise LimitExceeded(f"read image configuration: {len(data)} bytes, more than {MAX_CONFIG}")
    document = _load(data, "image configuration")
    if isinstance(document.get("rootfs"), dict):
        _no_null(document["rootfs"], "diff_ids")
    config = _convert(document, ImageConfig, "image configuration")
    if config.rootfs.type != "layers":
        raise Corrupt(f"read image configuration: rootfs of type {config.rootfs.type[:40]!r}, not layers")
    if len(config.rootfs.diff_ids) > MAX_LAYERS:
        raise LimitExceeded(
            f"read image configuration: {len(config.rootfs.diff_ids)} layers, and the kernel stacks {MAX_LAYERS}"
        )
    for diff_id in config.rootfs.diff_ids:
        _check_digest(diff_id, "image configuration: diff_ids")
    if config.os not in ("linux", ""):
        raise Unsupported(f"read image configuration: made for {config.os[:40]!r}; minidock runs Linux containers only")
    return config


def layers(manifest: Manifest, config: ImageConfig) -> list[Layer]:
    """Pair a manifest's layers with their diff_ids, lowest first.

    Raises Corrupt when there are not as many, or one blob shall be two different tars.
    """
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise Corrupt(f"read manifest: {len(manifest.layers)} layers, and its configuration speaks of {len(diff_ids)}")
    found = [Layer(*pair) for pair in zip(manifest.layers, diff_ids, strict=True)]
    forms = {(layer.descriptor.digest, layer.descriptor.size, layer.diff_id) for layer in found}
    if len(forms) != len({layer.descriptor.digest for layer in found}):
        raise Corrupt("read manifest: it has one layer twice, with two sizes or with two diff_ids in the configuration")
    return found


def choose(index: Index, wanted: Platform, subject: str) -> Descriptor:
    """The entry of an index that fits a platform best. Raises ImageNotFound, naming the platforms that there are."""
    from minidock.images import platforms

    best: tuple[int, Descriptor] | None = None
    there: list[str] = []
    for entry in images_of(index):
        if entry.platform is None:
            if best is None:
                best = (1 << 16, entry)
            continue
        found = platforms.Platform(entry.platform.os, entry.platform.architecture, entry.platform.variant)
        there.append(str(found))
        rank = wanted.rank(found)
        if rank is not None and (best is None or rank < best[0]):
            best = (rank, entry)
    if best is None:
        raise ImageNotFound(
            f"no matching manifest for {wanted} in the manifest list of {subject}; it has "
            f"{_listed(list(dict.fromkeys(there))) or 'no images'}: choose one with --platform"
        )
    return best[1]


def _listed(names: list[str]) -> str:
    return ", ".join(name[:40] for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def images_of(index: Index) -> Sequence[Descriptor]:
    """Entries of an index that are images or indexes of such; attestations and artifacts are not."""
    return [
        entry
        for entry in index.manifests
        if entry.media_type in MANIFESTS | INDEXES
        and "vnd.docker.reference.type" not in entry.annotations
        and not (entry.platform is not None and entry.platform.os == "unknown")
    ]


def _checked(media_type: str, data: bytes, what: str, foreign: tuple[str, ...]) -> dict[str, Any]:
    document = _load(data, what)
    claimed = document.get("mediaType", "")
    if claimed != media_type and (claimed or media_type in (DOCKER_MANIFEST, DOCKER_INDEX)):
        raise Corrupt(f"read {what}: it calls itself {str(claimed)[:100]!r}, and came as {media_type}")
    if document.get("schemaVersion") != 2:
        raise Corrupt(f"read {what}: schemaVersion is {str(document.get('schemaVersion'))[:20]!r}, not 2")
    for key in foreign:
        if key in document:
            raise Corrupt(f"read {what}: it has {key!r}, which another kind of document has")
    return document


def _load(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in ``data``; keys that come twice, or at the top in another spelling, are refused."""
    if len(data) > max(MAX_DOCUMENT, MAX_CONFIG):
        raise LimitExceeded(f"read {what}: {len(data)} bytes, more than {MAX_DOCUMENT}")
    document = strict_json.loads(data, f"read {what}")
    if not isinstance(document, dict):
        raise Corrupt(f"read {what}: not a JSON object")
    if len({key.lower() for key in document}) != len(document):
        raise Corrupt(f"read {what}: a key comes twice, in another case")
    return document


def _convert(document: dict[str, Any], kind: type[T], what: str) -> T:
    try:
        return decoding.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Corrupt(f"read {what}: {_short(error)}") from error


def _no_null(document: dict[str, Any], key: str) -> None:
    """Go writes an empty list as null."""
    if document.get(key, ()) is None:
        document[key] = []


def _check_descriptor(descriptor: Descriptor, what: str, *, any_digest: bool = False) -> None:
    if any_digest:
        if not is_digest(descriptor.digest):
            raise Corrupt(f"read {what}: {descriptor.digest[:80]!r} is not a digest")
    else:
        _check_digest(descriptor.digest, what)
    if not 0 <= descriptor.size < _SIZE_MAX:
        raise Corrupt(f"read {what}: a size of {descriptor.size} bytes")


def _check_digest(digest: str, what: str) -> None:
    if not is_digest(digest):
        raise Corrupt(f"read {what}: {digest[:80]!r} is not a digest")
    if not digest.startswith("sha256:"):
        raise Unsupported(f"read {what}: {digest.partition(':')[0]} digests; minidock stores sha256 only")


def _short(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:200]
