"""Which images an archive has: what ``index.json`` of an OCI layout and ``manifest.json`` of ``docker save`` say.

All documents are checked here, against the digests that lead to them and against each other; the layers' bytes are not
read yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from minidock.errors import Corrupt, ImageNotFound, InvalidArgument, LimitExceeded, MinidockError, Unsupported
from minidock.images import content, manifests, references, tars
from minidock.images.platforms import Platform
from minidock.spec import decoding, strict_json
from minidock.spec.oci_image import CONFIG, INDEX, Descriptor, ImageConfig, Index, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.images.archives import Archive

_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_MAX_NESTING = 3
_MAX_DOCUMENTS = 5000


class Document(Struct):
    """A manifest, index or configuration as it came, and its digest."""

    media_type: str
    digest: str
    data: bytes


class ArchiveLayer(Struct):
    """A layer of an image in an archive: the member that it is, and what is said of it."""

    path: str
    diff_id: str
    descriptor: Descriptor | None = None
    """None in ``manifest.json``, which says nothing of a layer but where it is."""


class Content(Struct):
    """One image of an archive."""

    config: Document
    image: ImageConfig
    layers: list[ArchiveLayer]
    names: list[str] = field(default_factory=list)
    """Canonical names."""
    manifest: Document | None = None
    indexes: list[Document] = field(default_factory=list)
    """Those above it, the topmost first."""

    @property
    def platform(self) -> Platform:
        """What it runs on."""
        return Platform(self.image.os or "linux", self.image.architecture, self.image.variant)

    @property
    def target(self) -> str | None:
        """The digest of what its names stand for."""
        if self.indexes:
            return self.indexes[0].digest
        return None if self.manifest is None else self.manifest.digest


class _Entry(Struct, rename="pascal"):
    """One image of ``manifest.json``."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None


class _Layout(Struct):
    version: str = field(name="imageLayoutVersion")


class _Missing(Corrupt):
    """A blob is not in the archive."""


def read(archive: Archive, platform: Platform | None) -> list[Content]:
    """The images of an archive, in its order; with ``platform``, those for it.

    Raises Corrupt for what is damaged, contradicts itself or is no archive of images, Unsupported, LimitExceeded, and
    ImageNotFound when an image is not there for the platform.
    """
    has_index, has_manifest = archive.has("index.json"), archive.has("manifest.json")
    try:
        if has_index:
            found = _Layouts(archive).read()
            if has_manifest:
                _agree(archive, found)
        elif has_manifest:
            found = list(_docker(archive))
        elif archive.has("repositories"):
            raise Unsupported("written by Docker before 1.10, without manifest.json; load and save it with a newer one")
        else:
            raise Corrupt(
                "neither index.json nor manifest.json in it: no archive of images; a root filesystem is for "
                "`minidock import`"
            )
    except MinidockError as error:
        raise _about(archive, error) from error
    if not found:
        raise Corrupt(f"load {archive.name}: no images in it")
    return found if platform is None else _only(archive, found, platform)


def read_one(archive: Archive, tag: str, digest: str, platform: Platform) -> Content:
    """The image of an OCI layout that a digest names, else a tag, else the only one that it has.

    Of several platforms it is the one that fits best. Raises as :func:`read`.
    """
    try:
        found = _Layouts(archive).named(tag, digest)
        fitting = [(rank, one) for one in found if (rank := platform.rank(one.platform)) is not None]
        if fitting:
            return min(fitting, key=lambda pair: pair[0])[1]
        return found[0] if len(found) == 1 and not found[0].indexes else _only(archive, found, platform)[0]
    except MinidockError as error:
        raise _about(archive, error) from error


def _about(archive: Archive, error: MinidockError) -> MinidockError:
    text = str(error)
    return error if archive.name in text else type(error)(f"load {archive.name}: {text}")


def _only(archive: Archive, found: list[Content], platform: Platform) -> list[Content]:
    chosen = [one for one in found if platform.accepts(one.platform)]
    if not chosen:
        there = ", ".join(dict.fromkeys(str(one.platform) for one in found))
        raise ImageNotFound(f"load {archive.name}: no image for the platform {platform} in it; it has {there}")
    return chosen


