"""``save``: images as one tar that is both an OCI layout and what ``docker load`` of any age reads.

The same images give the same bytes: blobs by digest, each once, then the documents; all times are 0. What the store
keeps as it travelled is copied, and then the image's manifest is the very one it came with; the other layers are put
together again, uncompressed.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from minidock.errors import Corrupt, ImageNotFound, InvalidArgument
from minidock.images import content, manifests, outputs, platforms, references, writing
from minidock.images.announcing import announce
from minidock.images.writing import Blob
from minidock.spec import oci_image
from minidock.spec.oci_image import Descriptor
from minidock.store.failures import translated
from minidock.store.images import ImageRow
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from minidock.images.lookup import ImageLookup
    from minidock.images.outputs import Out
    from minidock.images.references import Reference
    from minidock.store.layers import LayerRow
    from minidock.store.store import Store

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_encoder = msgspec.json.Encoder()


class _Image(Struct):
    """An image to save."""

    row: ImageRow
    config: oci_image.ImageConfig
    manifest: Descriptor
    layers: list[Descriptor]
    names: list[Reference] = field(default_factory=list)


class _Name(Struct):
    """What one argument or tag stands for: a manifest or an index, under a name or without one."""

    descriptor: Descriptor
    images: list[str]
    """Ids; the first is what a reader without platforms gets."""
    reference: Reference | None


def save(
    collection: ImageLookup,
    store: Store,
    names: Sequence[str],
    out: Out,
    *,
    platform: str | None,
    manifest: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> None:
    """Write images to a path, a descriptor or a binary file; see :meth:`ImageLookup.save`.

    ``manifest`` is the one to choose where nothing names another; ``annotations`` are in ``index.json`` at each image.
    """
    with _prepared(collection, store, names, platform, manifest=manifest) as plan:
        plan.annotations = dict(annotations or {})
        outputs.write_to(out, plan.write, "save")


def save_built(
    collection: ImageLookup,
    store: Store,
    document: bytes,
    layers: Sequence[LayerRow],
    fd: int,
    *,
    names: Sequence[Reference],
    annotations: tuple[Mapping[str, str], Mapping[str, str]],
) -> str:
    """Write an image that was built and is none of the store's, but for its layers, which are held; returns the
    digest of its manifest. ``annotations`` are the manifest's, and those in ``index.json``."""
    with Workspace(store.paths, "save") as work:
        plan = _Plan(collection, store, work, None)
        plan.annotations = dict(annotations[1])
        try:
            row = ImageRow(content.digest_of(document), document, None, 0, 0)
            digest = plan.add_built(row, layers, names, annotations[0])
            plan.write(fd)
        finally:
            store.layers.release(work)
    return digest


def stream(
    collection: ImageLookup, store: Store, names: Sequence[str], *, platform: str | None, chunk_size: int
) -> Iterator[bytes]:
    """The same as chunks of at most ``chunk_size`` bytes; what is wrong with the names is raised at the first."""
    with _prepared(collection, store, names, platform) as plan:
        yield from outputs.piped(plan.write, chunk_size)


@contextlib.contextmanager
def _prepared(
    collection: ImageLookup,
    store: Store,
    names: Sequence[str],
    platform: str | None,
    *,
    manifest: str | None = None,
) -> Iterator[_Plan]:
    """A plan, whose blobs and layers stay until the end."""
    if isinstance(names, str):
        names = [names]
    if not names:
        raise InvalidArgument("save: no image was named")
    wanted = None if platform is None else platforms.parse(platform)
    _ = store.database
    with Workspace(store.paths, "save") as work:
        plan = _Plan(collection, store, work, wanted)
        plan.preferred = manifest
        try:
            for name in names:
                plan.check(name)
            # One transaction: an image that is removed meanwhile is either saved whole or not found.
            with store.database.transaction():
                for name in names:
                    plan.add(name)
            yield plan
            for image_id in plan.image_ids:
                row = store.images.by_id(image_id)
                if row is not None:
                    announce(store, "save", row)
        finally:
            store.layers.release(work)


