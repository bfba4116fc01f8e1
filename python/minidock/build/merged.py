"""Looking at layers as a container would see them, without mounting them.

A path is followed one name at a time, in the topmost layer that has it, so that no link of an image leads anywhere on
the host.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from minidock.errors import InvalidArgument
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_LINKS = 40


class Node(NamedTuple):
    """A file or directory of the merged tree: its path without links, where the host has it, and what it is."""

    path: str
    place: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)


class Merged:
    """The tree of ``layers``, directories of the host, highest first. Paths in it are relative and clean."""

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = list(layers)
        self._stacks: dict[str, list[str]] = {"": self.layers}

    def look(self, path: str) -> Node | None:
        """Return what is at a path whose parents are no links; a link is returned as itself.

        Raises InvalidArgument for what no file can be called.
        """
        if not path:
            if not self.layers:
                return None
            return Node("", self.layers[0], os.lstat(self.layers[0]))
        parent, _, name = path.rpartition("/")
        for directory in self._stack(parent):
            place = f"{directory}/{name}"
            status = _lstat(place, path)
            if status is None:
                continue
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                return None
            return Node(path, place, status)
        return None

    def _stack(self, path: str) -> list[str]:
        """The directories of the host that make up the directory ``path``, highest first; none if it is none."""
        known = self._stacks.get(path)
        if known is not None:
            return known
        parent, _, name = path.rpartition("/")
        found = []
        for directory in self._stack(parent):
            place = f"{directory}/{name}"
            status = _lstat(place, path)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                break  # a file or a whiteout hides what is below
            found.append(place)
            if _is_opaque(place):
                break
        self._stacks[path] = found
        return found

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory whose path has no links."""
        seen: dict[str, bool] = {}
        for directory in self._stack(path):
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name not in seen:
                        seen[entry.name] = not _is_whiteout(entry)
        return sorted(name for name, there in seen.items() if there)

    def resolve(self, path: str, *, follow: bool = True) -> str:
        """Return the path without links that ``path`` means; what does not exist yet stays as it is written.

        ``follow``: a link in the last place, too. Raises InvalidArgument for a loop of links.
        """
        waiting = [name for name in reversed(path.split("/")) if name not in ("", ".")]
        done: list[str] = []
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                if done:
                    done.pop()
                continue
            here = "/".join([*done, name])
            node = self.look(here)
            if node is None or not stat.S_ISLNK(node.status.st_mode) or (not waiting and not follow):
                done.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise InvalidArgument(f"/{path}: too many levels of symbolic links")
            target = os.readlink(node.place)
            if target.startswith("/"):
                done = []
            waiting += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        return "/".join(done)

    def read(self, path: str, limit: int) -> bytes | None:
        """Return at most ``limit`` bytes of the regular file at ``path``, links followed; None when there is none."""
        node = self.look(self.resolve(path))
        if node is None or not stat.S_ISREG(node.status.st_mode):
            return None
        fd = os.open(node.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            return file.read(limit)


def _lstat(place: str, path: str) -> os.stat_result | None:
    """What is at ``place``; None where nothing is. Raises InvalidArgument for what no file can be called."""
    try:
        return os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise InvalidArgument(f"{f'/{path}'!r}: no file can have this name") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidArgument(f"/{path[:100]}…: file name too long") from error
        raise from_os(error, "look at", f"/{path}") from error


def _is_whiteout(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink() or entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
        return False
    status = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(place: str) -> bool:
    try:
        return os.getxattr(place, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
    except OSError:
        return False
