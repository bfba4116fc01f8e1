"""COPY and ADD of files: where each one goes in the tree below, and the layer's tar that puts it there."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from minidock.build.merged import Node
from minidock.errors import InvalidArgument
from minidock.images.layer_tar import TarWriter, is_wanted, split_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from minidock.build.merged import Merged
    from minidock.build.sources import Found, Match, Source

_SMALL = 128 << 10
"""Bytes of a file that go through a buffer."""
_DIRECTORY_MODE = 0o755
_UMASK = 0o022
_FILE_MODE = 0o644
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_PIECE = 16 << 20
"""Bytes of a file that are copied between two checks."""


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
    to keep their own; ``now`` that of directories that are made. ``check`` is called again and again while files are
    read, and what it raises ends that.
    """

    def __init__(
        self,
        below: Merged,
        *,
        owner: tuple[int, int] | None,
        mode: str,
        date: int | None,
        now: int,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._check = check
        self._below = below
        self._owner = owner
        self._mode = mode
        # Docker makes directories with an octal --chmod's permissions, of which its umask takes away some.
        self._new = int(mode, 8) & 0o777 & ~_UMASK if mode.isdigit() else _DIRECTORY_MODE
        self._date = date
        self._now = now
        self._group = 0
        self.items: dict[str, Item] = {}
        self._replaced: set[str] = set()
        """Paths whose former files are no longer there, and all below them."""

    def copy(self, source: Source, match: Match, destination: str) -> None:
        """Copy a file, or what a directory holds, to ``destination``; one that ends in a slash is a directory.

        Raises InvalidArgument when a directory is to take a file's place, or the reverse.
        """
        self._group += 1
        into = self._resolve(destination)
        if not match.is_directory and (destination.endswith("/") or self._is_directory(into)):
            into = f"{into}/{match.name}" if into else match.name
            if not match.name:
                raise InvalidArgument(f"cannot copy {source.shown} to {destination}: it has no name")
        self._make_directory(into if match.is_directory else into.rpartition("/")[0])
        for found in match.files:
            if match.is_directory and not found.below:
                continue
            path = "/".join(part for part in (into, found.below) if part)
            self._put(path, found.node, found.xattrs, source)

    def unpack(self, source: Source, match: Match, destination: str, implied: Callable[[Node], bool]) -> None:
        """Put an archive's files into the directory ``destination``; ``--chmod`` does not count for them.

        ``implied`` tells of a directory that the archive has no entry of: one that is there stays as it is.
        """
        self._group += 1
        into = self._resolve(destination)
        self._make_directory(into, mode=_DIRECTORY_MODE)
        places = {"": into}
        for found in match.files[1:]:
            above, _, name = found.below.rpartition("/")
            path = f"{places[above]}/{name}" if places[above] else name
            if found.node.is_directory and implied(found.node):
                path = self._below.resolve(path) if self._is_link(path) else path
                self._imply(path)
            else:
                self._replace(path, is_directory=found.node.is_directory)
                self._put(path, found.node, found.xattrs, source, change=False)
            places[found.below] = path

    def _is_link(self, path: str) -> bool:
        seen = self._look(path)
        return seen is not None and stat.S_ISLNK(seen[0])

    def _imply(self, path: str) -> None:
        if self._is_directory(path):
            return
        self._require(path, is_directory=True)
        self._make_directory(path.rpartition("/")[0])
        made = self._made(path, _DIRECTORY_MODE, None)
        self.items[path] = made._replace(mode=made.mode & ~stat.S_ISGID)

    def _replace(self, path: str, *, is_directory: bool) -> None:
        """Make room for an archive's entry, which takes the place of what is no directory like itself."""
        seen = self._look(path)
        if seen is None or (is_directory and stat.S_ISDIR(seen[0])):
            return
        if path in self.items:
            for below in [name for name in self.items if name == path or name.startswith(f"{path}/")]:
                del self.items[below]
        if is_directory and self._lower(path) is not None:
            opaque = f"{path}/{_OPAQUE}"
            self.items[opaque] = Item(opaque, stat.S_IFREG, 0, 0, self._now if self._date is None else self._date)
        self._replaced.add(path)

    def copy_with_parents(
        self, source: Source, match: Match, destination: str, above: Sequence[Found], *, drop: int
    ) -> None:
        """Copy as :meth:`copy`, below the directories ``above``: those that the match is in, but the first ``drop``."""
        self._group += 1
        into = self._resolve(destination)
        self._make_directory(into)
        parts = match.path.split("/")
        for found in above:
            path = "/".join(part for part in (into, found.below) if part)
            if not self._is_directory(path):
                self._put(path, found.node, found.xattrs, source)
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
        _check_name(into)
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
        node = self._lower(path)
        return None if node is None else (node.status.st_mode, node)

    def _lower(self, path: str) -> Node | None:
        if self._replaced:
            parts = path.split("/")
            if any("/".join(parts[:count]) in self._replaced for count in range(1, len(parts) + 1)):
                return None
        return self._below.look(path)

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

    def _make_directory(self, path: str, *, mode: int | None = None) -> None:
        """Make a directory with all above it; those that are there stay as they are."""
        missing = [path]
        while missing[-1] and missing[-1] not in self.items:
            missing.append(missing[-1].rpartition("/")[0])
        for one in reversed(missing):
            self._make_one(one, mode)

    def _make_one(self, path: str, mode: int | None) -> None:
        self._require(path, is_directory=True)
        if path in self.items:
            return
        node = self._lower(path)
        if node is not None:
            status = node.status
            time = self._now if self._date is None else self._date
            self.items[path] = Item(
                path, status.st_mode, status.st_uid, status.st_gid, time, node=node, xattrs=xattrs(node.place)
            )
            return
        self.items[path] = self._made(path, self._new if mode is None else mode, self._owner)

    def _made(self, path: str, mode: int, owner: tuple[int, int] | None) -> Item:
        """A directory that comes to be for the sake of what is in it."""
        time = self._now if self._date is None else self._date
        if not path:  # the top of no image at all
            return Item(path, stat.S_IFDIR | _DIRECTORY_MODE, 0, 0, time)
        _check_name(path)
        uid, gid = owner or (0, 0)
        above = self._look(path.rpartition("/")[0])
        if above is not None and above[0] & stat.S_ISGID:
            mode |= stat.S_ISGID
            if owner is None:
                gid = above[1].gid if isinstance(above[1], Item) else above[1].status.st_gid
        return Item(path, stat.S_IFDIR | mode, uid, gid, time)

    def _put(
        self,
        path: str,
        node: Node,
        attributes: tuple[tuple[str, bytes], ...],
        source: Source,
        *,
        change: bool = True,
    ) -> None:
        self._make_directory(path.rpartition("/")[0])
        self._require(path, is_directory=node.is_directory)
        _check_name(path)
        status = node.status
        mode = status.st_mode
        if change and not stat.S_ISLNK(mode):
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
        writer = _Writer(out)
        writer.check = self._check
        writer.run(items[path] for path in sorted(items, key=os.fsencode) if path or not leave)


class _Writer:
    check: Callable[[], None]

    def __init__(self, out: int) -> None:
        self._out = out
        self._tar = TarWriter(out)
        self._links: dict[tuple[int, int, int], bytes] = {}

    def run(self, items: Iterable[Item]) -> None:
        for item in items:
            self.check()
            self._add(item)
        self._tar.finish()

    def _add(self, item: Item) -> None:
        path = os.fsencode(item.path)
        kind = stat.S_IFMT(item.mode)
        if kind == stat.S_IFDIR:
            self._header(item, path + b"/" if path else b"./", b"5")
            return
        if item.node is None or item.source is None:
            self._header(item, path, b"0", size=len(item.data))
            self._tar.put(item.data)
            self._tar.pad(len(item.data))
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
            if size > _SMALL:
                self._tar.flush()
                while left:
                    self.check()
                    sent = os.sendfile(self._out, fd, None, min(left, _PIECE))
                    if not sent:
                        break
                    left -= sent
            else:
                while left and (data := os.read(fd, left)):
                    self._tar.put(data)
                    left -= len(data)
            if left:
                raise InvalidArgument(f"{item.node.path}: becomes shorter while it is read for the build; build again")
            item.source.settle(item.node, fd)
            self._tar.pad(size)
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
        self._tar.entry(
            path,
            kind,
            mode=item.mode & 0o7777,
            owner=(item.uid, item.gid),
            mtime=split_time(item.mtime_ns),
            size=size,
            link=link,
            device=device,
            xattrs=() if kind == b"1" else ((os.fsencode(name), value) for name, value in item.xattrs),
        )


def _check_name(path: str) -> None:
    """Raise InvalidArgument for a file that would delete another one, as a layer of RUN does."""
    if path.rpartition("/")[2].startswith(_WHITEOUT):
        raise InvalidArgument(
            f"{path}: a name that starts with {_WHITEOUT} would delete something where the layer is used"
        )


def xattrs(place: str) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes of a directory that a layer has, too."""
    try:
        names: Sequence[str] = os.listxattr(place, follow_symlinks=False)
        return tuple((name, os.getxattr(place, name, follow_symlinks=False)) for name in names if is_wanted(name))
    except OSError:
        return ()
