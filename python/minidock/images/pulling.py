"""Pull: an image comes from a registry into the store, completely or not at all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from minidock.errors import Corrupt, ImageNotFound, LimitExceeded, NoSpace, NotFound
from minidock.images import content, downloads, fetching, manifests, platforms
from minidock.images.fetching import Fetcher
from minidock.images.inspection import seconds
from minidock.spec.oci_image import Index, Manifest
from minidock.store.blobs import NewBlob
from minidock.store.images import ImageRow
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from minidock.config import Config
    from minidock.images.manifests import Layer
    from minidock.images.platforms import Platform
    from minidock.images.progress import Reporter
    from minidock.images.references import Reference
    from minidock.registry.cancel import Cancel
    from minidock.registry.repository import Manifest as Document
    from minidock.registry.repository import Repository
    from minidock.spec.oci_image import Descriptor, ImageConfig
    from minidock.store.store import Store

WORKERS = 4
"""Layers at a time, unless the configuration's ``max-concurrent-downloads`` says otherwise."""
ATTEMPTS = 5
"""Attempts of each blob without progress, unless ``max-download-attempts`` says otherwise."""
_MAX_NESTING = 3


class Pulled(NamedTuple):
    """What a pull came to: the image, the digest that the registry has it under, and whether anything was new."""

    row: ImageRow
    digest: str
    new: bool


class Puller:
    """Pulls images of one repository."""

    def __init__(
        self, store: Store, repository: Repository, config: Config, *, reporter: Reporter, cancel: Cancel
    ) -> None:
        self._store = store
        self._repository = repository
        self._config = config
        self._reporter = reporter
        self._cancel = cancel

    def pull(self, reference: Reference, platform: Platform | None) -> Pulled:
        """Pull what ``reference`` (with a tag or a digest) names, for ``platform`` or the host's.

        Raises ImageNotFound, the errors of registries, Corrupt for what is not what it should be, Unsupported,
        NoSpace, Cancelled, Timeout. Nothing is visible of a pull that failed.
        """
        wanted = platform or platforms.host()
        top = self._repository.manifest(reference.digest or reference.tag or "latest", cancel=self._cancel)
        self._reporter.begin(reference)
        documents = [top]
        chain = self._image_of(reference, top, wanted, documents)
        config = self._config_of(chain.config)
        image = manifests.parse_config(config)
        self._check_platform(reference, image_platform=_platform(image), platform=platform)
        layers = manifests.layers(chain, image)
        _ = self._store.database
        with Workspace(self._store.paths, "pull") as work:
            downloads.discard_old(self._store.paths, work)
            fetcher = Fetcher(
                self._store,
                work,
                self._repository,
                reporter=self._reporter,
                cancel=self._cancel,
                workers=self._config.max_concurrent_downloads or WORKERS,
                attempts=self._config.max_download_attempts or ATTEMPTS,
            )
            try:
                fetcher.fetch(layers)
                blobs = self._layer_blobs(layers, fetcher)
                for document in documents:
                    digest, path = content.stage(work, document.data)
                    blobs.append(NewBlob(digest, len(document.data), document.media_type, path))
                image_id, path = content.stage(work, config)
                blobs.append(NewBlob(image_id, len(config), chain.config.media_type, path))
                row = ImageRow(image_id, config, content.digest_of(documents[-1].data), 0, seconds(image.created))
                pulled = self._publish(reference, row, image.rootfs.diff_ids, blobs, top)
                # What the store has not taken: it has the same bytes already, or keeps none.
                fetcher.discard()
            except BaseException as error:
                if content.keeps_blobs(self._config):
                    fetcher.rescue()
                if isinstance(error, NoSpace):
                    fetcher.discard()
                raise
            finally:
                # First what the image does not hold by now, then the claims that others wait for.
                try:
                    self._store.layers.release(work)
                finally:
                    fetcher.close()
        return pulled

    def _layer_blobs(self, layers: list[Layer], fetcher: Fetcher) -> list[NewBlob]:
        keep = content.keeps_blobs(self._config)
        return [
            NewBlob(
                layer.descriptor.digest,
                layer.descriptor.size,
                layer.descriptor.media_type,
                fetcher.path(layer.descriptor) if keep else None,
                layer.diff_id,
            )
            for layer in {layer.descriptor.digest: layer for layer in layers}.values()
        ]

    def _image_of(self, reference: Reference, top: Document, wanted: Platform, documents: list[Document]) -> Manifest:
        """The manifest of the image for a platform, below any number of indexes, which are added to ``documents``."""
        parsed = manifests.parse(top.media_type, top.data)
        for _ in range(_MAX_NESTING):
            if isinstance(parsed, Manifest):
                return parsed
            entry = manifests.choose(parsed, wanted, reference.familiar)
            found = self._repository.manifest(entry.digest, cancel=self._cancel)
            if len(found.data) != entry.size:
                raise Corrupt(f"manifest {entry.digest}: {len(found.data)} bytes, and its index says {entry.size}")
            if found.media_type != entry.media_type:
                raise Corrupt(
                    f"manifest {entry.digest}: came as {found.media_type[:100]!r}, its index says {entry.media_type}"
                )
            if any(found.digest == document.digest for document in documents):
                raise Corrupt(f"manifest {entry.digest}: an index that has itself")
            documents.append(found)
            parsed = manifests.parse(found.media_type, found.data)
        if isinstance(parsed, Index):
            raise LimitExceeded(f"index {top.digest}: indexes more than {_MAX_NESTING} deep")
        return parsed

    def _config_of(self, descriptor: Descriptor) -> bytes:
        """The configuration, checked against its descriptor."""
        if self._store.blobs.is_kept(descriptor.digest):
            # It may be removed right now, or be damaged: then it comes again.
            with contextlib.suppress(NotFound, Corrupt):
                return content.read(self._store.paths, descriptor.digest)
        attempts = self._config.max_download_attempts or ATTEMPTS
        return fetching.document(self._repository, descriptor, attempts=attempts, cancel=self._cancel)

    def _check_platform(self, reference: Reference, *, image_platform: Platform, platform: Platform | None) -> None:
        if platform is not None and not platform.accepts(image_platform):
            raise ImageNotFound(
                f"image with reference {reference.familiar} was found but does not match the specified platform: "
                f"wanted {platform}, actual: {image_platform}"
            )

    def _publish(
        self, reference: Reference, row: ImageRow, diff_ids: list[str], blobs: list[NewBlob], top: Document
    ) -> Pulled:
        """Make the image visible."""
        store = self._store
        tag = reference.canonical if reference.tag is not None and reference.digest is None else None
        with store.database.transaction():
            there = store.images.by_id(row.id)
            named = tag is None or row.id in store.names.images(tag)
            new = there is None or there.hidden or not named
            store.images.add(
                row,
                diff_ids,
                blobs=blobs,
                tag=tag,
                target=content.digest_of(top.data),  # as it is stored, whatever the registry's algorithm is
                join=True,
                digests=[(reference.name, top.digest)],
            )
            for blob in blobs:
                store.blobs.seen(blob.digest, reference.name)
            return Pulled(store.images.by_id(row.id) or row, top.digest, new)


def _platform(image: ImageConfig) -> Platform:
    return platforms.Platform(image.os or "linux", image.architecture, image.variant)
