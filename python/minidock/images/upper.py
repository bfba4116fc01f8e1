"""The writable layer of a container as a layer of an image: without what is there for the sake of mounts only."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.images import reproducible
from minidock.images.layers import Unpacked
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EMPTY_TAR = 1024
"""Bytes of a tar that holds nothing."""
_HOSTNAME = "etc/hostname"
_FILES = ("etc/hosts", _HOSTNAME, "etc/resolv.conf")
"""Files that minidock mounts over; where the image has none, an empty one is made for that."""
_DIRECTORIES = ("dev", "proc", "sys")


def layer_of_upper(
    upper: str,
    below: Sequence[str],
    directory: str,
    *,
    idmap: Mapping[str, Sequence[Sequence[int]]] | None = None,
    clamp: int | None = None,
    places: Sequence[str] | None = None,
) -> Unpacked | None:
    """Make a layer's ``directory`` of a copy of the overlay's ``upper`` directory; None when it holds nothing.

    ``below`` are the layers that it lies on, highest first; ``places``, in a build's step, paths on which something
    was mounted. No time is later than ``clamp``.
    """
    top = idmap is None and bool(below) and not _same(upper, below[0])
    left_out = _made_for_mounts(upper, below, is_mapped=idmap is not None, places=places)

    def write(fd: int) -> None:
        _native.tar_tree(upper, fd, idmap=idmap, clamp=clamp, top=top, left_out=left_out)

    made = reproducible.layer_of(write, directory)
    return None if made.tar_size <= EMPTY_TAR else made


def layer_from_upper(
    upper: str, below: Sequence[str], directory: str, *, clamp: int | None, places: Sequence[str]
) -> Unpacked | None:
    """As :func:`layer_of_upper`, but ``upper`` itself becomes the layer: nothing is copied. Owners are not mapped."""
    top = bool(below) and not _same(upper, below[0])
    left_out = _made_for_mounts(upper, below, is_mapped=False, places=places)
    root = f"{directory}/fs"
    try:
        os.mkdir(directory, 0o700)
        os.rename(upper, root)
    except OSError as error:
        raise from_os(error, "make", root) from error
    try:
        made = _native.keep_tree(root, f"{directory}/tar-split.zst", left_out=left_out, clamp=clamp, top=top)
    except _native.NativeError as error:
        raise translate(error) from error
    return Unpacked(made.diff_id, made.tar_size, made.size) if made.entries else None


def _made_for_mounts(upper: str, below: Sequence[str], *, is_mapped: bool, places: Sequence[str] | None) -> list[str]:
    """What is in the writable layer only because something is mounted there in every container, or on ``places``."""
    found: set[str] = set()
    for path in _FILES:
        if path == _HOSTNAME and places is not None:
            continue  # a step has nothing mounted there
        status = _look(f"{upper}/{path}")
        if status is not None and stat.S_ISREG(status.st_mode) and status.st_size == 0 and status.st_nlink == 1:
            found.add(path)
    for path in _DIRECTORIES if places is None else ():  # a step leaves them, as Docker's do
        status = _look(f"{upper}/{path}")
        if status is not None and stat.S_ISDIR(status.st_mode) and not _entries(f"{upper}/{path}"):
            found.add(path)
    _leave_out_places(upper, below, places or (), found)
    etc = f"{upper}/etc"
    if any(path.startswith("etc/") for path in found) and {f"etc/{name}" for name in _entries(etc)} <= found:
        lower = next((f"{layer}/etc" for layer in below if _look(f"{layer}/etc") is not None), None)
        if not _is_opaque(etc) and (lower is None or is_mapped or _same(etc, lower)):
            found.add("etc")
    return sorted(found)


def _look(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _same(first: str, second: str) -> bool:
    """Whether two directories have the same mode and owner."""
    one, other = _look(first), _look(second)
    if one is None or other is None:
        return False
    return (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def _is_opaque(path: str) -> bool:
    with contextlib.suppress(OSError):
        return os.getxattr(path, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
    return False


def _leave_out_places(upper: str, below: Sequence[str], places: Sequence[str], found: set[str]) -> None:
    """Add mount points that were made for the mounts of a build's step, and the directories made to hold them."""
    for place in sorted(places, reverse=True):
        path = place.strip("/")
        while path:
            status = _look(f"{upper}/{path}")
            if status is None or any(_look(f"{layer}/{path}") is not None for layer in below):
                break
            if stat.S_ISDIR(status.st_mode):
                if any(f"{path}/{name}" not in found for name in _entries(f"{upper}/{path}")):
                    break
            elif not stat.S_ISREG(status.st_mode) or status.st_size:
                break
            found.add(path)
            path = path.rpartition("/")[0]
