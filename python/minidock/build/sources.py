"""What COPY and ADD read from: the build context, a stage, an image. Files are found, filtered and digested."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.build.dockerfile import paths
from minidock.build.merged import Merged, Node
from minidock.errors import Conflict, InvalidArgument, LimitExceeded, MinidockError
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.build.ignore import Ignore
    from minidock.store.build_cache import BuildCache

_FRESH_NS, _COARSE_NS = 50_000_000, 2_100_000_000
"""A file that was changed so shortly before it was read may change again without a new time: where a file system keeps
whole seconds only (ext4 with small inodes, ext3, FAT), the second is the longer one."""
_SMALL = 64 << 10
_FEW = 1000
_WILD = re.compile(r"[*?\[\\]")

_Known = dict[str, tuple[int, int, int, int, bytes]]
"""By path: inode, size, mtime and ctime in ns, digest."""
_encode = msgspec.msgpack.Encoder().encode


class Found(NamedTuple):
    """A file that is copied: where it goes below the copy's destination (empty: the top itself), and what it is."""

    below: str
    node: Node
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Match(NamedTuple):
    """What one source means: the name that it was found under, and all files of it, its top first."""

    name: str
    files: list[Found]
    path: str = ""
    """Where that is in the tree, as it was written or found."""

    @property
    def is_directory(self) -> bool:
        """Whether its top is a directory, whose contents are what is copied."""
        return self.files[0].node.is_directory


