"""Debian package files: the ``ar`` parsed strictly, the files unpacked by minidock's own unpacker (R5)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple, cast

from minidock import _native
from minidock._errors import translate
from minidock.errors import Corrupt, Denied, MinidockError
from minidock.images import sources
from minidock.store.failures import from_os, translated

_MAGIC = b"!<arch>\n"
_HEADER = 60
_DATA = re.compile(r"data\.tar(?:\.(?:gz|xz|zst|bz2))?")
_CONTROL = re.compile(r"control\.tar(?:\.(?:gz|xz|zst))?")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32", "libn32")
_ALWAYS = ("bin", "sbin", "lib")
_DEEPEST = 100


class Member(NamedTuple):
    """Where the files of a package are in its file, and when it was built."""

    name: str
    offset: int
    size: int
    mtime: int


def data_member(path: str) -> Member:
    """Find ``data.tar``. Raises Corrupt for anything but an ar of debian-binary, control.tar and data.tar, in order."""
    with translated("read", path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return _parse(file, size, os.path.basename(path))


def _parse(file: BinaryIO, size: int, what: str) -> Member:
    def corrupt(why: str) -> Corrupt:
        return Corrupt(f"package {what}: {why}")

    if file.read(len(_MAGIC)) != _MAGIC:
        raise corrupt("not an ar archive")
    position = len(_MAGIC)
    found: list[Member] = []
    while position < size and len(found) < 3:
        header = file.read(_HEADER)
        if len(header) != _HEADER or header[58:] != b"`\n":
            raise corrupt("damaged ar header")
        name = header[:16].decode("ascii", "replace").rstrip(" ").removesuffix("/")
        length, mtime = _number(header[48:58]), _number(header[16:28])
        position += _HEADER
        if length is None or mtime is None or length > size - position:
            raise corrupt(f"member {name!r} is larger than the file")
        expected = (re.compile("debian-binary"), _CONTROL, _DATA)[len(found)]
        if name.startswith("_") and found:  # reserved for others' use
            found_name = None
        else:
            found_name = expected.fullmatch(name)
            if found_name is None:
                raise corrupt(f"member {name!r} where {expected.pattern!r} is expected")
        if found_name is not None:
            found.append(Member(name, position, length, mtime))
        if len(found) == 1 and found_name is not None:
            version = file.read(length) if length < 100 else b""
            if not version.startswith(b"2.") or b"\n" not in version:
                raise corrupt("not of format 2.0")
        position += length + length % 2
        file.seek(position)
    if len(found) != 3:
        raise corrupt("ends too early")
    return found[2]


def _number(field: bytes) -> int | None:
    text = field.rstrip(b" ")
    return int(text) if text.isdigit() and len(text) <= 12 else None


class _Part:
    """A part of a file, read like a file without a descriptor of its own."""

    def __init__(self, fd: int, member: Member, name: str) -> None:
        self._fd, self._at, self._left = fd, member.offset, member.size
        self.name = name

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, none at the end."""
        data = os.pread(self._fd, min(size, self._left), self._at)
        self._at += len(data)
        self._left -= len(data)
        return data


def unpack(path: str, root: str) -> None:
    """Unpack a package's files into ``root``, over what is there. Raises Corrupt, Denied, LimitExceeded, NoSpace."""
    member = data_member(path)
    what = os.path.basename(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os(error, "open", path) from error
    try:
        with sources.opened(cast("BinaryIO", _Part(fd, member, what))) as stream:
            try:
                _native.unpack_layer(stream.fd, root, whiteouts="delete")
            except _native.NativeError as error:
                stream.check()
                raise translate(error) from error
            stream.check()
    except MinidockError as error:
        raise type(error)(f"package {what}: {error}") from error
    finally:
        os.close(fd)


def merge_usr(root: str) -> None:
    """Move ``/bin``, ``/lib`` and the like to ``/usr`` and put links in their places, as all releases now want it."""
    with translated("merge /usr in", root):
        usr = f"{root}/usr"
        if not _is_directory(usr):
            raise Corrupt("the packages have no directory /usr")
        for name in _MERGED:
            there, target = f"{root}/{name}", f"{usr}/{name}"
            if _is_directory(there):
                _move(there, target)
                os.symlink(f"usr/{name}", there)
            elif name in _ALWAYS and not os.path.lexists(there):
                if not os.path.lexists(target):
                    os.mkdir(target, 0o755)
                os.symlink(f"usr/{name}", there)


def _move(source: str, target: str, depth: int = 0) -> None:
    """Move a directory's content; directories that are in both become one, of two files the moved one stays."""
    if depth > _DEEPEST:
        raise Corrupt(f"the packages have directories below {source!r} that are nested too deep")
    if not os.path.lexists(target):
        os.rename(source, target)
        return
    if not _is_directory(target):
        raise Corrupt(f"the packages have both {source!r} and {target!r}, and they do not fit")
    for name in os.listdir(source):
        here, there = f"{source}/{name}", f"{target}/{name}"
        if _is_directory(here) and os.path.lexists(there):
            _move(here, there, depth + 1)
        else:
            os.rename(here, there)
    os.rmdir(source)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def refuse_devices(root: str) -> None:
    """Raise Denied when there is a device node: no package needs one, and a container gets its own."""
    pending = [root]
    with translated("look through", root):
        while pending:
            directory = pending.pop()
            with os.scandir(directory) as entries:
                for entry in entries:
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode):
                        pending.append(entry.path)
                    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                        where = entry.path.removeprefix(root)
                        raise Denied(f"the packages make the device node {where}, which no image of packages may have")


def names(paths: Sequence[str]) -> list[str]:
    """Package names of files, in order."""
    return [os.path.basename(path).partition("_")[0] for path in paths]
