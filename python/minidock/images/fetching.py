"""Layers of one image come into the store: downloaded, verified, decompressed and unpacked at the same time.

```
 registry ──► downloads/HEX/data (a Spool) ──► native: SHA-256, inflate, SHA-256, files of layers/N
```
A layer that another process or thread fetches is waited for, one that the store has is held. What an interruption
leaves in ``downloads/`` is where the next pull goes on.
"""

from __future__ import annotations

import contextlib
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol

from minidock import _native
from minidock._errors import translate
from minidock.errors import Corrupt, LimitExceeded, MinidockError, NoSpace, RegistryUnreachable
from minidock.images import content, downloads
from minidock.images.layers import prepare_directory
from minidock.images.parallel import run_all
from minidock.registry.session import sleep
from minidock.store.layers import NewLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.images.downloads import Claim
    from minidock.images.manifests import Layer
    from minidock.images.progress import Reporter
    from minidock.registry.blobs import BlobReader
    from minidock.registry.cancel import Cancel
    from minidock.spec.oci_image import Descriptor
    from minidock.store.store import Store
    from minidock.store.workspace import Workspace

_BUFFER = 1 << 20
_ATTEMPTS = 5
_TICK = 0.1
_PROGRESS = 64 << 10
"""Bytes between two broken connections that count as progress."""


class Origin(Protocol):
    """Where blobs come from: a repository of a registry."""

    def blob(
        self, digest: str, *, offset: int = 0, size: int | None = None, cancel: Cancel | None = None
    ) -> BlobReader:
        """Open a blob at an offset."""