class Source:
    """A tree that files are copied from."""

    keeps_owners = True
    """Files keep their owners and attributes; those of a directory of this host become root's and have none."""
    is_context = False

    def __init__(self, tree: Merged, shown: str) -> None:
        self.tree = tree
        self.shown = shown

    def is_hidden(self, path: str, *, is_directory: bool) -> bool:
        """Whether a file is not there for the build."""
        del path, is_directory
        return False

    def may_hold(self, path: str) -> bool:
        """Whether something below a hidden directory may be there all the same."""
        del path
        return False

    def digest(self, node: Node) -> bytes:
        """Return the digest of a regular file's content."""
        fd = self.open(node)
        try:
            status = os.fstat(fd)
            if status.st_size <= _SMALL:
                hashed = hashlib.sha256()
                while data := os.read(fd, _SMALL):
                    hashed.update(data)
                return hashed.digest()
            return bytes.fromhex(_native.digest_file(fd)[0].removeprefix("sha256:"))
        except OSError as error:
            raise from_os(error, "read", node.place) from error
        except _native.NativeError as error:
            raise translate(error) from error
        finally:
            os.close(fd)

    def open(self, node: Node) -> int:
        """Open a regular file for reading. Raises Conflict when it is another one meanwhile."""
        try:
            fd = os.open(node.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise from_os(error, "read", node.place) from error
        if not _is_same(os.fstat(fd), node.status):
            os.close(fd)
            raise Conflict(f"{node.path}: changes while it is read for the build; build again")
        return fd

    def settle(self, node: Node, fd: int) -> None:
        """Make sure of a file that has been read that it is the one whose digest was taken. Raises Conflict."""

    def xattrs(self, node: Node) -> tuple[tuple[str, bytes], ...]:
        """Return the attributes of a file that a copy of it has, too."""
        return _xattrs(node) if self.keeps_owners else ()

    def _walk(self, node: Node, below: str, prune: Ignore | None) -> Iterator[Found]:
        """All that is at ``node``, itself first, in the order of names."""
        yield Found(below, node, self.xattrs(node))
        if not node.is_directory:
            return
        yield from self._inside(node, below, prune)

    def _inside(self, node: Node, below: str, prune: Ignore | None) -> Iterator[Found]:
        for name in self.tree.names(node.path):
            path = f"{node.path}/{name}" if node.path else name
            child = self.tree.look(path)
            if child is None or stat.S_ISSOCK(child.status.st_mode):
                continue
            inner = f"{below}/{name}" if below else name
            away = self.is_hidden(path, is_directory=child.is_directory)
            pruned = prune is not None and prune.excludes(inner, is_directory=child.is_directory)
            if not (away or pruned):
                yield from self._walk(child, inner, prune)
            elif (
                child.is_directory
                and (not away or self.may_hold(path))
                and (not pruned or (prune is not None and prune.may_include_below(inner)))
            ):
                first = True
                for found in self._inside(child, inner, prune):
                    if first:  # a directory that is there for what it holds only
                        yield Found(inner, child, self.xattrs(child))
                        first = False
                    yield found

    def match(self, pattern: str, prune: Ignore | None = None, *, deep: bool = False) -> list[Match]:
        """Return what a source of COPY or ADD means: one match, or any number of them for a pattern.

        ``prune`` leaves out paths below the match. ``deep``: ``**`` stands for any number of directories. Raises
        InvalidArgument for a loop of links, NotFound for a link to nothing that a pattern finds, LimitExceeded for a
        tree of some hundred levels.
        """
        matches = []
        try:
            for path in self._paths(pattern, deep=deep):
                node = self.tree.look(self.tree.resolve(path))
                if node is None or stat.S_ISSOCK(node.status.st_mode) or self._is_away(node):
                    self._check_link(pattern, path)
                    continue
                matches.append(Match(path.rpartition("/")[2], list(self._walk(node, "", prune)), path))
        except RecursionError as error:
            raise LimitExceeded(f"{pattern[:200]}: too many directories within each other") from error
        return matches

    def _check_link(self, pattern: str, path: str) -> None:
        """Raises NotFound where a pattern has found a link, and nothing is where that leads."""
        link = self.tree.look(self.tree.resolve(path, follow=False)) if is_pattern(pattern) else None
        if link is not None and not self._is_away(link):
            from minidock.build import missing

            raise missing.not_found(self, path)

    def _is_away(self, node: Node) -> bool:
        if not node.path or not self.is_context:
            return False
        hidden = False
        parts = node.path.split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            hidden = self.is_hidden(path, is_directory=count < len(parts) or node.is_directory)
            if hidden and not (node.is_directory or count < len(parts)):
                return True
            if hidden and not self.may_hold(path):
                return True
        return hidden and not node.is_directory

    def _paths(self, pattern: str, *, deep: bool) -> list[str]:
        """The paths that a pattern matches, as they are written; a text without wildcards is itself."""
        clean = os.path.normpath("/" + pattern).lstrip("/")
        if not is_pattern(clean):
            return [clean]
        found = [""]
        for part in clean.split("/"):
            grown: list[str] = []
            for prefix in found:
                if deep and part == "**":
                    grown += self._directories(prefix)
                    continue
                if not is_pattern(part):
                    grown.append(f"{prefix}/{part}" if prefix else part)
                    continue
                directory = self.tree.resolve(prefix)
                grown += [
                    f"{prefix}/{name}" if prefix else name for name in self.tree.names(directory) if matches(part, name)
                ]
            found = grown
        found = list(dict.fromkeys(found))
        return [path for path in found if self.tree.look(self.tree.resolve(path, follow=False)) is not None]

    def _directories(self, path: str) -> list[str]:
        """A directory and all below it."""
        found = [path]
        for name in self.tree.names(path):
            below = f"{path}/{name}" if path else name
            node = self.tree.look(below)
            if node is not None and node.is_directory:
                found += self._directories(below)
        return found


class Context(Source):
    """The build context, or another directory of the host with that name."""

    keeps_owners = False
    is_context = True

    def __init__(self, path: str, shown: str, ignore: Ignore | None, cache: BuildCache | None) -> None:
        super().__init__(Merged([path]), shown)
        self.path = path
        self.ignore = ignore
        self._cache = cache
        self._known: _Known | None = None
        self._seen: _Known = {}
        self._changed = False
        status = os.stat(path)
        self._identity = (status.st_dev, status.st_ino)

    def is_hidden(self, path: str, *, is_directory: bool) -> bool:
        return self.ignore is not None and self.ignore.excludes(path, is_directory=is_directory)

    def may_hold(self, path: str) -> bool:
        return self.ignore is not None and self.ignore.may_include_below(path)

    def open(self, node: Node) -> int:
        fd = super().open(node)
        # A directory on the way may have become a link since it was looked at.
        if os.readlink(f"/proc/self/fd/{fd}") != f"/{node.place.lstrip('/')}":
            os.close(fd)
            raise Conflict(f"{node.path}: changes while it is read for the build; build again")
        return fd

    def settle(self, node: Node, fd: int) -> None:
        now = os.fstat(fd)
        if not _is_same(now, node.status) or now.st_ctime_ns != node.status.st_ctime_ns:
            raise Conflict(f"{node.path}: changes while it is read for the build; build again")

    def digest(self, node: Node) -> bytes:
        status = node.status
        if self._known is None:
            self._known = self._load()
        facts = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._known.get(node.path)
        if known is not None and known[:4] == facts:
            self._seen[node.path] = known
            return known[4]
        begun = time.time_ns()
        digest = super().digest(node)
        coarse = status.st_mtime_ns % 10**9 == status.st_ctime_ns % 10**9 == 0
        if max(status.st_mtime_ns, status.st_ctime_ns) < begun - (_COARSE_NS if coarse else _FRESH_NS):
            self._seen[node.path] = (*facts, digest)
            self._changed = True
        return digest

    def _load(self) -> _Known:
        stored = None if self._cache is None else self._cache.digests(*self._identity)
        if stored is None:
            return {}
        try:
            return msgspec.msgpack.decode(stored, type=_Known)
        except msgspec.DecodeError:
            return {}

    def remember(self) -> None:
        """Keep the digests for the next build."""
        if self._changed and self._cache is not None:
            known = self._known or {}
            # Another target may read what this one has not; what is gone for long is forgotten.
            kept = {**known, **self._seen} if len(known) < 2 * len(self._seen) + _FEW else self._seen
            # On a full disk the next build reads them again.
            with contextlib.suppress(MinidockError):
                self._cache.set_digests(*self._identity, _encode(kept))
            self._changed = False


def fingerprint(source: Source, matches: Sequence[Match], *, times: bool, owners: bool = False) -> bytes:
    """Return the digest of all that makes up these files for a copy: names, kinds, modes, owners, contents.

    ``owners``: those on the host count where a copy has not them, too.
    """
    hashed = hashlib.sha256()
    for match in matches:
        hashed.update(b"%d\0%s\0" % (len(match.files), os.fsencode(match.name)))
        for found in match.files:
            status = found.node.status
            mode = status.st_mode
            facts: list[object] = [os.fsencode(found.below), mode]
            if source.keeps_owners or owners:
                facts += [status.st_uid, status.st_gid]
            if times:
                facts.append(status.st_mtime_ns)
            if stat.S_ISREG(mode):
                facts.append(source.digest(found.node))
            elif stat.S_ISLNK(mode):
                facts.append(os.fsencode(os.readlink(found.node.place)))
            elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                facts.append(status.st_rdev)
            facts.extend(found.xattrs)
            text = repr(facts).encode()
            hashed.update(b"%d\0" % len(text))
            hashed.update(text)
    return hashed.digest()


def is_pattern(text: str) -> bool:
    """Whether a source has wildcards (Go's)."""
    return _WILD.search(text) is not None


def matches(pattern: str, name: str) -> bool:
    """Whether Go's ``filepath.Match`` finds a name in a pattern. Raises InvalidArgument for one that is none."""
    try:
        return paths.match(pattern, name)
    except paths.BadPattern as error:
        raise InvalidArgument(f"{pattern}: syntax error in pattern") from error


def _xattrs(node: Node) -> tuple[tuple[str, bytes], ...]:
    if stat.S_ISLNK(node.status.st_mode):
        return ()
    try:
        names = os.listxattr(node.place, follow_symlinks=False)
        if not names:
            return ()
        from minidock.images.layer_tar import is_wanted

        return tuple(
            (name, os.getxattr(node.place, name, follow_symlinks=False)) for name in sorted(names) if is_wanted(name)
        )
    except OSError:
        return ()


def _is_same(now: os.stat_result, then: os.stat_result) -> bool:
    return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) == (
        then.st_dev,
        then.st_ino,
        then.st_size,
        then.st_mtime_ns,
    )
