"""COPY and ADD of files: where each one goes in the tree below, and the layer's tar that puts it there."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from minidock.build.merged import Node
from minidock.errors import InvalidArgument
from minidock.images.rootfs_tar import block, is_wanted, record, time_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minidock.build.merged import Merged
    from minidock.build.sources import Match, Source

_BLOCK = 512
_CHUNK = 1 << 20
_OCTAL_SIZE = 0o77777777777
_OCTAL_ID = 0o7777777
_SECOND = 10**9
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644


class Item(NamedTuple):
    """One entry of a layer. ``path`` has no links and no leading slash; ``node`` or ``data`` is its content."""

    path: str
    mode: int
    """Type and permissions."""
    uid: int
    gid: int
    mtime_ns: int
    source: Source | None = None
    node: Node | None = None
    data: bytes = b""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    group: int = 0
    """Names of one file are hard links within what one source names."""


class Placing:
    """Puts files into the tree ``below``; what comes later replaces what came earlier.

    ``owner`` and ``mode`` are those of ``--chown`` and ``--chmod``. ``date`` in ns is the time of every file, or None
    to keep their own; ``now`` that of directories that are made.
    """

    def __init__(
        self,
        below: Merged,
        *,
        owner: tuple[int, int] | None,
        mode: str,
        date: int | None,
        now: int,
    ) -> None:
        self._below = below
        self._owner = owner
        self._mode = mode
        self._date = date
        self._now = now
        self._group = 0
        self.items: dict[str, Item] = {}

    def copy(self, source: Source, match: Match, destination: str) -> None:
        """Copy a file, or what a directory holds, to ``destination``; one that ends in a slash is a directory.

        Raises InvalidArgument when a directory is to take a file's place, or the reverse.
        """
        self._group += 1
        into = self._resolve(destination)
        top = match.files[0]
        if not match.is_directory and (destination.endswith("/") or self._is_directory(into)):
            into = f"{into}/{match.name}" if into else match.name
            if not match.name:
                raise InvalidArgument(f"cannot copy {source.shown} to {destination}: it has no name")
        if match.is_directory:
            self._make_directory(into, changed=True, like=top.node, source=source)
        else:
            self._make_directory(into.rpartition("/")[0])
        for found in match.files:
            if match.is_directory and not found.below:
                continue
            path = "/".join(part for part in (into, found.below) if part)
            self._put(path, found.node, found.xattrs, source)

    def copy_with_parents(self, source: Source, match: Match, destination: str, *, drop: int) -> None:
        """Copy as :meth:`copy`, below directories like those that the match is in, but the first ``drop`` of them."""
        self._group += 1
        into = self._resolve(destination)
        self._make_directory(into)
        parts = match.path.split("/")
        for count in range(drop + 1, len(parts)):
            node = source.tree.look(source.tree.resolve("/".join(parts[:count])))
            path = "/".join(part for part in (into, *parts[drop:count]) if part)
            if node is not None and not self._is_directory(path):
                self._put(path, node, xattrs(node.place), source)
        for found in match.files:
            path = "/".join(part for part in (into, *parts[drop:], found.below) if part)
            if not found.node.is_directory or not self._is_directory(path):
                self._put(path, found.node, found.xattrs, source)

    def _changed(self, mode: int, *, is_directory: bool) -> int:
        """The twelve bits of a file's mode as ``--chmod`` will have them."""
        if not self._mode:
            return mode
        from minidock.build.dockerfile import modes

        return modes.apply(self._mode, mode, is_directory=is_directory)

    def write(self, name: str, data: bytes, destination: str, *, mode: int = _FILE_MODE) -> None:
        """Make a file of ``data``; in a directory it is called ``name``."""
        into = self._resolve(destination)
        if destination.endswith("/") or self._is_directory(into):
            into = f"{into}/{name}" if into else name
        self._make_directory(into.rpartition("/")[0])
        self._require(into, is_directory=False)
        mode = stat.S_IFREG | self._changed(mode, is_directory=False)
        uid, gid = self._owner or (0, 0)
        self.items[into] = Item(into, mode, uid, gid, self._now if self._date is None else self._date, data=data)

    def directory(self, path: str) -> None:
        """Make a directory and those above it, where they are missing."""
        self._make_directory(self._resolve(path))

    def _resolve(self, destination: str) -> str:
        return self._below.resolve(destination.strip("/"))

    def _look(self, path: str) -> tuple[int, Item | Node] | None:
        """Mode and more of what is at a path, made by this copy or there before."""
        item = self.items.get(path)
        if item is not None:
            return item.mode, item
        node = self._below.look(path)
        return None if node is None else (node.status.st_mode, node)

    def _is_directory(self, path: str) -> bool:
        if not path:
            return True
        seen = self._look(path)
        return seen is not None and stat.S_ISDIR(seen[0])

    def _require(self, path: str, *, is_directory: bool) -> None:
        seen = self._look(path)
        if seen is None or stat.S_ISDIR(seen[0]) == is_directory:
            return
        if is_directory:
            raise InvalidArgument(f"cannot copy to non-directory: /{path}")
        raise InvalidArgument(f"cannot replace to directory /{path} with file")

    def _make_directory(
        self, path: str, *, changed: bool = False, like: Node | None = None, source: Source | None = None
    ) -> None:
        """Make a directory with all above it; those that are there stay as they are. ``changed``: it gets files."""
        if path in self.items:
            self._require(path, is_directory=True)
            return
        if path:
            self._make_directory(path.rpartition("/")[0])
        self._require(path, is_directory=True)
        node = self._below.look(path)
        time = self._now if self._date is None else self._date
        if node is not None:
            status = node.status
            self.items[path] = Item(
                path, status.st_mode, status.st_uid, status.st_gid, time, node=node, xattrs=xattrs(node.place)
            )
            return
        mode, (uid, gid) = _DIRECTORY_MODE, self._owner or (0, 0)
        if changed and like is not None:
            mode = self._changed(mode, is_directory=True)
            if source is not None and source.keeps_owners and self._owner is None:
                uid, gid = 0, 0
        self.items[path] = Item(path, stat.S_IFDIR | mode, uid, gid, time)

    def _put(self, path: str, node: Node, attributes: tuple[tuple[str, bytes], ...], source: Source) -> None:
        self._make_directory(path.rpartition("/")[0])
        self._require(path, is_directory=node.is_directory)
        status = node.status
        mode = status.st_mode
        if not stat.S_ISLNK(mode):
            mode = stat.S_IFMT(mode) | self._changed(stat.S_IMODE(mode), is_directory=stat.S_ISDIR(mode))
        uid, gid = self._owner or ((status.st_uid, status.st_gid) if source.keeps_owners else (0, 0))
        time = status.st_mtime_ns if self._date is None else self._date
        self.items[path] = Item(
            path, mode, uid, gid, time, source=source, node=node, xattrs=attributes, group=self._group
        )

    def write_tar(self, out: int) -> None:
        """Write the layer's tar. Raises OSError, and what reading the sources raises."""
        items = self.items
        top = items.get("")
        # A layer without an entry of its own for the top has this mode and owner there.
        leave = top is not None and (stat.S_IMODE(top.mode), top.uid, top.gid) == (_DIRECTORY_MODE, 0, 0)
        _Writer(out).run(items[path] for path in sorted(items, key=os.fsencode) if path or not leave)