class Fetcher:
    """Fetches the layers of one image into ``work``. After :meth:`fetch` all are in the store, held by ``work``.

    :meth:`close` gives up the claims on ``downloads/``, once the image is in the store or has failed.
    """

    def __init__(
        self,
        store: Store,
        work: Workspace,
        origin: Origin,
        *,
        reporter: Reporter,
        cancel: Cancel,
        workers: int,
        attempts: int = _ATTEMPTS,
    ) -> None:
        self._store = store
        self._work = work
        self._origin = origin
        self.reporter = reporter
        self.cancel = cancel
        self._workers = workers
        self._attempts = max(1, attempts)
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}
        self._complete: dict[str, str] = {}

    def path(self, descriptor: Descriptor) -> str | None:
        """The complete file of a layer, for the content store: fetched here, or by another that came no further."""
        if descriptor.digest not in self._complete and not self._store.blobs.is_kept(descriptor.digest):
            self._adopt(descriptor)
        return self._complete.get(descriptor.digest)

    def rescue(self) -> None:
        """Before a failure is told: layers that images took over from here get their files, which are complete."""
        for digest, path in self._complete.items():
            with contextlib.suppress(MinidockError):
                self._store.images.keep(digest, path)

    def fetch(self, layers: Sequence[Layer]) -> None:
        """Bring all layers into the store. Raises what went wrong first; the others are stopped then."""
        wanted = list({layer.diff_id: layer for layer in layers}.values())
        held = {row.diff_id for row in self._store.layers.lease(self._work, [layer.diff_id for layer in wanted])}
        missing = []
        for layer in wanted:
            if layer.diff_id in held:
                self.reporter.tell("Already exists", short(layer.descriptor.digest))
            else:
                self.reporter.tell("Pulling fs layer", short(layer.descriptor.digest))
                missing.append(layer)
        # The largest first: begun last, it would be unpacked alone at the end.
        missing.sort(key=lambda layer: layer.descriptor.size, reverse=True)
        for layer in missing[self._workers :]:
            self.reporter.tell("Waiting", short(layer.descriptor.digest))
        run_all([partial(self._one, number, layer) for number, layer in enumerate(missing)], self._workers, self.cancel)

    def close(self) -> None:
        """Give up all claims. Files that became part of the content store are gone from there already."""
        with self._lock:
            claims, self._claims = self._claims, {}
        for claim in claims.values():
            claim.close()

    def discard(self) -> None:
        """Remove what was fetched: it is unpacked, and not kept."""
        for claim in self._claims.values():
            claim.clear()

    def _adopt(self, descriptor: Descriptor) -> None:
        claim = self._claims.get(descriptor.digest) or downloads.left(self._store.paths, descriptor.digest)
        if claim is None:
            return
        self._claims[descriptor.digest] = claim
        fd, have = claim.open()
        try:
            # Its last holder need not have come to the end, nor found that it is what it should be.
            if have == descriptor.size and _native.digest_file(fd)[0] == descriptor.digest:
                self._complete[descriptor.digest] = claim.path
        except _native.NativeError as error:
            raise translate(error) from error
        finally:
            os.close(fd)

    def _one(self, number: int, layer: Layer) -> None:
        name = short(layer.descriptor.digest)

        def elsewhere() -> bool:
            return bool(self._store.layers.lease(self._work, [layer.diff_id]))

        claim = downloads.claim(self._store.paths, layer.descriptor.digest, self.cancel, elsewhere)
        if claim is None:
            self.reporter.tell("Pull complete", name)
            return
        with self._lock:
            self._claims[layer.descriptor.digest] = claim
        if elsewhere():  # its last holder was done with it
            self.reporter.tell("Already exists", name)
            return
        unpacked = self._fetch(number, layer, claim)
        self._store.layers.register(self._work, unpacked)
        self._complete[layer.descriptor.digest] = claim.path
        self.reporter.tell("Pull complete", name)

    def _fetch(self, number: int, layer: Layer, claim: Claim) -> NewLayer:
        """Download and unpack. What broke off stays for the next attempt; bytes that were refused do not."""
        for again in (False, True):
            fd, have = claim.open()
            if have > layer.descriptor.size:
                have = 0
            try:
                directory = self._work.join(f"layer-{number}{'-again' if again else ''}")
                return _Unpacking(self, layer, fd, have, directory).run()
            except _Refused as refused:
                claim.clear()
                # Perhaps the old bytes are to blame: of a machine that lost power, or of a registry that lied.
                if again or not have or isinstance(refused.error, NoSpace):
                    raise refused.error from refused.error.__cause__
            except (Corrupt, NoSpace):
                claim.clear()  # a registry that contradicts itself; a full disk, which needs the space
                raise
            finally:
                os.close(fd)
        raise AssertionError("the second attempt returns or raises")

    def download(self, descriptor: Descriptor, sink: _Unpacking) -> None:
        """Append to ``sink`` what it lacks of a blob, however often the connection breaks."""
        name, failures = short(descriptor.digest), 0
        view = memoryview(bytearray(min(_BUFFER, max(1, descriptor.size))))
        while sink.size < descriptor.size:
            before = sink.size
            try:
                with self._origin.blob(
                    descriptor.digest, offset=before, size=descriptor.size, cancel=self.cancel
                ) as reader:
                    skip = before - reader.offset
                    while not sink.stop.is_set() and sink.size < descriptor.size:
                        self.cancel.check()
                        count = reader.readinto(view)
                        if count == 0:
                            break
                        used = min(skip, count)
                        skip -= used
                        if used < count:
                            sink.write(view[used:count])
                            self.reporter.tell("Downloading", name, sink.size, descriptor.size)
                if sink.stop.is_set():
                    return
                if sink.size < descriptor.size:
                    raise RegistryUnreachable(
                        f"fetch {descriptor.digest}: it ended after {sink.size} of {descriptor.size} bytes"
                    )
            except RegistryUnreachable:
                # Who sends a few bytes at a time and hangs up makes no progress either.
                failures = 1 if sink.size - before >= _PROGRESS else failures + 1
                if failures >= self._attempts:
                    raise
                self.reporter.tell("Retrying", name)
                self.cancel.wait(min(0.25 * 2**failures, 5.0))


class _Refused(Exception):  # noqa: N818 - goes no further than this module
    """What came could not be unpacked, or is not what it should be; ``error`` says why."""

    def __init__(self, error: MinidockError) -> None:
        super().__init__(error)
        self.error = error


