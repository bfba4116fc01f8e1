"""The build cache in a registry: ``--cache-to`` and ``--cache-from`` ``type=registry``, and ``type=inline``.

A cache is an OCI image manifest whose configuration is the index and whose layers are those of the steps, and cache
mounts; nothing pulls it by mistake. Of an image that was built with ``type=inline`` the configuration names the steps
of its own layers. A layer is checked against the digest that its step stands for when it is fetched.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.build import exchange, exchange_mounts
from minidock.build.exchange import Index, Step
from minidock.errors import Corrupt, ImageNotFound, NotFound, RegistryError, RegistryUnreachable
from minidock.images import fetching, manifests, platforms, pulling, pushing, references
from minidock.images.parallel import run_all
from minidock.images.progress import Reporter
from minidock.spec import decoding, oci_image
from minidock.spec.oci_image import Descriptor, Manifest
from minidock.store.failures import translated
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.build.exchange import Kept, Place
    from minidock.build.executor import Build
    from minidock.images.references import Reference
    from minidock.registry.cancel import Cancel
    from minidock.registry.repository import Repository
    from minidock.store.layers import LayerRow

CONFIG = "application/vnd.minidock.buildcache.v1+json"
MOUNT = "application/vnd.minidock.buildcache.mount.v1.tar+zstd"
_TYPES = {"gzip": oci_image.LAYER_GZIP, "zstd": oci_image.LAYER_ZSTD}
_BUFFER = 1 << 20
_PLAIN = (oci_image.LAYER, oci_image.DOCKER_LAYER_PLAIN)


class RegistrySource:
    """A repository, or an image of this host, that is read from."""

    def __init__(self, place: Place, index: Index, repository: Repository | None) -> None:
        self._name = place.where
        self._mounts = place.mounts
        self._repository = repository
        self._gone = threading.Event()
        self.index = index

    def find(self, build: Build, key: str) -> LayerRow | None:
        """As :meth:`exchange.Imported.find`; a registry that fails meanwhile has nothing more."""
        step = self.index.steps.get(key)
        if step is None:
            return None
        held = build.store.layers.lease(build.work, [step.diff_id])
        if held:
            return held[0]
        if self._repository is None or self._gone.is_set():
            return None
        try:
            return self._fetch(build, self._repository, step)
        except (RegistryError, NotFound):
            self._gone.set()
            return None

    def _fetch(self, build: Build, repository: Repository, step: Step) -> LayerRow | None:
        store, config = build.store, build.engine.config
        layer = manifests.Layer(Descriptor(step.media_type, step.digest, step.size), step.diff_id)
        with build.stop.cancelling() as cancel, Workspace(store.paths, "pull") as work:
            fetcher = fetching.Fetcher(
                store,
                work,
                repository,
                reporter=Reporter(None),
                cancel=cancel,
                workers=1,
                attempts=config.max_download_attempts or pulling.ATTEMPTS,
            )
            try:
                fetcher.fetch([layer])
                held = store.layers.lease(build.work, [step.diff_id])
                fetcher.discard()
            except Corrupt as error:
                raise Corrupt(f"cache {self._name}: {error}") from error
            finally:
                fetcher.close()
                store.layers.release(work)
        return held[0] if held else None

    def fetch_mount(self, build: Build, name: str, target: str) -> bool:
        """As :meth:`exchange.Imported.fetch_mount`."""
        kept = self.index.mounts.get(name) if self._mounts else None
        if kept is None or self._repository is None or self._gone.is_set():
            return False
        path = build.work.join(f"mount-{os.urandom(6).hex()}.tar")
        with translated("write", path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with build.stop.cancelling() as cancel:
                _download(self._repository, kept, fd, cancel)
            os.lseek(fd, 0, os.SEEK_SET)
            exchange_mounts.unpack(fd, kept, target, self._name)
        except (RegistryError, NotFound):
            self._gone.set()
            return False
        finally:
            os.close(fd)
            os.unlink(path)
        return True


def _download(repository: Repository, kept: Kept, fd: int, cancel: Cancel) -> None:
    """Write a blob to a file, going on where a connection broke."""
    view, done, failures = memoryview(bytearray(_BUFFER)), 0, 0
    while done < kept.size:
        try:
            with repository.blob(kept.digest, offset=done, size=kept.size, cancel=cancel) as reader:
                done = reader.offset
                while count := reader.readinto(view):
                    cancel.check()
                    with translated("write", kept.digest):
                        done += os.pwrite(fd, view[:count], done)
                    failures = 0
        except RegistryUnreachable:
            failures += 1
            if failures >= pulling.ATTEMPTS:
                raise
            cancel.wait(min(0.25 * 2**failures, 5.0))


# Reading


def opened(build: Build, place: Place) -> RegistrySource:
    """Open what a name stands for: an image of this host that tells of its steps, or what the registry has.

    Raises ImageNotFound, the errors of registries, Corrupt.
    """
    reference = references.from_canonical(place.where)
    platform = build.platform
    try:
        row, _ = build.engine.images.resolve(place.where, str(platform))
    except ImageNotFound:
        row = None
    if row is not None:
        index = _inline(manifests.parse_config(row.config), [])
        if index.steps:
            return RegistrySource(place, index, None)
    with build.stop.cancelling() as cancel:
        repository = build.engine.registry.repository(reference, cancel=cancel)
        return RegistrySource(place, _index(repository, reference, platform, cancel), repository)


def _index(repository: Repository, reference: Reference, platform: platforms.Platform, cancel: Cancel) -> Index:
    """What is under a tag, a cache or an image. An image that tells nothing gives nothing."""
    shown = reference.familiar
    found = repository.manifest(reference.digest or reference.tag or references.DEFAULT_TAG, cancel=cancel)
    cache = _cache(found.data)
    if cache is not None:
        if not 0 < cache.size <= exchange.MAX_INDEX:
            raise Corrupt(f"cache {shown}: an index of {cache.size} bytes")
        return exchange.decode(fetching.document(repository, cache, cancel=cancel), shown)
    parsed = manifests.parse(found.media_type, found.data)
    if not isinstance(parsed, Manifest):
        entry = manifests.choose(parsed, platform, shown)
        found = repository.manifest(entry.digest, cancel=cancel)
        parsed = manifests.parse_manifest(found.media_type, found.data)
    config = manifests.parse_config(fetching.document(repository, parsed.config, cancel=cancel))
    return _inline(config, manifests.layers(parsed, config))


def _cache(data: bytes) -> Descriptor | None:
    """The index that a manifest names; None for one that is no cache of minidock's."""
    try:
        manifest = decoding.decode(data, Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    config = manifest.config
    return config if config.media_type == CONFIG and references.is_digest(config.digest) else None


def _inline(config: oci_image.ImageConfig, layers: list[manifests.Layer]) -> Index:
    """The steps of an image's own layers. Without ``layers``: of one whose layers are on this host."""
    forms = {layer.diff_id: layer.descriptor for layer in layers}
    diff_ids = set(config.rootfs.diff_ids)
    steps = {}
    for key, diff_id in config.build_cache.items():
        if diff_id in diff_ids:
            form = forms.get(diff_id) or Descriptor(oci_image.LAYER, diff_id, 0)
            steps[key] = Step("", "", diff_id, form.digest, form.size, form.media_type)
    return Index(1, steps)


# Writing


def export(build: Build, place: Place, steps: Mapping[str, tuple[str, str, LayerRow]]) -> None:
    """As :func:`exchange.export`, under a tag of a repository."""
    reference = references.from_canonical(place.where)
    with build.stop.cancelling() as cancel, Workspace(build.store.paths, "push") as work:
        repository = build.engine.registry.repository(reference, push=True, cancel=cancel)
        writer = _Writer(build, place, repository, work, cancel)
        writer.write(reference.tag or references.DEFAULT_TAG, steps)


class _Writer:
    """Pushes one cache."""

    def __init__(self, build: Build, place: Place, repository: Repository, work: Workspace, cancel: Cancel) -> None:
        self._build = build
        self._place = place
        self._repository = repository
        self._work = work
        self._cancel = cancel
        self._before = Index()

    def write(self, tag: str, steps: Mapping[str, tuple[str, str, LayerRow]]) -> None:
        """Push what the repository lacks, then the index and the manifest, which takes the tag at once."""
        self._before = self._there(tag)
        known = {
            step.diff_id: Descriptor(step.media_type, step.digest, step.size) for step in self._before.steps.values()
        }
        layers = list({layer.diff_id: layer for _, _, layer in steps.values()}.values())
        workers = self._build.engine.config.max_concurrent_uploads or pushing.WORKERS
        sent = run_all(
            [partial(self._layer, layer, known.get(layer.diff_id)) for layer in layers], workers, self._cancel
        )
        forms = {layer.diff_id: form for layer, form in zip(layers, sent, strict=True)}
        index = Index()
        for key, (kind, description, layer) in steps.items():
            form = forms[layer.diff_id]
            index.steps[key] = Step(kind, description, layer.diff_id, form.digest, form.size, form.media_type)
        if self._place.mounts:
            index.mounts = self._mounts()
        config = self._document(exchange.encode(index))
        kept = [Descriptor(MOUNT, one.digest, one.size) for one in index.mounts.values()]
        manifest = Manifest(
            schema_version=2,
            media_type=oci_image.MANIFEST,
            config=config,
            layers=list({one.digest: one for one in (*forms.values(), *kept)}.values()),
        )
        data = msgspec.json.encode(manifest)
        self._repository.put_manifest(tag, oci_image.MANIFEST, data, cancel=self._cancel)

    def _there(self, tag: str) -> Index:
        """What the tag stands for now, if that is a cache."""
        try:
            found = _cache(self._repository.manifest(tag, cancel=self._cancel).data)
            if found is None or not 0 < found.size <= exchange.MAX_INDEX:
                return Index()
            return exchange.decode(fetching.document(self._repository, found, cancel=self._cancel), str(self._place))
        except RegistryUnreachable:
            raise
        except (RegistryError, NotFound, Corrupt):
            return Index()  # it is written anew

    def _layer(self, layer: LayerRow, known: Descriptor | None) -> Descriptor:
        """Make sure that the repository has a layer; returns the form in which it has it."""
        store = self._build.store
        forms = [] if known is None else [known]
        forms += [
            Descriptor(pushing.oci_type(blob.media_type), blob.digest, blob.size)
            for blob in store.blobs.of_layer(layer.diff_id)
            if blob.media_type in manifests.LAYERS and blob.media_type not in _PLAIN
        ]
        for form in forms:
            if self._has(form.digest):
                return form
        for form in forms:
            if store.blobs.is_kept(form.digest):
                self._upload(form, store.paths.blob(form.digest))
                return form
        return self._compressed(layer)

    def _has(self, digest: str) -> bool:
        return self._repository.has_blob(digest, cancel=self._cancel) is not None

    def _compressed(self, layer: LayerRow) -> Descriptor:
        directory, path = self._build.store.paths.layer(layer.id), self._work.join(f"blob-{layer.diff_id[7:]}")
        with translated("write", path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            result = _native.reassemble_layer(
                f"{directory}/fs",
                f"{directory}/tar-split.zst",
                fd,
                diff_id=layer.diff_id,
                compression=self._place.compression,
            )
        except _native.NativeError as error:
            raise translate(error) from error
        finally:
            os.close(fd)
        form = Descriptor(_TYPES[self._place.compression], result.digest, result.compressed_size)
        if not self._has(form.digest):
            self._upload(form, path)
        os.unlink(path)
        return form

    def _mounts(self) -> dict[str, Kept]:
        """Push the cache mounts; one that is not on this host stays as it is in the cache."""
        found = {}
        for name in self._build.mounts_named:
            path = self._work.join(f"mount-{name}")
            kept = exchange_mounts.pack(self._build, name, path)
            if kept is not None:
                if not self._has(kept.digest):
                    self._upload(Descriptor(MOUNT, kept.digest, kept.size), path)
                os.unlink(path)
                found[name] = kept
            elif name in self._before.mounts and self._has(self._before.mounts[name].digest):
                found[name] = self._before.mounts[name]
        return found

    def _document(self, data: bytes) -> Descriptor:
        from minidock.images import content

        digest, path = content.stage(self._work, data)
        form = Descriptor(CONFIG, digest, len(data))
        if not self._has(digest):
            self._upload(form, path)
        return form

    def _upload(self, form: Descriptor, path: str) -> None:
        with translated("read", path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._repository.upload(form.digest, form.size, fd, cancel=self._cancel)
        finally:
            os.close(fd)
