"""A directory of a running host as a layer's tar: what is mounted below, sockets and what is excluded left out.

``_native.tar_tree`` is for trees that nobody else touches, on one file system, whole; here files may grow, vanish and
appear meanwhile, as on ``/``.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence

from minidock.errors import InvalidArgument, LimitExceeded, Unsupported
from minidock.images.layer_tar import TarWriter, split_time
from minidock.store.failures import from_os

_CHUNK = 1 << 20
_DEEPEST = 500
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


Skip = Callable[[bytes], bool]
"""Whether a path, relative to the top, is left out."""


class Changed(Exception):  # noqa: N818 - says what happened
    """A file became another while it was read: what was written is of no use."""


def matcher(patterns: Iterable[str]) -> Skip:
    """Whether a path, relative to the top, is excluded. Raises InvalidArgument for a pattern that is none.

    ``*``, ``?`` and ``[…]`` match within a name and ``**`` across directories; ``\\`` takes what follows as it is.
    A pattern without ``/`` is of a name anywhere; another is of a path from the top.
    """
    parts = []
    for pattern in patterns:
        text = os.fsencode(pattern)
        bare = text.strip(b"/")
        if not bare or b"\0" in bare or any(part in (b".", b"..") for part in bare.split(b"/")):
            raise InvalidArgument(f"exclude {pattern!r}: expected a name, or a path from the top, such as /var/cache/*")
        anchored = b"/" in text.rstrip(b"/")
        parts.append((b"" if anchored else b"(?:.*/)?") + _regex(bare, pattern))
    if not parts:
        return lambda _path: False
    compiled = re.compile(b"|".join(b"(?:%s)" % part for part in parts), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def _regex(text: bytes, pattern: str) -> bytes:
    out, at = b"", 0
    while at < len(text):
        if text.startswith(b"**/", at) and (at == 0 or text[at - 1 : at] == b"/"):
            out, at = out + b"(?:.*/)?", at + 3
        elif text.startswith(b"**", at):
            out, at = out + b".*", at + 2
        elif text[at : at + 1] == b"*":
            out, at = out + b"[^/]*", at + 1
        elif text[at : at + 1] == b"?":
            out, at = out + b"[^/]", at + 1
        elif text[at : at + 1] == b"[":
            end = text.find(b"]", at + 2)
            if end < 0:
                raise InvalidArgument(f"exclude {pattern!r}: a [ without its ]")
            inside = text[at + 1 : end]
            negated = inside[:1] in (b"!", b"^")
            inside = re.sub(rb"([\\\]\[^&~|])", rb"\\\1", inside[1:] if negated else inside)
            out, at = out + b"(?!/)[" + (b"^" if negated else b"") + inside + b"]", end + 1
        else:
            at += text[at : at + 1] == b"\\" and at + 1 < len(text)
            out, at = out + re.escape(text[at : at + 1]), at + 1
    try:
        re.compile(out)
    except re.error as error:
        raise InvalidArgument(f"exclude {pattern!r}: {error}") from error
    return out


def mount_points() -> set[bytes]:
    """Everything that something is mounted on, as this process sees it."""
    with open("/proc/self/mountinfo", "rb") as file:
        fields = [line.split(b" ") for line in file]
    return {re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), one[4]) for one in fields if len(one) > 4}


class Writer:
    """Writes the tree below ``top``, a directory's real path, to a descriptor.

    ``skip`` gets paths relative to the top; ``mounts`` are such paths: a directory among them is written empty, a file
    left out. No time is later than ``clamp`` (seconds since 1970).
    """

    def __init__(
        self,
        top: str,
        out: int,
        *,
        skip: Skip,
        mounts: frozenset[bytes] = frozenset(),
        clamp: int | None = None,
    ) -> None:
        self._top = top
        self._tar = TarWriter(out)
        self._skip = skip
        self._mounts = mounts
        self._clamp = clamp
        self._links: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        """Write everything.

        Raises Changed, InvalidArgument for a name that means a whiteout, Unsupported for overlayfs' own form of a
        directory, BrokenPipeError, and from_os' exceptions, which name the file.
        """
        levels: list[tuple[int, bytes, list[bytes]]] = []
        try:
            fd = self._open(os.fsencode(self._top), _DIRECTORY, b".", None)
            if fd is None:
                raise from_os(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), "read", self._top)
            levels.append((fd, b"", []))
            levels[0] = (fd, b"", self._directory(fd, b"", os.fstat(fd)))
            while levels:
                fd, path, names = levels[-1]
                if not names:
                    os.close(fd)
                    levels.pop()
                    continue
                name = names.pop()
                below = path + b"/" + name if path else name
                opened = self._add(fd, name, below)
                if opened is not None:
                    levels.append((opened, below, []))
                    levels[-1] = (opened, below, self._directory(opened, below, os.fstat(opened)))
                    if len(levels) > _DEEPEST:
                        raise LimitExceeded(f"{self._shown(below)}: nested more than {_DEEPEST} directories deep")
            self._tar.finish()
        finally:
            for fd, _, _ in levels:
                os.close(fd)

    def _directory(self, fd: int, path: bytes, status: os.stat_result) -> list[bytes]:
        """Write a directory's own entry; returns the names in it, last first."""
        attributes = self._attributes(fd, path)
        self._header(path + b"/" if path else b"./", b"5", status, attributes=attributes)
        if (b"trusted.overlay.opaque", b"y") in attributes:
            self._whiteout((path + b"/" if path else b"") + b".wh..wh..opq")
        try:
            return sorted(map(os.fsencode, os.listdir(fd)), reverse=True)
        except OSError as error:
            raise from_os(error, "read", self._shown(path)) from error

    def _add(self, parent: int, name: bytes, path: bytes) -> int | None:
        """Write one file; of a directory, return its descriptor instead."""
        if self._skip(path):
            return None
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None  # deleted meanwhile
        except OSError as error:
            raise from_os(error, "look at", self._shown(path)) from error
        mode = status.st_mode
        if stat.S_ISSOCK(mode):
            return None
        if name.startswith(b".wh."):
            raise InvalidArgument(
                f"{self._shown(path)}: a name that starts with .wh. would delete something where the layer is used"
            )
        if path in self._mounts:
            if stat.S_ISDIR(mode):
                self._header(path + b"/", b"5", status)
            return None
        if stat.S_ISDIR(mode):
            return self._open(name, _DIRECTORY, path, parent)
        if stat.S_ISCHR(mode) and status.st_rdev == 0:
            self._whiteout(path[: len(path) - len(name)] + b".wh." + name)
            return None
        if status.st_nlink > 1:
            first = self._links.get((status.st_dev, status.st_ino))
            if first is not None:
                self._header(path, b"1", status, link=first)
                return None
        if stat.S_ISREG(mode):
            self._file(parent, name, path)
        else:
            self._node(parent, name, path, status)
        return None

    def _file(self, parent: int, name: bytes, path: bytes) -> None:
        fd = self._open(name, _FILE, path, parent)
        if fd is None:
            return
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Changed(self._shown(path))
            if status.st_nlink > 1:
                self._links.setdefault((status.st_dev, status.st_ino), path)
            self._header(path, b"0", status, size=status.st_size, attributes=self._attributes(fd, path))
            left = status.st_size
            while left:
                try:
                    data = os.read(fd, min(left, _CHUNK))
                except OSError as error:
                    raise from_os(error, "read", self._shown(path)) from error
                if not data:
                    raise Changed(self._shown(path))
                self._tar.put(data)
                left -= len(data)
            self._tar.pad(status.st_size)
        finally:
            os.close(fd)

    def _node(self, parent: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        """A link, device or pipe."""
        fd = self._open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, path, parent)
        if fd is None:
            return
        try:
            now = os.fstat(fd)
            if stat.S_IFMT(now.st_mode) != stat.S_IFMT(status.st_mode):
                raise Changed(self._shown(path))
            attributes = self._attributes(f"/proc/self/fd/{fd}", path)
            if now.st_nlink > 1:
                self._links.setdefault((now.st_dev, now.st_ino), path)
            if stat.S_ISLNK(now.st_mode):
                self._header(path, b"2", now, link=os.readlink(b"", dir_fd=fd), attributes=attributes)
            else:
                kind = b"3" if stat.S_ISCHR(now.st_mode) else b"4" if stat.S_ISBLK(now.st_mode) else b"6"
                self._header(path, kind, now, device=kind != b"6", attributes=attributes)
        except OSError as error:
            raise from_os(error, "read", self._shown(path)) from error
        finally:
            os.close(fd)

    def _open(self, name: bytes, flags: int, path: bytes, parent: int | None) -> int | None:
        """Open a file; None when it is gone meanwhile."""
        try:
            return os.open(name, flags, dir_fd=parent)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Changed(self._shown(path)) from error
            raise from_os(error, "open", self._shown(path)) from error

    def _attributes(self, file: int | str, path: bytes) -> list[tuple[bytes, bytes]]:
        found = []
        try:
            for name in os.listxattr(file):
                if name in ("trusted.overlay.redirect", "trusted.overlay.metacopy"):
                    raise Unsupported(f"{self._shown(path)}: overlayfs keeps only part of it here; exclude it")
                try:
                    found.append((os.fsencode(name), os.getxattr(file, name)))
                except OSError as error:
                    if error.errno != errno.ENODATA:
                        raise
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOENT):
                raise from_os(error, "read attributes of", self._shown(path)) from error
        return found

    def _whiteout(self, path: bytes) -> None:
        self._tar.entry(path, b"0")

    def _header(
        self,
        path: bytes,
        kind: bytes,
        status: os.stat_result,
        *,
        size: int = 0,
        link: bytes = b"",
        device: bool = False,
        attributes: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        mtime = split_time(status.st_mtime_ns)
        if self._clamp is not None and mtime[0] >= self._clamp:
            mtime = (self._clamp, 0)
        self._tar.entry(
            path,
            kind,
            mode=status.st_mode & 0o7777,
            owner=(status.st_uid, status.st_gid),
            mtime=mtime,
            size=size,
            link=link,
            device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if device else None,
            xattrs=attributes,
        )

    def _shown(self, path: bytes) -> str:
        return os.path.join(self._top, os.fsdecode(path)) if path else self._top