class _Unpacking:
    """One layer: this thread downloads, another one unpacks what has come."""

    def __init__(self, fetcher: Fetcher, layer: Layer, fd: int, have: int, directory: str) -> None:
        self._fetcher = fetcher
        self._layer = layer
        self._directory = directory
        try:
            self._spool = _native.Spool(fd, have)
        except _native.NativeError as error:
            raise translate(error) from error
        self._progress = _native.Progress()
        self.stop = threading.Event()
        """Set when nobody needs more bytes: the unpacking has failed."""
        self._result: _native.LayerResult | None = None
        self._failure: BaseException | None = None

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self._spool.size

    def write(self, data: memoryview) -> None:
        """Append bytes. Raises NoSpace, SystemFailure."""
        try:
            self._spool.write(data)
        except _native.NativeError as error:
            raise translate(error) from error

    def run(self) -> NewLayer:
        """Download, unpack, compare. Raises _Refused, and what goes wrong on the way."""
        try:
            root = prepare_directory(self._directory)
            thread = threading.Thread(target=self._unpack, args=(root,), name="minidock-unpack", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise LimitExceeded(f"start a thread: {error}; raise the limit of processes") from error
            try:
                self._fetcher.download(self._layer.descriptor, self)
                self._spool.finish()
                self._fetcher.reporter.tell("Download complete", short(self._layer.descriptor.digest))
                self._wait(thread)
            finally:
                self._spool.fail()
                self._progress.cancel()
                thread.join()
            return self._verified()
        finally:
            # It has a descriptor of its own, which a traceback that somebody keeps would hold open.
            del self._spool

    def _unpack(self, root: str) -> None:
        try:
            self._result = _native.unpack_layer(
                self._spool, root, tar_split=f"{self._directory}/tar-split.zst", progress=self._progress
            )
        except BaseException as error:  # raised again by the thread that waits
            self._failure = error
            self.stop.set()

    def _wait(self, thread: threading.Thread) -> None:
        """Wait for the unpacking, which nearly keeps up with the download."""
        name, size = short(self._layer.descriptor.digest), self._layer.descriptor.size
        thread.join(_TICK)
        while thread.is_alive():
            self._fetcher.reporter.tell("Extracting", name, min(self._progress.read, size), size)
            self._fetcher.cancel.check()
            thread.join(_TICK)

    def _verified(self) -> NewLayer:
        """The layer, if it is what the manifest and the configuration say. Raises _Refused."""
        descriptor = self._layer.descriptor
        if isinstance(self._failure, _native.NativeError):
            error = translate(self._failure)
            error = type(error)(f"layer {descriptor.digest}: {error}")
            error.__cause__ = self._failure
            raise _Refused(error)
        if self._failure is not None:
            raise self._failure
        result = self._result
        if result is None:
            raise AssertionError("unpacking ends with a result or a failure")
        # Which of them is wrong says who lied: the registry, or whoever wrote the manifest or the configuration.
        if result.digest != descriptor.digest or result.compressed_size != descriptor.size:
            raise _Refused(
                Corrupt(
                    f"layer {descriptor.digest}: the registry sent {result.compressed_size} bytes with the digest "
                    f"{result.digest}, not {descriptor.size} bytes with that one"
                )
            )
        if result.diff_id != self._layer.diff_id:
            raise _Refused(
                Corrupt(
                    f"layer {descriptor.digest}: its tar has the digest {result.diff_id}, and the image's "
                    f"configuration says {self._layer.diff_id}"
                )
            )
        return NewLayer(result.diff_id, result.size, self._directory, result.tar_size)


def document(
    origin: Origin, descriptor: Descriptor, *, attempts: int = _ATTEMPTS, cancel: Cancel | None = None
) -> bytes:
    """A small blob as a whole, checked against its descriptor, however often the connection breaks.

    Raises Corrupt for other bytes, and as :meth:`Origin.blob`.
    """
    for attempt in range(1, max(1, attempts) + 1):
        data = bytearray(descriptor.size)
        view, done = memoryview(data), 0
        try:
            with origin.blob(descriptor.digest, size=descriptor.size, cancel=cancel) as reader:
                while done < len(data) and (count := reader.readinto(view[done:])):
                    done += count
            break
        except RegistryUnreachable:
            if attempt >= attempts:
                raise
            sleep(min(0.25 * 2**attempt, 5.0), cancel)
    text = bytes(data[:done])
    if content.digest_of(text) != descriptor.digest or done != descriptor.size:
        raise Corrupt(
            f"configuration {descriptor.digest}: the registry sent {done} bytes with the digest "
            f"{content.digest_of(text)}"
        )
    return text


def short(digest: str) -> str:
    """The 12 digits that progress shows."""
    return digest.partition(":")[2][:12]
