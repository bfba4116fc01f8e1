"""Files of a result, for clients that look at it: ``ReadFile``, ``ReadDir``, ``StatFile``."""

from __future__ import annotations

import fnmatch
import os
import stat
from typing import TYPE_CHECKING

from minidock.build.merged import Merged
from minidock.errors import InvalidArgument, NotFound
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.filesync import to_go

if TYPE_CHECKING:
    from minidock.build.merged import Node
    from minidock.server.buildkit.jobs import Solved

_MOST = 16 << 20
"""Bytes of a file in one answer."""


def _tree(solved: Solved) -> Merged:
    return Merged(solved.build.paths(solved.stage.layers))


def _node(tree: Merged, path: str, *, follow: bool) -> Node:
    found = tree.look(tree.resolve(path, follow=follow))
    if found is None:
        raise NotFound(f"lstat /{path.strip('/')[:500]}: no such file or directory")
    return found


def _stat(node: Node, name: str) -> wire.Stat:
    status = node.status
    found = wire.Stat(
        path=name, mode=to_go(status.st_mode), uid=status.st_uid, gid=status.st_gid, mod_time=status.st_mtime_ns
    )
    if stat.S_ISREG(status.st_mode):
        found.size = status.st_size
    elif stat.S_ISLNK(status.st_mode):
        found.link = os.readlink(node.place)
    return found


def read_file(solved: Solved, request: wire.ReadFileRequest) -> wire.ReadFileResponse:
    """A file's content, or a part of it. Raises NotFound, InvalidArgument for what is no file or too large."""

    def work() -> bytes:
        node = _node(_tree(solved), request.path, follow=True)
        if not stat.S_ISREG(node.status.st_mode):
            raise InvalidArgument(f"read /{request.path.strip('/')[:500]}: is no file")
        offset, length = request.range.offset, request.range.length or node.status.st_size
        if offset < 0 or length < 0 or min(length, node.status.st_size) > _MOST:
            raise InvalidArgument(f"at most {_MOST} bytes of a file can be read at once")
        fd = os.open(node.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.pread(fd, min(length, node.status.st_size), offset)
        finally:
            os.close(fd)

    return wire.ReadFileResponse(data=solved.do(work))


def read_dir(solved: Solved, request: wire.ReadDirRequest) -> wire.ReadDirResponse:
    """What is in a directory. Raises NotFound, InvalidArgument for what is none."""

    def work() -> list[wire.Stat]:
        tree = _tree(solved)
        path = tree.resolve(request.path)
        if path and not _node(tree, path, follow=True).is_directory:
            raise InvalidArgument(f"readdir /{path[:500]}: not a directory")
        pattern = request.include_pattern
        names = [name for name in tree.names(path) if not pattern or fnmatch.fnmatchcase(name, pattern)]
        return [_stat(_node(tree, f"{path}/{name}", follow=False), name) for name in names]

    return wire.ReadDirResponse(entries=solved.do(work))


def stat_file(solved: Solved, request: wire.StatFileRequest) -> wire.StatFileResponse:
    """What a file is. Raises NotFound."""

    def work() -> wire.Stat:
        tree = _tree(solved)
        path = tree.resolve(request.path, follow=False)
        if not path and not tree.layers:
            return wire.Stat(mode=to_go(stat.S_IFDIR | 0o755))
        return _stat(_node(tree, path, follow=False), os.path.basename(path))

    return wire.StatFileResponse(stat=solved.do(work))
