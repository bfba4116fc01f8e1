"""Reading a blob as a stream that can start anywhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from minidock.errors import Corrupt, RegistryError, RegistryUnreachable

if TYPE_CHECKING:
    from minidock.registry.session import Answer


class BlobReader:
    """The bytes of a blob from ``offset`` on; a context manager. It does not check the digest.

    ``offset`` is where the stream really starts: 0 where the server ignored the range. ``size`` is that of the whole
    blob, None if neither the caller nor the server told it.
    """

    __slots__ = ("_answer", "_left", "_what", "offset", "size")

    def __init__(self, what: str, answer: Answer | None, offset: int, size: int | None) -> None:
        self._what = what
        self._answer = answer
        self.offset = offset
        self.size = size
        self._left = None if size is None else size - offset

    def readinto(self, view: memoryview) -> int:
        """Fill some of ``view``; 0 at the end.

        Raises RegistryUnreachable for a stream that breaks off or stalls, from which a new reader can go on; Corrupt
        for one that is longer than the blob; Cancelled, Timeout.
        """
        if self._answer is None or not view:
            return 0
        if self._left == 0:
            # The answer's own length was compared before; without one, it must end here.
            if self._answer.length is None and self._answer.readinto(memoryview(bytearray(1))):
                raise Corrupt(f"{self._what}: the registry sends more than its {self.size} bytes")
            self.close()
            return 0
        count = self._answer.readinto(view if self._left is None else view[: self._left])
        if self._left is not None:
            self._left -= count
            if not count:
                raise RegistryUnreachable(f"{self._what}: the registry sends {self._left} bytes too few")
        return count

    def close(self) -> None:
        """Give the connection back."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def reader(what: str, answer: Answer, offset: int, size: int | None) -> BlobReader:
    """The reader of a 200, 206 or 416 answer to a request for the bytes from ``offset`` on of a blob of ``size`` bytes.

    Raises Corrupt where the answer's headers contradict the size, RegistryError for a range that was not asked for.
    """
    with answer.closed_on_failure():
        return _checked(what, answer, offset, size)


def _checked(what: str, answer: Answer, offset: int, size: int | None) -> BlobReader:
    if answer.status == 416:
        answer.close()
        total = _total(answer.header("content-range").partition("/")[2])
        if (total if size is None else size) == offset:
            return BlobReader(what, None, offset, offset)
        raise Corrupt(f"{what}: the registry has only {total or 'fewer'} bytes, and {offset} of it are here")
    start, total, length = 0, answer.length, answer.length
    if answer.status == 206:
        start, end, total = _content_range(what, answer.header("content-range"))
        if start != offset or (length is not None and length != end - start + 1):
            raise RegistryError(f"{what}: the registry sends other bytes than those from {offset} on")
        length = end - start + 1
        if total is None:
            total = size
        if total is not None and end != total - 1:
            raise RegistryError(f"{what}: the registry sends only the bytes {start} to {end}")
    if size is not None and total is not None and total != size:
        raise Corrupt(f"{what}: has {total} bytes in the registry, and the manifest says {size}")
    return BlobReader(what, answer, start, size if size is not None else total)


def _content_range(what: str, value: str) -> tuple[int, int, int | None]:
    unit, _, rest = value.partition(" ")
    spans, slash, total = rest.strip().partition("/")
    first, dash, last = spans.partition("-")
    if unit.lower() == "bytes" and slash and dash and _is_number(first) and _is_number(last):
        start, end = int(first), int(last)
        if start <= end and (total == "*" or (_is_number(total) and end < int(total))):
            return start, end, _total(total)
    raise RegistryError(f"{what}: the registry sends a part, and does not say which: content-range {value[:60]!r}")


def _total(text: str) -> int | None:
    return int(text) if _is_number(text) else None


def _is_number(text: str) -> bool:
    return 0 < len(text) <= 18 and text.isascii() and text.isdigit()