class _Layouts:
    """Reads an OCI layout."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._documents = 0

    def _index(self) -> Index:
        """``index.json``."""
        archive = self._archive
        if archive.has("oci-layout"):
            layout = _convert(
                strict_json.loads(archive.read("oci-layout", 1 << 16), "oci-layout"), _Layout, "oci-layout"
            )
            if not layout.version.startswith("1."):
                raise Unsupported(f"OCI layout of version {layout.version[:20]!r}; minidock knows 1")
        return manifests.parse_index(INDEX, archive.read("index.json", manifests.MAX_DOCUMENT))

    def named(self, tag: str, digest: str) -> list[Content]:
        """What a digest or a tag stands for, for every platform that is there."""
        entries = list({entry.digest: entry for entry in manifests.images_of(self._index())}.values())
        if digest:
            listed = next((entry for entry in entries if entry.digest == digest), None)
            return self._entry(listed or self._direct(digest), [])
        chosen = [entry for entry in entries if entry.annotations.get(_REF_NAME) == tag][-1:]
        chosen = chosen or (entries if len(entries) == 1 else [])
        if not chosen:
            tags = ", ".join(sorted(filter(None, (entry.annotations.get(_REF_NAME) for entry in entries))))
            raise ImageNotFound(f"no image with the tag {tag!r} in it; it has {tags or 'no tags: name a digest'}")
        return self._entry(chosen[0], [])

    def _direct(self, digest: str) -> Descriptor:
        """A manifest or an index that index.json does not list."""
        path = _blob(digest)
        if not self._archive.has(path):
            raise ImageNotFound(f"no image {digest} in it")
        data = self._archive.read(path, manifests.MAX_DOCUMENT)
        return Descriptor(manifests.media_type_of(data), digest, len(data))

    def read(self) -> list[Content]:
        index = self._index()
        names: dict[str, list[str]] = {}
        entries: dict[str, Descriptor] = {}
        for entry in manifests.images_of(index):
            first = entries.setdefault(entry.digest, entry)
            if (first.media_type, first.size) != (entry.media_type, entry.size):
                raise Corrupt(f"index.json: {entry.digest} comes twice, as different things")
            name = _name_of(entry.annotations)
            if name is not None:
                if any(name in others for digest, others in names.items() if digest != entry.digest):
                    raise Corrupt(f"index.json: the name {name!r} stands for two things")
                names.setdefault(entry.digest, []).append(name)
        found = []
        other: Unsupported | None = None
        for digest, entry in entries.items():
            try:
                below = self._entry(entry, [])
            except Unsupported as error:
                if digest in names:
                    raise
                other = error  # a signature, say, beside the images
                continue
            for one in below:
                one.names = list(dict.fromkeys(names.get(digest, ())))
                found.append(one)
        if other is not None and not found:
            raise other
        return found

    def _entry(self, descriptor: Descriptor, above: list[Document]) -> list[Content]:
        document = self._document(descriptor)
        parsed = manifests.parse(descriptor.media_type, document.data)
        if isinstance(parsed, Manifest):
            return [self._image(document, parsed, above)]
        above = [*above, document]
        if len(above) > _MAX_NESTING:
            raise LimitExceeded(f"index {descriptor.digest}: indexes more than {_MAX_NESTING} deep")
        found: list[Content] = []
        failure: MinidockError | None = None
        for entry in {entry.digest: entry for entry in manifests.images_of(parsed)}.values():
            try:
                found += self._entry(entry, above)
            except (_Missing, Unsupported) as error:
                # An archive may have some of the platforms only, and other systems' images are none of ours.
                failure = failure or error
        if not found:
            raise failure or Corrupt(f"index {descriptor.digest}: no images in it")
        return found

    def _image(self, document: Document, manifest: Manifest, above: list[Document]) -> Content:
        config = self._document(manifest.config)
        image = manifests.parse_config(config.data)
        layers = []
        for layer in manifests.layers(manifest, image):
            path = _blob(layer.descriptor.digest)
            part = self._archive.find(path)
            if part is None:
                raise _Missing(f"layer {layer.descriptor.digest} is missing")
            part.close()
            if part.size != layer.descriptor.size:
                raise Corrupt(
                    f"layer {layer.descriptor.digest}: {part.size} bytes, and the manifest says {layer.descriptor.size}"
                )
            layers.append(ArchiveLayer(path, layer.diff_id, layer.descriptor))
        return Content(config, image, layers, manifest=document, indexes=above)

    def _document(self, descriptor: Descriptor) -> Document:
        """A blob that a descriptor leads to, checked."""
        self._documents += 1
        if self._documents > _MAX_DOCUMENTS:
            raise LimitExceeded(f"more than {_MAX_DOCUMENTS} manifests and configurations")
        if not descriptor.digest.startswith("sha256:"):
            raise Unsupported(f"blob {descriptor.digest[:80]}: minidock stores sha256 only")
        path = _blob(descriptor.digest)
        if not self._archive.has(path):
            raise _Missing(f"blob {descriptor.digest} is missing")
        data = self._archive.read(path, manifests.MAX_DOCUMENT)
        if len(data) != descriptor.size:
            raise Corrupt(f"blob {descriptor.digest}: {len(data)} bytes, and its descriptor says {descriptor.size}")
        found = content.digest_of(data)
        if found != descriptor.digest:
            raise Corrupt(f"blob {descriptor.digest}: its digest is {found}")
        return Document(descriptor.media_type, descriptor.digest, data)


def _docker(archive: Archive) -> Iterator[Content]:
    """The images of ``manifest.json``."""
    for entry in _entries(archive):
        config = _config(archive, entry)
        image = manifests.parse_config(config.data)
        paths, diff_ids = entry.layers or [], image.rootfs.diff_ids
        if len(paths) != len(diff_ids):
            raise Corrupt(
                f"manifest.json: {len(paths)} layers, and the image's configuration speaks of {len(diff_ids)}"
            )
        layers = [
            ArchiveLayer(tars.normal(path, "layer"), diff_id) for path, diff_id in zip(paths, diff_ids, strict=True)
        ]
        for layer in layers:
            if not archive.has(layer.path):
                raise Corrupt(f"layer {layer.path[:200]!r} is missing")
        yield Content(config, image, layers, names=_tags(entry))


def _agree(archive: Archive, found: list[Content]) -> None:
    """Refuse an archive whose ``manifest.json`` contradicts its ``index.json``; add names that only the former has."""
    by_id: dict[str, list[Content]] = {}
    by_name: dict[str, set[str]] = {}
    for one in found:
        by_id.setdefault(one.config.digest, []).append(one)
        for name in one.names:
            by_name.setdefault(name, set()).add(one.config.digest)
    for entry in _entries(archive):
        image_id = _config(archive, entry).digest
        if image_id not in by_id:
            raise Corrupt(f"manifest.json has the image {image_id}, and index.json does not")
        if len(entry.layers or ()) != len(by_id[image_id][0].layers):
            raise Corrupt(f"manifest.json and index.json disagree about the layers of image {image_id}")
        for name in _tags(entry):
            if name not in by_name:
                by_id[image_id][0].names.append(name)
            elif image_id not in by_name[name]:
                raise Corrupt(f"manifest.json and index.json disagree about what {name!r} is")


def _entries(archive: Archive) -> list[_Entry]:
    document = strict_json.loads(archive.read("manifest.json", manifests.MAX_DOCUMENT), "manifest.json")
    if not isinstance(document, list):
        raise Corrupt("manifest.json: not a list of images")
    for one in document:
        if isinstance(one, dict) and len({key.lower() for key in one}) != len(one):
            raise Corrupt("manifest.json: a key comes twice, in another case")
    entries: list[_Entry] = _convert(document, list[_Entry], "manifest.json")
    if len(entries) > _MAX_DOCUMENTS:
        raise LimitExceeded(f"manifest.json: more than {_MAX_DOCUMENTS} images")
    return entries


def _config(archive: Archive, entry: _Entry) -> Document:
    path = tars.normal(entry.config, "configuration")
    data = archive.read(path, manifests.MAX_CONFIG)
    digest = content.digest_of(data)
    claimed = path.rpartition("/")[2].removesuffix(".json")
    if references.is_digest(f"sha256:{claimed}") and f"sha256:{claimed}" != digest:
        raise Corrupt(f"configuration {path[:200]!r}: its digest is {digest}")
    return Document(CONFIG, digest, data)


def _tags(entry: _Entry) -> list[str]:
    found = []
    for text in entry.repo_tags or ():
        reference = _reference(text, "manifest.json")
        if reference is not None:
            found.append(reference)
    return list(dict.fromkeys(found))


def _name_of(annotations: dict[str, str]) -> str | None:
    """The canonical name that an index gives an entry, if any. A bare tag, as the image-spec has it, is no name."""
    if _NAME in annotations:
        return _reference(annotations[_NAME], "index.json")
    text = annotations.get(_REF_NAME, "")
    if ":" not in text and "/" not in text:
        return None
    try:
        return _reference(text, "index.json")
    except Corrupt:
        return None  # the image-spec allows more than references do


def _reference(text: str, where: str) -> str | None:
    try:
        reference = references.parse(text)
    except InvalidArgument as error:
        raise Corrupt(f"{where}: {error}") from error
    if reference.tag is None and reference.digest is not None:
        return None
    return reference._replace(digest=None).with_default_tag().canonical


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _convert(document: Any, kind: Any, what: str) -> Any:
    try:
        return decoding.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Corrupt(f"{what}: {_short(error)}") from error


def _short(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:200]
