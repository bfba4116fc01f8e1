"""``load``: images come from an archive into the store, each completely or not at all.

Layers are unpacked by several threads at a time. What is unpacked is part of the store at once, held by the workspace,
and published with the images that need it after the last layer; what no image needs then goes.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.errors import Corrupt, MinidockError, NoSpace, Unsupported
from minidock.images import archives, content, contents, manifests, references
from minidock.images.announcing import announce
from minidock.images.inspection import seconds
from minidock.images.layers import prepare_directory
from minidock.images.parallel import PIPE, widen
from minidock.images.platforms import host
from minidock.images.writing import LAYER_TYPES
from minidock.spec import oci_image
from minidock.store.blobs import NewBlob
from minidock.store.failures import translated
from minidock.store.images import ImageRow
from minidock.store.layers import NewLayer
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from minidock.images.archives import Archive, Part
    from minidock.images.contents import ArchiveLayer, Content
    from minidock.images.platforms import Platform
    from minidock.images.progress import Reporter
    from minidock.registry.cancel import Cancel
    from minidock.store.layers import LayerRow
    from minidock.store.store import Store

_TICK = 0.05
_MAX_WORKERS = 4
_encoder = msgspec.json.Encoder()


class Loaded(NamedTuple):
    """An image that came, its names as Docker shows them, and which of these other images lost, with their ids."""

    row: ImageRow
    names: list[str]
    replaced: list[tuple[str, str]]


class _Blob(NamedTuple):
    """A layer as it lay in the archive; ``path`` is where it waits to be kept."""

    digest: str
    size: int
    media_type: str
    path: str | None


def load(
    store: Store,
    source: archives.Source,
    *,
    keep_blobs: bool,
    platform: Platform | None,
    on_loaded: Callable[[Loaded], None] | None,
    reporter: Reporter,
    cancel: Cancel,
) -> list[Loaded]:
    """Load all images of an archive; see :meth:`ImageCollection.load`."""
    _ = store.database
    with Workspace(store.paths, "load") as work, archives.opened(source, work) as archive:
        images = contents.read(archive, platform)
        try:
            layers = _Layers(store, work, archive, images, keep_blobs=keep_blobs)
            layers.fetch(reporter, cancel)
            done = []
            # Of the platforms of one name, what is loaded last is what the bare name means: the host's own.
            for number, image in sorted(enumerate(images), key=lambda pair: host().accepts(pair[1].platform)):
                if number not in layers.broken:
                    loaded = _publish(store, work, image, layers)
                    done.append(loaded)
                    announce(store, "load", loaded.row)
                    if on_loaded is not None:
                        on_loaded(loaded)
            if layers.failure is not None:
                text = str(layers.failure)
                raise type(layers.failure)(f"load {archive.name}: {text}") from layers.failure
        except BaseException:
            # On a full disk, the database needs the room to note what goes.
            work.clear()
            raise
        finally:
            store.layers.release(work)
    return done


def unpack(
    store: Store, work: Workspace, archive: Archive, image: Content, *, reporter: Reporter, cancel: Cancel
) -> list[LayerRow]:
    """Bring the layers of one image into the store, lowest first, held by ``work``; no image is made of them.

    Raises Corrupt, NoSpace, Cancelled, Timeout.
    """
    layers = _Layers(store, work, archive, [image], keep_blobs=False)
    layers.fetch(reporter, cancel)
    if layers.failure is not None:
        raise type(layers.failure)(f"load {archive.name}: {layers.failure}") from layers.failure
    wanted = [layer.diff_id for layer in image.layers]
    held = {row.diff_id: row for row in store.layers.lease(work, wanted)}
    return [held[diff_id] for diff_id in wanted]


class _Job:
    """One layer to unpack, for the images that have it."""

    def __init__(self, layer: ArchiveLayer) -> None:
        self.layer = layer
        self.users: set[int] = set()
        self.progress = _native.Progress()
        self.cancelled = threading.Event()
        self.name = references.short_id(layer.diff_id)
        self.total = 0
        self.blob: _Blob | None = None

    def cancel(self) -> None:
        """Let it end soon."""
        self.cancelled.set()
        self.progress.cancel()


class _Layers:
    """Brings the layers of an archive's images into the store."""

    def __init__(
        self, store: Store, work: Workspace, archive: Archive, images: Sequence[Content], *, keep_blobs: bool
    ) -> None:
        self._store = store
        self._work = work
        self._archive = archive
        self._keep = keep_blobs
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, str], _Job] = {}
        self.broken: set[int] = set()
        self.failure: MinidockError | None = None
        for number, image in enumerate(images):
            for layer in image.layers:
                self._jobs.setdefault(_key(layer), _Job(layer)).users.add(number)

    def blob(self, layer: ArchiveLayer) -> _Blob:
        """What a layer was in the archive."""
        blob = self._jobs[_key(layer)].blob
        assert blob is not None  # noqa: S101 - else its image is broken
        return blob

    def fetch(self, reporter: Reporter, cancel: Cancel) -> None:
        """Unpack what the store does not have. A layer that is not what it should be breaks its images only.

        Raises NoSpace, Cancelled, Timeout.
        """
        cancel.check()
        held = {
            row.diff_id for row in self._store.layers.lease(self._work, [one.layer.diff_id for one in self._todo()])
        }
        jobs = [job for job in self._todo() if not self._is_there(job, held)]
        if not jobs:
            return
        from concurrent.futures import ThreadPoolExecutor, wait

        workers = min(_MAX_WORKERS, len(jobs), max(2, os.cpu_count() or 1))
        pool = ThreadPoolExecutor(workers, "minidock-load")
        try:
            # The largest first: it would otherwise be the last to end, alone.
            left = {pool.submit(self._run, job): job for job in sorted(jobs, key=self._size, reverse=True)}
            while left:
                done = wait(left, _TICK, "FIRST_COMPLETED").done
                for future in done:
                    future.result()
                for job in map(left.pop, done):
                    reporter.tell("Loading layer", job.name, job.total, job.total)
                for job in left.values():
                    if job.progress.read:
                        reporter.tell("Loading layer", job.name, min(job.progress.read, job.total), job.total)
                cancel.check()
        finally:
            for job in jobs:
                job.cancel()
            pool.shutdown(cancel_futures=True)

    def _todo(self) -> list[_Job]:
        return list(self._jobs.values())

    def _size(self, job: _Job) -> int:
        part = self._archive.get(job.layer.path)
        part.close()
        job.total = part.size
        return part.size

    def _is_there(self, job: _Job, held: set[str]) -> bool:
        """Whether the store has a layer in the archive's form too; then the archive's bytes do not matter."""
        layer, descriptor = job.layer, job.layer.descriptor
        if layer.diff_id not in held:
            return False
        if descriptor is None:
            row = self._store.layers.get(layer.diff_id)
            part = self._archive.get(layer.path)
            try:
                plain = row is not None and row.tar_size == part.size and _compression(part) == "none"
            finally:
                part.close()
            if plain:
                job.blob = _Blob(layer.diff_id, part.size, oci_image.LAYER, None)
            return plain
        known = self._store.blobs.get(descriptor.digest)
        same = descriptor.digest == layer.diff_id and manifests.LAYERS[descriptor.media_type] == "none"
        if same or (
            known is not None
            and known.diff_id == layer.diff_id
            and (not self._keep or (known.kept and os.path.exists(self._store.paths.blob(known.digest))))
        ):
            job.blob = _Blob(descriptor.digest, descriptor.size, descriptor.media_type, None)
            return True
        return False

    def _run(self, job: _Job) -> None:
        if job.users <= self.broken:
            return
        try:
            self._unpack(job)
        except NoSpace:
            raise
        except MinidockError as error:
            with self._lock:
                self.failure = self.failure or error
                self.broken |= job.users
                hopeless = [other for other in self._todo() if other.users <= self.broken]
            for other in hopeless:
                other.cancel()

    def _unpack(self, job: _Job) -> None:
        layer = job.layer
        number = layer.diff_id.removeprefix("sha256:") + "-" + os.urandom(4).hex()
        directory = self._work.join(f"layer-{number}")
        root = prepare_directory(directory)
        kept: str | None = None
        part = self._archive.get(layer.path)
        try:
            if self._keep and _compression(part) != "none":
                kept = self._work.join(f"travelled-{number}")
                with translated("copy a layer to", kept):
                    _copy(part, kept, job.cancelled)
                    fd = os.open(kept, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    result = _unpack(fd, root, directory, job)
                finally:
                    os.close(fd)
            else:
                with _stream(part) as fd:
                    result = _unpack(fd, root, directory, job)
        finally:
            part.close()
        _check(layer, result)
        media_type = LAYER_TYPES[result.compression] if layer.descriptor is None else layer.descriptor.media_type
        new = NewLayer(result.diff_id, result.size, directory, result.tar_size)
        self._store.layers.register(self._work, new)
        job.blob = _Blob(result.digest, result.compressed_size, media_type, kept)


def _key(layer: ArchiveLayer) -> tuple[str, str]:
    return layer.diff_id, layer.path


def _unpack(fd: int, root: str, directory: str, job: _Job) -> _native.LayerResult:
    try:
        return _native.unpack_layer(fd, root, tar_split=f"{directory}/tar-split.zst", progress=job.progress)
    except _native.NativeError as error:
        failure = translate(error)
        if isinstance(failure, NoSpace):
            raise failure from error
        raise type(failure)(f"layer {job.layer.path[:200]}: {failure}") from error


def _check(layer: ArchiveLayer, result: _native.LayerResult) -> None:
    """Whether an unpacked layer is what was announced. Raises Corrupt."""
    shown = layer.path[:200]
    if result.diff_id != layer.diff_id:
        raise Corrupt(f"layer {shown}: its diff_id is {result.diff_id}, and the configuration says {layer.diff_id}")
    if layer.descriptor is None:
        claimed = "sha256:" + layer.path.removeprefix("blobs/sha256/")
        if references.is_digest(claimed) and result.digest != claimed:
            raise Corrupt(f"layer {shown}: its digest is {result.digest}")
        return
    if result.digest != layer.descriptor.digest or result.compressed_size != layer.descriptor.size:
        raise Corrupt(f"layer {shown}: {result.compressed_size} bytes with the digest {result.digest}")
    if manifests.LAYERS[layer.descriptor.media_type] != result.compression:
        raise Corrupt(
            f"layer {shown}: compressed by {result.compression}, and its media type is {layer.descriptor.media_type}"
        )


def _compression(part: Part) -> str:
    with translated("read", "the archive"):
        head = os.pread(part.fd, 4, part.offset)
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head == b"\x28\xb5\x2f\xfd" or (len(head) == 4 and head[1:] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    if head.startswith((b"BZh", b"\xfd7zX")):
        raise Unsupported("a layer compressed by bzip2 or xz; no image specification has these")
    return "none"


def _copy(part: Part, path: str, cancelled: threading.Event) -> None:
    """Copy a part into a new file, in the kernel."""
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        archives.copy_range(part.fd, part.offset, part.size, out, cancelled)
    finally:
        os.close(out)


@contextlib.contextmanager
def _stream(part: Part) -> Iterator[int]:
    """A descriptor that gives a part from its offset to its end."""
    if part.offset == 0 and part.owned:
        yield part.fd
        return
    r, w = os.pipe2(os.O_CLOEXEC)
    failures: list[OSError] = []
    thread = threading.Thread(target=_feed, args=(part, w, failures), name="minidock-load-feed", daemon=True)
    try:
        thread.start()
        yield r
    finally:
        # With the reading end closed, the thread ends at its next write.
        os.close(r)
        thread.join()
        if failures:
            with translated("read", "the archive"):
                raise failures[0]


def _feed(part: Part, w: int, failures: list[OSError]) -> None:
    try:
        widen(w)
        offset, end = part.offset, part.offset + part.size
        while offset < end:
            done = os.splice(part.fd, w, min(end - offset, PIPE), offset_src=offset)
            if not done:
                return  # what reads it finds that it ends too early
            offset += done
    except BrokenPipeError:
        pass
    except OSError as error:
        failures.append(error)
    finally:
        os.close(w)


def _publish(store: Store, work: Workspace, image: Content, layers: _Layers) -> Loaded:
    """Add an image whose layers are in the store, and give it its names, as one step."""
    blobs: dict[str, NewBlob] = {}
    descriptors = []
    for layer in image.layers:
        blob = layers.blob(layer)
        descriptors.append(oci_image.Descriptor(blob.media_type, blob.digest, blob.size))
        blobs.setdefault(blob.digest, NewBlob(blob.digest, blob.size, blob.media_type, blob.path, layer.diff_id))
    manifest = image.manifest or _manifest(image, descriptors)
    for document in (image.config, manifest, *image.indexes):
        _, path = content.stage(work, document.data)
        blobs[document.digest] = NewBlob(document.digest, len(document.data), document.media_type, path)
    row = ImageRow(image.config.digest, image.config.data, manifest.digest, 0, seconds(image.image.created))
    replaced: list[tuple[str, str]] = []
    with store.database.transaction():
        store.images.add(row, image.image.rootfs.diff_ids, blobs=list(blobs.values()))
        for name in image.names:
            old = store.names.set_tag(name, row.id, image.target or manifest.digest, join=True)
            if old is not None and old not in store.names.images(name):
                replaced.append((references.from_canonical(name).familiar, old))
    return Loaded(row, [references.from_canonical(name).familiar for name in image.names], replaced)


def _manifest(image: Content, layers: list[oci_image.Descriptor]) -> contents.Document:
    """The manifest of an image that came without one."""
    data = _encoder.encode(
        oci_image.Manifest(
            schema_version=2,
            media_type=oci_image.MANIFEST,
            config=oci_image.Descriptor(oci_image.CONFIG, image.config.digest, len(image.config.data)),
            layers=layers,
        )
    )
    return contents.Document(oci_image.MANIFEST, content.digest_of(data), data)