class _Writer:
    def __init__(self, out: int) -> None:
        self._out = out
        self._pending: list[bytes] = []
        self._size = 0
        self._links: dict[tuple[int, int, int], bytes] = {}

    def run(self, items: Iterable[Item]) -> None:
        for item in items:
            self._add(item)
        self._put(bytes(2 * _BLOCK))
        self._flush()

    def _add(self, item: Item) -> None:
        path = os.fsencode(item.path)
        kind = stat.S_IFMT(item.mode)
        if kind == stat.S_IFDIR:
            self._header(item, path + b"/" if path else b"./", b"5")
            return
        if item.node is None or item.source is None:
            self._header(item, path, b"0", size=len(item.data))
            self._put(item.data + bytes(-len(item.data) % _BLOCK))
            return
        status = item.node.status
        if status.st_nlink > 1:
            identity = (item.group, status.st_dev, status.st_ino)
            first = self._links.setdefault(identity, path)
            if first is not path:
                self._header(item, path, b"1", link=first)
                return
        if kind == stat.S_IFREG:
            self._file(item, path)
        elif kind == stat.S_IFLNK:
            self._header(item, path, b"2", link=os.fsencode(os.readlink(item.node.place)))
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            self._header(item, path, b"3" if kind == stat.S_IFCHR else b"4", device=device)
        else:
            self._header(item, path, b"6")

    def _file(self, item: Item, path: bytes) -> None:
        assert item.source is not None and item.node is not None  # noqa: PT018, S101 - the caller looked
        size = item.node.status.st_size
        fd = item.source.open(item.node)
        try:
            self._header(item, path, b"0", size=size)
            left = size
            if size > _CHUNK // 8:
                self._flush()
                while left:
                    sent = os.sendfile(self._out, fd, None, left)
                    if not sent:
                        break
                    left -= sent
            else:
                while left and (data := os.read(fd, left)):
                    self._put(data)
                    left -= len(data)
            if left:
                raise InvalidArgument(f"{item.node.path}: becomes shorter while it is read for the build; build again")
            self._put(bytes(-size % _BLOCK))
        finally:
            os.close(fd)

    def _header(
        self,
        item: Item,
        path: bytes,
        kind: bytes,
        *,
        size: int = 0,
        link: bytes = b"",
        device: tuple[int, int] | None = None,
    ) -> None:
        records: list[tuple[bytes, bytes]] = []
        if len(path) > 100:
            records.append((b"path", path))
        if len(link) > 100:
            records.append((b"linkpath", link))
        owner = []
        for key, number in ((b"uid", item.uid), (b"gid", item.gid)):
            owner.append(0 if number > _OCTAL_ID else number)
            if number > _OCTAL_ID:
                records.append((key, b"%d" % number))
        if size > _OCTAL_SIZE:
            records.append((b"size", b"%d" % size))
        seconds, nanos = divmod(item.mtime_ns, _SECOND)
        fits = 0 <= seconds <= _OCTAL_SIZE
        if nanos or not fits:
            records.append((b"mtime", time_record(seconds, nanos)))
        if kind != b"1":
            records += [(b"SCHILY.xattr." + os.fsencode(name), value) for name, value in item.xattrs]
        if records:
            extended = b"".join(record(key, value) for key, value in records)
            self._put(block(b"PaxHeaders.0/xx", b"x", mode=_FILE_MODE, size=len(extended)))
            self._put(extended + bytes(-len(extended) % _BLOCK))
        self._put(
            block(
                path,
                kind,
                link=link,
                mode=item.mode & 0o7777,
                owner=(owner[0], owner[1]),
                size=0 if size > _OCTAL_SIZE else size,
                mtime=seconds if fits else 0,
                device=device,
            )
        )

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._size += len(data)
        if self._size >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(b"".join(self._pending))
        self._pending, self._size = [], 0
        while view:
            view = view[os.write(self._out, view) :]


def xattrs(place: str) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes of a directory that a layer has, too."""
    try:
        names: Sequence[str] = os.listxattr(place, follow_symlinks=False)
        return tuple((name, os.getxattr(place, name, follow_symlinks=False)) for name in names if is_wanted(name))
    except OSError:
        return ()
