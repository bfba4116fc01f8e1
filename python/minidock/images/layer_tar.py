"""A layer's tar, entry by entry: ustar headers, with PAX records for what those cannot hold.

The bytes are those that ``_native.tar_tree`` writes of the same files.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK = 1 << 20
_BLOCK = 512
_OCTAL_SIZE = 0o77777777777
_OCTAL_ID = 0o7777777
_SECOND = 10**9
_WANTED = ("security.capability", "security.ima", "system.posix_acl_access", "system.posix_acl_default")


class TarWriter:
    """Writes to the descriptor ``out``, many entries at a time. All raise OSError."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._pending: list[bytes] = []
        self._size = 0

    def entry(
        self,
        path: bytes,
        kind: bytes,
        *,
        mode: int = 0,
        owner: tuple[int, int] = (0, 0),
        mtime: tuple[int, int] = (0, 0),
        size: int = 0,
        link: bytes = b"",
        device: tuple[int, int] | None = None,
        xattrs: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Add the headers of an entry; its content follows by :meth:`put`, then :meth:`pad`.

        ``kind`` is ustar's, ``mtime`` seconds since 1970 and nanoseconds; of ``xattrs`` those stay that a layer has.
        """
        records: list[tuple[bytes, bytes]] = []
        if len(path) > 100:
            records.append((b"path", path))
        if len(link) > 100:
            records.append((b"linkpath", link))
        for key, number in ((b"uid", owner[0]), (b"gid", owner[1])):
            if number > _OCTAL_ID:
                records.append((key, b"%d" % number))
        if size > _OCTAL_SIZE:
            records.append((b"size", b"%d" % size))
        seconds, nanos = mtime
        fits = 0 <= seconds <= _OCTAL_SIZE
        if nanos or not fits:
            records.append((b"mtime", time_record(seconds, nanos)))
        for name, value in xattrs:
            if is_wanted(os.fsdecode(name)):
                records.append((b"SCHILY.xattr." + name, value))
        if records:
            extended = b"".join(record(key, value) for key, value in records)
            self.put(_block(b"PaxHeaders.0/xx", b"x", mode=0o644, size=len(extended)))
            self.put(extended)
            self.pad(len(extended))
        self.put(
            _block(
                path,
                kind,
                link=link,
                mode=mode,
                owner=(0 if owner[0] > _OCTAL_ID else owner[0], 0 if owner[1] > _OCTAL_ID else owner[1]),
                size=0 if size > _OCTAL_SIZE else size,
                mtime=seconds if fits else 0,
                device=device,
            )
        )

    def put(self, data: bytes) -> None:
        """Add bytes."""
        self._pending.append(data)
        self._size += len(data)
        if self._size >= _CHUNK:
            self.flush()

    def pad(self, size: int) -> None:
        """Fill the last block of a content of ``size`` bytes."""
        self.put(bytes(-size % _BLOCK))

    def flush(self) -> None:
        """Write what was added."""
        view = memoryview(b"".join(self._pending))
        self._pending, self._size = [], 0
        while view:
            view = view[os.write(self._out, view) :]

    def finish(self) -> None:
        """Write the end mark."""
        self.put(bytes(2 * _BLOCK))
        self.flush()


def split_time(nanoseconds: int) -> tuple[int, int]:
    """Nanoseconds since 1970 as seconds and nanoseconds."""
    return divmod(nanoseconds, _SECOND)


def is_wanted(name: str) -> bool:
    """Whether a layer has an attribute: those of overlayfs and of security modules are the host's own."""
    if name.startswith(("trusted.overlay.", "user.overlay.")):
        return False
    return name.startswith(("user.", "trusted.")) or name in _WANTED


def _block(
    path: bytes,
    kind: bytes,
    *,
    link: bytes = b"",
    mode: int = 0,
    owner: tuple[int, int] = (0, 0),
    size: int = 0,
    mtime: int = 0,
    device: tuple[int, int] | None = None,
) -> bytes:
    """A ustar header."""
    numbers = b"" if device is None else b"%07o\0%07o\0" % device
    raw = b"".join(
        (
            path[:100].ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, *owner, size, mtime),
            b" " * 8,
            kind,
            link[:100].ljust(100, b"\0"),
            b"ustar\00000".ljust(72, b"\0"),
            numbers,
        )
    ).ljust(_BLOCK, b"\0")
    return b"%s%07o\0%s" % (raw[:148], sum(raw), raw[156:])


def record(key: bytes, value: bytes) -> bytes:
    """A PAX record, which counts its own length."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length += len(str(length)) > len(str(rest))
    return b"%d %s=%s\n" % (length, key, value)


def time_record(seconds: int, nanos: int) -> bytes:
    """A time as PAX writes it."""
    sign = b""
    if seconds < 0:
        sign = b"-"
        seconds, nanos = (-(seconds + 1), _SECOND - nanos) if nanos else (-seconds, 0)
    if not nanos:
        return b"%s%d" % (sign, seconds)
    return (b"%s%d.%09d" % (sign, seconds, nanos)).rstrip(b"0")
