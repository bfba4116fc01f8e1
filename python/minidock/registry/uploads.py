"""Uploading a blob.

A small blob goes in one PUT. A larger one goes in one PATCH, as Docker sends it, because every registry takes that; in
several where the registry names a chunk size or refuses a body as too large. What broke goes on where the registry's
session stands, or begins anew where that does not know.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from minidock.errors import Corrupt, RegistryError, RegistryUnreachable
from minidock.registry import failures, wire
from minidock.registry.session import Answer, Body
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from minidock.registry.cancel import Cancel
    from minidock.registry.repository import Repository

MONOLITHIC = 64 << 20
"""Size up to which a blob goes in one PUT."""
_CHUNK = 64 << 20
_LEAST_CHUNK = 1 << 20
_PIECE = 1 << 20
_OCTETS = "application/octet-stream"


class Blob(NamedTuple):
    """What is to be uploaded."""

    digest: str
    size: int
    fd: int
    progress: Callable[[int], None] | None

    def body(self, start: int, end: int) -> Body:
        """The bytes from ``start`` to before ``end``."""
        return Body(end - start, lambda: self._pieces(start, end))

    def _pieces(self, start: int, end: int) -> Iterator[memoryview]:
        view = memoryview(bytearray(min(_PIECE, end - start)))
        while start < end:
            try:
                count = os.preadv(self.fd, [view[: end - start]], start)
            except OSError as error:
                raise from_os(error, "read", f"blob {self.digest}") from error
            if not count:
                raise Corrupt(f"upload blob {self.digest}: it has {start} bytes, not {self.size}")
            yield view[:count]
            start += count
            self.reached(start)

    def reached(self, count: int) -> None:
        """Tell the caller."""
        if self.progress is not None:
            self.progress(count)


class _Interruption(Exception):  # noqa: N818
    """The upload must go on elsewhere than it is: ``error`` is what to raise when there are no attempts left."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Upload:
    """One upload. ``location`` is where its session is now, ``offset`` how much of the blob that has."""

    def __init__(self, repository: Repository, blob: Blob, cancel: Cancel | None) -> None:
        self._repository = repository
        self._blob = blob
        self._cancel = cancel
        self._what = f"upload blob {blob.digest} to {repository.name}"
        self._location = ""
        self._offset = 0
        self._chunk: int | None = None
        self._least = _LEAST_CHUNK

    def run(self, location: str = "") -> None:
        """Upload, in the session at ``location`` if there is one already."""
        self._location = location
        attempts = self._repository.attempts(self._cancel)
        broken = False
        while True:
            reached = self._offset
            try:
                if broken and self._is_there():
                    return
                if broken or not self._location:
                    self._find()
                self._send()
            except wire.Hopeless:
                raise
            except (RegistryUnreachable, _Interruption) as error:
                if self._offset > reached:  # it goes on, if slowly
                    attempts = self._repository.attempts(self._cancel)
                if not attempts.more():
                    raise (error.error if isinstance(error, _Interruption) else error) from error
                broken = True
            else:
                return

    def _is_there(self) -> bool:
        """Whether the answer that was lost was that all is well."""
        try:
            there = self._repository.has_blob(self._blob.digest, cancel=self._cancel) is not None
        except RegistryUnreachable:
            raise
        except RegistryError:
            return False
        if there:
            self._blob.reached(self._blob.size)
        return there

    def _find(self) -> None:
        """Ask the session how far it is, or begin a new one."""
        if self._location:
            answer = self._repository.send("GET", "", url=self._location, again=False, cancel=self._cancel)
            answer.close()
            at = _reached(answer.header("range"))
            if answer.status in (200, 204) and at is not None and at <= self._blob.size:
                self._moved(answer, at)
                return
            self._location, self._offset = "", 0
        answer = self._repository.send("POST", "blobs/uploads/", cancel=self._cancel)
        if answer.status != 202:
            raise self._repository.failed(self._what, answer)
        answer.discard()
        self._moved(answer, 0)
        if not self._location:
            raise RegistryError(f"{self._what}: the registry does not say where to")
        least = answer.header("oci-chunk-min-length")
        if least.isascii() and least.isdigit() and len(least) < 12:
            self._least = max(_LEAST_CHUNK, int(least))
            self._chunk = max(_CHUNK, self._least)

    def _moved(self, answer: Answer, offset: int) -> None:
        self._location = self._repository.target(answer) or self._location
        self._offset = offset
        self._blob.reached(offset)

    def _send(self) -> None:
        size = self._blob.size
        if self._offset == 0 and (self._chunk or MONOLITHIC) >= size and size <= MONOLITHIC:
            self._finish(0)
            return
        while self._offset < size:
            self._patch(min(size, self._offset + (self._chunk or size)))
        self._finish(size)

    def _patch(self, end: int) -> None:
        start = self._offset
        headers = {"Content-Type": _OCTETS}
        if start or end < self._blob.size:
            headers["Content-Range"] = f"{start}-{end - 1}"
        answer = self._repository.send(
            "PATCH",
            "",
            url=self._location,
            headers=headers,
            body=self._blob.body(start, end),
            again=False,
            cancel=self._cancel,
        )
        if answer.status not in (201, 202, 204):
            raise self._refused(answer)
        answer.discard()
        told = answer.header("range")
        at = _reached(told) if told else end
        if at is None or not start < at <= end:
            raise _Interruption(RegistryError(f"{self._what}: the registry has {told[:40]!r} after byte {end}"))
        self._moved(answer, at)

    def _finish(self, start: int) -> None:
        """The last PUT, with the rest of the blob from ``start`` on."""
        joint = "&" if "?" in self._location else "?"
        answer = self._repository.send(
            "PUT",
            "",
            url=f"{self._location}{joint}digest={self._blob.digest}",
            headers={"Content-Type": _OCTETS},
            body=self._blob.body(start, self._blob.size),
            again=False,
            cancel=self._cancel,
        )
        if answer.status not in (200, 201, 202, 204):
            raise self._refused(answer)
        answer.discard()
        named = answer.header("docker-content-digest")
        if named and named != self._blob.digest:
            raise Corrupt(f"{self._what}: the registry has stored {failures.printable(named, 100)}")
        self._blob.reached(self._blob.size)

    def _refused(self, answer: Answer) -> Exception:
        """What to raise for a refused PATCH or PUT."""
        failure = self._repository.failed
        if answer.status in (404, 416, 500, 502, 503, 504):
            return _Interruption(failure(self._what, answer))
        if answer.status == 413:
            smaller = min(self._chunk or _CHUNK * 2, self._blob.size) // 2
            if smaller >= self._least:
                self._chunk = smaller
                return _Interruption(failure(self._what, answer))
        if answer.status == 400:
            refused = failures.refusal(answer)
            if refused.codes & {"DIGEST_INVALID", "SIZE_INVALID"}:
                return Corrupt(f"{self._what}: the registry got other bytes: {refused.text}")
            return failures.failed(self._what, refused)
        return failure(self._what, answer)


def _reached(value: str) -> int | None:
    """The bytes that a session has by its Range; ``0-0``, which is both none and one, counts as none."""
    first, dash, last = value.removeprefix("bytes=").removeprefix("bytes ").partition("-")
    if first != "0" or not dash or not (last.isascii() and last.isdigit() and len(last) <= 18):
        return None
    return int(last) + 1 if int(last) else 0