class _Plan:
    """What goes into an archive."""

    def __init__(
        self, collection: ImageLookup, store: Store, work: Workspace, wanted: platforms.Platform | None
    ) -> None:
        self._collection = collection
        self._store = store
        self._work = work
        self._wanted = wanted
        self._blobs: dict[str, Blob] = {}
        self._images: dict[str, _Image] = {}
        self._names: list[_Name] = []
        self.preferred: str | None = None
        """The manifest of an image that is asked for by its id."""
        self.annotations: dict[str, str] = {}
        """Of each entry of ``index.json``, besides its names."""

    # What is asked for

    def check(self, name: str) -> None:
        """Raise ImageNotFound or InvalidArgument for an argument that means nothing here."""
        if not self._is_repository(name):
            self._collection.resolve_all(name)

    def add(self, name: str) -> None:
        """Add what one argument means: an image by id or digest, a name, or a repository with all its tags."""
        if self._is_repository(name):
            for tag in self._tags_of(name):
                self._add_tag(tag, self._collection.resolve_all(tag.familiar)[0])
            return
        rows, reference = self._collection.resolve_all(name)
        if reference is not None and reference.digest is None:
            self._add_tag(reference, rows)
            return
        for row in self._chosen(rows, name):
            self._add(_Name(self._image(row, self.preferred).manifest, [row.id], None))

    def _is_repository(self, name: str) -> bool:
        """Whether it names a repository that has tags here: then all of them are meant, as in Docker."""
        if name.startswith("sha256:"):
            return False
        reference = references.parse(name)
        return reference.tag is None and reference.digest is None and bool(self._tags_of(name))

    def _tags_of(self, name: str) -> list[Reference]:
        wanted = references.parse(name).name
        tags = {tag.name for tag in self._store.names.tags()}
        found = [references.from_canonical(tag) for tag in sorted(tags)]
        return [reference for reference in found if reference.name == wanted]

    def _add_tag(self, reference: Reference, rows: list[ImageRow]) -> None:
        tag = self._store.names.get(reference.canonical)
        if tag is not None:
            rows = sorted(rows, key=lambda row: row.id != tag.image_id)
        rows = self._chosen(rows, reference.familiar)
        own = [row for row in rows if platforms.host().accepts(self._platform(row))]
        rows = own[:1] + [row for row in rows if row not in own[:1]]
        target = None if tag is None else tag.target
        descriptor = self._index(target, rows) if self._wanted is None and target is not None else None
        if descriptor is None:
            images = [self._image(row, target) for row in rows]
            descriptor = images[0].manifest if len(images) == 1 else self._new_index(images)
        for row in rows[:1]:
            self._images[row.id].names.append(reference)
        self._add(_Name(descriptor, [row.id for row in rows], reference))

    def _add(self, name: _Name) -> None:
        if name not in self._names:
            self._names.append(name)

    def _chosen(self, rows: list[ImageRow], name: str) -> list[ImageRow]:
        wanted = self._wanted
        if wanted is None:
            return rows
        found = [row for row in rows if wanted.accepts(self._platform(row))]
        if not found:
            there = ", ".join(str(self._platform(row)) for row in rows)
            raise ImageNotFound(f"no such image: {name} for the platform {wanted}; here it is {there}")
        return found[:1]

    def _platform(self, row: ImageRow) -> platforms.Platform:
        config = self._collection.decode_config(row)
        return platforms.Platform(config.os or "linux", config.architecture, config.variant)

    @property
    def image_ids(self) -> list[str]:
        """The images that it holds."""
        return list(self._images)

    # What that consists of

    def _index(self, digest: str, rows: list[ImageRow]) -> Descriptor | None:
        """The index that a name stands for, if the store has all that it leads to."""
        data = self._document(digest, manifests.INDEXES)
        if data is None:
            return None
        held = {row.id: row for row in rows}
        blobs, images = dict(self._blobs), dict(self._images)
        descriptor = self._whole(Descriptor(data[0], digest, len(data[1])), data[1], held)
        if descriptor is None or held:
            self._blobs, self._images = blobs, images
            return None
        return descriptor

    def _whole(self, descriptor: Descriptor, data: bytes, left: dict[str, ImageRow]) -> Descriptor | None:
        """Add an index and all below it; images are taken from ``left``. None when something is not here."""
        for entry in manifests.parse_index(descriptor.media_type, data).manifests:
            below = self._document(entry.digest, manifests.INDEXES | manifests.MANIFESTS)
            if below is None or below[0] != entry.media_type:
                return None
            if below[0] in manifests.INDEXES:
                if self._whole(entry, below[1], left) is None:
                    return None
                continue
            manifest = manifests.parse_manifest(below[0], below[1])
            row = left.pop(manifest.config.digest, None)
            if row is None or self._image(row, entry.digest).manifest.digest != entry.digest:
                return None
        self._bytes(descriptor.digest, data)
        return descriptor

    def _new_index(self, images: list[_Image]) -> Descriptor:
        """An index for the platforms that are here."""
        entries = []
        for image in sorted(images, key=lambda image: image.manifest.digest):
            config = image.config
            platform = oci_image.Platform(config.architecture, config.os or "linux", variant=config.variant)
            manifest = image.manifest
            entries.append(Descriptor(manifest.media_type, manifest.digest, manifest.size, platform=platform))
        data = _encoder.encode(oci_image.Index(2, entries, media_type=oci_image.INDEX))
        digest = content.digest_of(data)
        self._bytes(digest, data)
        return Descriptor(oci_image.INDEX, digest, len(data))

    def _image(self, row: ImageRow, preferred: str | None = None) -> _Image:
        """Add an image: its configuration, its layers, and the manifest that they fit."""
        if row.id in self._images:
            return self._images[row.id]
        layers = self._store.layers.of_image(row.id)
        return self._whole_image(row, self._manifest(row, layers, preferred) or self._new_manifest(row, layers))

    def _new_manifest(
        self, row: ImageRow, layers: Sequence[LayerRow], annotations: Mapping[str, str] | None = None
    ) -> tuple[str, bytes, list[Descriptor]]:
        """A manifest for an image that has none which fits."""
        descriptors = [self._travelled(layer) or self._plain(layer) for layer in layers]
        manifest = oci_image.Manifest(
            schema_version=2,
            media_type=oci_image.MANIFEST,
            config=Descriptor(oci_image.CONFIG, row.id, len(row.config)),
            layers=descriptors,
            annotations=dict(sorted((annotations or {}).items())),
        )
        return oci_image.MANIFEST, _encoder.encode(manifest), descriptors

    def add_built(
        self, row: ImageRow, layers: Sequence[LayerRow], names: Sequence[Reference], annotations: Mapping[str, str]
    ) -> str:
        """Add an image of which the store has only the layers; returns its manifest's digest."""
        image = self._whole_image(row, self._new_manifest(row, layers, annotations))
        image.names += names
        for name in names or (None,):
            self._add(_Name(image.manifest, [row.id], name))
        return image.manifest.digest

    def _whole_image(self, row: ImageRow, manifest: tuple[str, bytes, list[Descriptor]]) -> _Image:
        media_type, data, descriptors = manifest
        digest = content.digest_of(data)
        self._bytes(digest, data)
        self._bytes(row.id, row.config)
        config = self._collection.decode_config(row)
        image = _Image(row, config, Descriptor(media_type, digest, len(data)), descriptors)
        self._images[row.id] = image
        return image

    def _manifest(
        self, row: ImageRow, layers: list[LayerRow], preferred: str | None
    ) -> tuple[str, bytes, list[Descriptor]] | None:
        """A manifest of the image that is here with all that it lists, the preferred one if possible."""
        known = sorted(
            blob.digest for blob in self._store.blobs.of_image(row.id) if blob.media_type in manifests.MANIFESTS
        )
        for digest in dict.fromkeys(filter(None, (preferred, row.manifest, *known))):
            data = self._document(digest, manifests.MANIFESTS)
            if data is None:
                continue
            manifest = manifests.parse_manifest(*data)
            if manifest.config.digest != row.id or len(manifest.layers) != len(layers):
                continue
            pairs = list(zip(manifest.layers, layers, strict=True))
            if all(self._has(descriptor, layer) for descriptor, layer in pairs):
                for descriptor, layer in pairs:
                    self._layer(descriptor, layer)
                return (*data, manifest.layers)
        return None

    def _has(self, descriptor: Descriptor, layer: LayerRow) -> bool:
        plain = descriptor.digest == layer.diff_id and manifests.LAYERS[descriptor.media_type] == "none"
        return descriptor.digest in self._blobs or plain or self._store.blobs.is_kept(descriptor.digest)

    def _layer(self, descriptor: Descriptor, layer: LayerRow) -> None:
        """Add one layer in one form, and see to it that it stays until it is written."""
        digest = descriptor.digest
        if digest in self._blobs:
            return
        if self._store.blobs.is_kept(digest):
            path = self._work.join(digest.removeprefix("sha256:"))
            with translated("read", self._store.paths.blob(digest)):
                with contextlib.suppress(FileExistsError):
                    os.link(self._store.paths.blob(digest), path)
                size = os.stat(path).st_size
            if size != descriptor.size:
                raise Corrupt(f"blob {digest}: {size} bytes in the store, and its manifest says {descriptor.size}")
            self._blobs[digest] = Blob(digest, size, path=path)
            return
        self._store.layers.lease(self._work, [layer.diff_id])
        self._blobs[digest] = Blob(digest, descriptor.size, layer=layer)

    def _travelled(self, layer: LayerRow) -> Descriptor | None:
        """A layer in a form that is kept."""
        for blob in self._store.blobs.of_layer(layer.diff_id):
            compression = manifests.LAYERS.get(blob.media_type)
            if blob.kept and compression is not None:
                descriptor = Descriptor(writing.LAYER_TYPES[compression], blob.digest, blob.size)
                self._layer(descriptor, layer)
                return descriptor
        return None

    def _plain(self, layer: LayerRow) -> Descriptor:
        """A layer as it is put together."""
        descriptor = Descriptor(oci_image.LAYER, layer.diff_id, writing.tar_size(self._store, layer))
        self._layer(descriptor, layer)
        return descriptor

    def _document(self, digest: str, kinds: frozenset[str]) -> tuple[str, bytes] | None:
        """Media type and bytes of a manifest or index that the store keeps."""
        blob = self._store.blobs.get(digest)
        if blob is None or not blob.kept or blob.media_type not in kinds:
            return None
        return blob.media_type, content.read(self._store.paths, digest)

    def _bytes(self, digest: str, data: bytes) -> None:
        self._blobs[digest] = Blob(digest, len(data), data=data)

    # The archive

    def write(self, fd: int) -> None:
        """Write the archive to a descriptor. Raises NoSpace, and Corrupt for a damaged store."""
        blobs = [(f"blobs/sha256/{digest.removeprefix('sha256:')}", self._blobs[digest]) for digest in self._blobs]
        blobs.sort(key=lambda pair: pair[0])
        documents = [(path, Blob("", len(data), data=data)) for path, data in self._documents()]
        writing.write(self._store, fd, ["blobs/", "blobs/sha256/"], [*blobs, *documents])

    def _documents(self) -> list[tuple[str, bytes]]:
        found = [
            ("index.json", _encoder.encode(self._top())),
            ("manifest.json", _encoder.encode(self._manifests()) + b"\n"),
            ("oci-layout", _LAYOUT),
        ]
        repositories = self._repositories()
        if repositories:
            found.append(("repositories", _encoder.encode(repositories) + b"\n"))
        return found

    def _top(self) -> oci_image.Index:
        named = {name.descriptor.digest for name in self._names if name.reference is not None}
        entries = []
        for name in self._names:
            descriptor, reference = name.descriptor, name.reference
            if reference is not None:
                annotations = {
                    **self.annotations,
                    _NAME: reference.canonical,
                    _REF_NAME: reference.tag or references.DEFAULT_TAG,
                }
                entries.append(Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, [], annotations))
            elif descriptor.digest not in named:
                entries.append(
                    Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, [], self.annotations)
                )
        return oci_image.Index(2, entries, media_type=oci_image.INDEX)

    def _manifests(self) -> list[dict[str, Any]]:
        """What ``docker load`` reads: of several platforms it gets the host's."""
        found = []
        for image_id in dict.fromkeys(name.images[0] for name in self._names):
            image = self._images[image_id]
            diff_ids = image.config.rootfs.diff_ids
            found.append(
                {
                    "Config": f"blobs/sha256/{image_id.removeprefix('sha256:')}",
                    "RepoTags": [name.familiar for name in image.names] or None,
                    "Layers": [f"blobs/sha256/{layer.digest.removeprefix('sha256:')}" for layer in image.layers],
                    "LayerSources": {
                        diff_id: {"mediaType": layer.media_type, "size": layer.size, "digest": layer.digest}
                        for diff_id, layer in zip(diff_ids, image.layers, strict=True)
                    },
                }
            )
        return found

    def _repositories(self) -> dict[str, dict[str, str]]:
        """What Docker before 1.10 had in place of ``manifest.json``; others still list names by it."""
        found: dict[str, dict[str, str]] = {}
        for name in self._names:
            layers = self._images[name.images[0]].layers
            if name.reference is not None and layers:
                tags = found.setdefault(name.reference.familiar_name, {})
                tags[name.reference.tag or references.DEFAULT_TAG] = layers[-1].digest.removeprefix("sha256:")
        return found
