"""Push: an image of the store goes to a registry.

Layers that were kept as they travelled go out as they are, and the manifest with them: its digest stays. Others are
written again from their files and compressed, once: the result is kept for the next push.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.errors import (
    Corrupt,
    ImageNotFound,
    InvalidArgument,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnreachable,
)
from minidock.images import content, manifests, references
from minidock.images.fetching import short
from minidock.images.parallel import run_all, watched
from minidock.spec import oci_image
from minidock.spec.oci_image import Descriptor, Index, Manifest
from minidock.store.blobs import NewBlob
from minidock.store.failures import from_os
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from minidock.config import Config
    from minidock.images.progress import Reporter
    from minidock.images.references import Reference
    from minidock.registry.cancel import Cancel
    from minidock.registry.repository import Repository
    from minidock.store.images import ImageRow
    from minidock.store.store import Store

WORKERS = 5
"""Blobs at a time, unless the configuration's ``max-concurrent-uploads`` says otherwise; Docker's default too."""


class Document(NamedTuple):
    """A manifest or index to put, and the image of it, None for an index."""

    media_type: str
    digest: str
    data: bytes
    row: ImageRow | None


class Pusher:
    """Pushes images to one repository."""

    def __init__(
        self, store: Store, repository: Repository, config: Config, *, reporter: Reporter, cancel: Cancel
    ) -> None:
        self._store = store
        self._repository = repository
        self._workers = config.max_concurrent_uploads or WORKERS
        self._keep = content.keeps_blobs(config)
        self._reporter = reporter
        self._cancel = cancel
        self._name = f"{repository.host}/{repository.path}"
        self.size = 0
        """Bytes of the manifest or index that was put last."""

    def push(self, reference: Reference, rows: list[ImageRow], *, everything: bool) -> str:
        """Push what a tag names, and return its digest in the registry.

        ``rows`` are its images. With ``everything`` and more than the index's only image here, the index goes too.
        Raises the errors of registries, ImageNotFound when an image is removed meanwhile, Cancelled, Timeout.
        """
        tag = reference.tag or references.DEFAULT_TAG
        index = self._complete_index(reference, rows) if everything else None
        with Workspace(self._store.paths, "push") as work:
            try:
                for row in rows:
                    self._store.layers.lease(work, self._store.images.layer_diff_ids(row.id))
                if index is not None:
                    for entry in manifests.images_of(index[1]):
                        self._push_image(work, self._row_of(entry, rows), entry.digest, entry.digest)
                    document = index[0]
                    digest = self._put(tag, document)
                    for row in rows:
                        self._note(row, digest)
                else:
                    digest = self._push_image(work, rows[0], self._manifest_digest(reference, rows[0]), tag)
                    self._note(rows[0], digest)
            finally:
                self._store.layers.release(work)
        return digest

    def _complete_index(self, reference: Reference, rows: list[ImageRow]) -> tuple[Document, Index] | None:
        """The index that a tag stands for, if all of its images are here in the very form that it names."""
        tag = self._store.names.get(reference.canonical)
        if tag is None or tag.target is None or not self._store.blobs.is_kept(tag.target):
            return None
        data = content.read(self._store.paths, tag.target)
        media_type = manifests.media_type_of(data)
        parsed = manifests.parse(media_type, data)
        if not isinstance(parsed, Index):
            return None
        entries = manifests.images_of(parsed)
        if len(entries) != len(parsed.manifests):
            return None  # attestations, which are not kept here
        for entry in entries:
            if entry.media_type not in manifests.MANIFESTS or not self._is_whole(entry.digest, rows):
                return None
        return Document(media_type, tag.target, data, None), parsed

    def _is_whole(self, digest: str, rows: list[ImageRow]) -> bool:
        """Whether a manifest is of one of ``rows``, and all that it names is in the content store."""
        blobs = self._store.blobs
        if not blobs.is_kept(digest):
            return False
        data = content.read(self._store.paths, digest)
        manifest = manifests.parse_manifest(manifests.media_type_of(data), data)
        return any(row.id == manifest.config.digest for row in rows) and all(
            blobs.is_kept(layer.digest) for layer in manifest.layers
        )

    def _row_of(self, entry: Descriptor, rows: list[ImageRow]) -> ImageRow:
        data = content.read(self._store.paths, entry.digest)
        config = manifests.parse_manifest(entry.media_type, data).config.digest
        return next(row for row in rows if row.id == config)

    def _manifest_digest(self, reference: Reference, row: ImageRow) -> str | None:
        """The manifest that a tag stands for if it is the image's, else the image's own."""
        tag = self._store.names.get(reference.canonical)
        if tag is not None and tag.target is not None and self._is_manifest_of(tag.target, row):
            return tag.target
        return row.manifest

    def _is_manifest_of(self, digest: str, row: ImageRow) -> bool:
        if not self._store.blobs.is_kept(digest):
            return False
        data = content.read(self._store.paths, digest)
        parsed = manifests.parse(manifests.media_type_of(data), data)
        return isinstance(parsed, Manifest) and parsed.config.digest == row.id

    def _push_image(self, work: Workspace, row: ImageRow, digest: str | None, name: str) -> str:
        """Push one image with the manifest ``digest``, or one that is made for it, under ``name``."""
        if digest is None or not self._store.blobs.is_kept(digest):
            raise ImageNotFound(f"push {row.id}: its manifest is not in the store; pull or import the image again")
        data = content.read(self._store.paths, digest)
        media_type = manifests.media_type_of(data)
        manifest = manifests.parse_manifest(media_type, data)
        layers = manifests.layers(manifest, manifests.parse_config(row.config))
        unique = list({layer.diff_id: layer for layer in layers}.values())
        for layer in unique:
            self._reporter.tell("Preparing", short(layer.diff_id))
        sent = dict(
            zip(
                [layer.diff_id for layer in unique],
                run_all(
                    [partial(self._push_layer, work, row, layer) for layer in unique],
                    self._workers,
                    self._cancel,
                ),
                strict=True,
            )
        )
        self._push_config(manifest.config, row)
        final = [sent[layer.diff_id] for layer in layers]
        if final == [layer.descriptor for layer in layers]:
            return self._put(name, Document(media_type, digest, data, row))
        return self._put(name, self._rewritten(work, row, manifest, final, original=digest))

    def _push_layer(self, work: Workspace, row: ImageRow, layer: manifests.Layer) -> Descriptor:
        """Make sure that the registry has a layer; returns the form in which it has it."""
        store, name = self._store, short(layer.diff_id)
        forms = [layer.descriptor] if layer.descriptor.media_type not in _PLAIN else []
        forms += [
            Descriptor(oci_type(known.media_type), known.digest, known.size)
            for known in store.blobs.of_layer(layer.diff_id)
            if known.digest != layer.descriptor.digest and known.media_type in manifests.LAYERS
        ]
        if layer.descriptor.media_type in _PLAIN and store.blobs.is_kept(layer.descriptor.digest):
            forms.insert(0, layer.descriptor)  # came uncompressed, and goes so
        for form in forms:
            if self._has(form.digest, name):
                return form
        for form in forms:
            if store.blobs.is_kept(form.digest):
                self._upload(form, store.paths.blob(form.digest), name)
                return form
        return self._compress(work, row, layer, name)

    def _has(self, digest: str, name: str) -> bool:
        """Whether the repository has a blob, perhaps by a mount from another one of the same registry."""
        if self._repository.has_blob(digest, cancel=self._cancel) is not None:
            self._reporter.tell("Layer already exists", name)
            return True
        for source in self._store.blobs.repositories(digest, self._repository.host):
            if source == self._repository.path:
                self._store.blobs.unseen(digest, self._name)
            elif self._mount(digest, source):
                self._reporter.tell(f"Mounted from {source}", name)
                return True
            else:
                self._store.blobs.unseen(digest, f"{self._repository.host}/{source}")
        return False

    def _mount(self, digest: str, source: str) -> bool:
        try:
            return self._repository.mount(digest, source, cancel=self._cancel)
        except (RegistryUnreachable, RateLimited):
            raise
        except RegistryError:
            return False  # whoever may write here need not be let in there

    def _compress(self, work: Workspace, row: ImageRow, layer: manifests.Layer, name: str) -> Descriptor:
        """Write a layer again from its files, compress it, upload that, and keep it if blobs are kept."""
        found = self._store.layers.get(layer.diff_id)
        if found is None:
            raise ImageNotFound(f"push {row.id}: its layer {layer.diff_id} is not in the store")
        directory, path = self._store.paths.layer(found.id), work.join(f"blob-{layer.diff_id[7:]}")
        progress, total = _native.Progress(), found.tar_size or found.size
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise from_os(error, "write", path) from error
        try:
            self._reporter.tell("Compressing", name)
            result = watched(
                partial(
                    _native.reassemble_layer,
                    f"{directory}/fs",
                    f"{directory}/tar-split.zst",
                    fd,
                    diff_id=layer.diff_id,
                    compression="gzip",
                    progress=progress,
                ),
                progress.cancel,
                self._cancel,
                lambda: self._reporter.tell("Compressing", name, min(progress.size, total), total),
            )
            form = Descriptor(oci_image.LAYER_GZIP, result.digest, result.compressed_size)
            if not self._has(form.digest, name):
                self._send(form, fd, name)
        except _native.NativeError as error:
            raise translate(error) from error
        finally:
            os.close(fd)
        blob = NewBlob(form.digest, form.size, form.media_type, path if self._keep else None, layer.diff_id)
        self._store.images.add_blobs(row.id, [blob])
        return form

    def _push_config(self, descriptor: Descriptor, row: ImageRow) -> None:
        if self._repository.has_blob(descriptor.digest, cancel=self._cancel) is None:
            self._upload(descriptor, self._store.paths.blob(row.id), short(descriptor.digest), quiet=True)

    def _upload(self, form: Descriptor, path: str, name: str, *, quiet: bool = False) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as error:
            raise NotFound(f"push {form.digest}: {path} was removed meanwhile") from error
        except OSError as error:
            raise from_os(error, "read", path) from error
        try:
            if os.fstat(fd).st_size != form.size:
                raise Corrupt(f"push {form.digest}: {path} has not {form.size} bytes; pull the image again")
            self._send(form, fd, name, quiet=quiet)
        finally:
            os.close(fd)

    def _send(self, form: Descriptor, fd: int, name: str, *, quiet: bool = False) -> None:
        def progress(done: int) -> None:
            if not quiet:
                self._reporter.tell("Pushing", name, done, form.size)

        self._repository.upload(form.digest, form.size, fd, progress, cancel=self._cancel)
        if not quiet:
            self._reporter.tell("Pushed", name)

    def _rewritten(
        self, work: Workspace, row: ImageRow, manifest: Manifest, layers: list[Descriptor], *, original: str
    ) -> Document:
        """A manifest of the image for these forms of its layers; it takes the place of the image's own."""
        made = Manifest(
            schema_version=2,
            media_type=oci_image.MANIFEST,
            config=Descriptor(oci_image.CONFIG, manifest.config.digest, manifest.config.size),
            layers=layers,
            annotations=manifest.annotations,
        )
        data = msgspec.json.encode(made)
        digest, path = content.stage(work, data)
        with self._store.database.transaction():
            self._store.images.add_blobs(row.id, [NewBlob(digest, len(data), oci_image.MANIFEST, path)])
            if row.manifest == original:
                self._store.images.set_manifest(row.id, digest)
        return Document(oci_image.MANIFEST, digest, data, row)

    def _put(self, name: str, document: Document) -> str:
        digest = self._repository.put_manifest(name, document.media_type, document.data, cancel=self._cancel)
        self.size = len(document.data)
        if digest != document.digest:
            raise Corrupt(f"push {self._name}: the registry calls {document.digest} {digest[:100]!r}")
        return digest

    def _note(self, row: ImageRow, digest: str) -> None:
        """Remember where the image is now."""
        store = self._store
        with store.database.transaction():
            if store.images.by_id(row.id) is not None:
                store.names.add_digest(self._name, digest, row.id)
                for blob in store.blobs.of_image(row.id):
                    if blob.diff_id is not None:
                        store.blobs.seen(blob.digest, self._name)


_PLAIN = (oci_image.LAYER, oci_image.DOCKER_LAYER_PLAIN)


def oci_type(media_type: str) -> str:
    """The OCI name of a layer's media type."""
    names = {"none": oci_image.LAYER, "gzip": oci_image.LAYER_GZIP, "zstd": oci_image.LAYER_ZSTD}
    return names[manifests.LAYERS[media_type]]


def check_reference(reference: Reference) -> None:
    """Raise InvalidArgument for what cannot be pushed."""
    if reference.digest is not None:
        raise InvalidArgument("cannot push a digest reference; give it a tag: minidock tag NAME@DIGEST REPOSITORY:TAG")
