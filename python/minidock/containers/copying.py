"""``cp``: Docker's rules about what a source and a destination mean, and copies by them.

A path that ends with a slash is one of a directory; one that ends with ``/.`` means what is in the directory, not the
directory. Links in the last place of a source are copied as links, unless asked otherwise; those of a destination are
followed.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from minidock.errors import Conflict, InvalidArgument, MinidockError, NotFound
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from minidock.containers.archive import Files
    from minidock.containers.lifecycle import Lifecycle

_MAX_LINKS = 10


class Copied(NamedTuple):
    """What was copied: bytes, as Docker counts them (those of a tar), and where to."""

    size: int
    destination: str


class Info(NamedTuple):
    """What is known of a source or destination. ``rebase`` is the name that a link's target is to have."""

    path: str
    exists: bool
    is_dir: bool
    rebase: str = ""


def split_argument(argument: str) -> tuple[str, str]:
    """Return the container ("" is the host) and the path of an argument of ``cp``.

    A colon in a path of the host is none that ends a name when the path begins with ``/`` or ``.``.
    """
    if argument.startswith("/"):
        return "", argument
    container, colon, path = argument.partition(":")
    if not colon or container.startswith("."):
        return "", argument
    return container, path


def clean(path: str) -> str:
    """A path without ``.``, ``..`` and needless slashes, taken away by name; ``.`` for nothing."""
    cleaned = os.path.normpath(path) if path else "."
    return "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned


def means_contents(path: str) -> bool:
    """Whether a path ends with ``/.``: what is in the directory."""
    return not path or path.rstrip("/").rpartition("/")[2] == "." or path == "."


def asserts_directory(path: str) -> bool:
    """Whether a path says that it is a directory's."""
    return path.endswith("/") or means_contents(path)


def keep_ending(cleaned: str, path: str) -> str:
    """``cleaned`` with the slash or ``/.`` at the end of ``path`` that cleaning took away."""
    if means_contents(path) and not means_contents(cleaned):
        cleaned = cleaned if cleaned.endswith("/") else cleaned + "/"
        cleaned += "."
    if path.endswith("/") and not cleaned.endswith("/"):
        cleaned += "/"
    return cleaned


def split_entry(path: str) -> tuple[str, str]:
    """A path's directory, with a slash, and its last component, which is ``.`` for the contents of a directory."""
    cleaned = clean(path)
    if means_contents(path):
        cleaned += "/."
    head, slash, tail = cleaned.rpartition("/")
    return head + slash, tail


def prepare(source: Info, destination: Info) -> tuple[str, str]:
    """Return the directory to copy into, and the name that the source gets there.

    Raises Conflict for a directory over something else, NotFound for a file in a directory that does not exist.
    """
    directory, name = split_entry(destination.path)
    if destination.exists and destination.is_dir:
        return destination.path, source.rebase or split_entry(source.path)[1] or "/"
    if destination.exists and source.is_dir:
        raise Conflict("cannot copy directory")
    if not destination.exists and not source.is_dir and asserts_directory(destination.path):
        raise NotFound("no such directory")
    return directory, name


def rebased(path: str, target: str) -> tuple[str, str]:
    """``target``, which the link ``path`` leads to, with ``path``'s ending; and the link's name if that is another."""
    target = keep_ending(target, path)
    last = clean(path).rpartition("/")[2] if not means_contents(path) else "."
    return target, "" if last == (target.rstrip("/").rpartition("/")[2] or "/") else last


def link_of(files: Files, path: str) -> tuple[str, str]:
    """Where a path of a container leads if it is a link, and the name to give to that; else the path itself."""
    try:
        found = files.stat(path)
    except NotFound:
        return path, ""
    if not found.is_link:
        return path, ""
    return rebased(path, found.link_target)


def host_path(path: str) -> str:
    """A path of the host, absolute."""
    return keep_ending(clean(os.path.join(os.getcwd(), path)), path)


def host_source(path: str, *, follow_link: bool) -> Info:
    """What the host has at an absolute path. Raises NotFound and others."""
    try:
        if follow_link:
            _require_directories(path)
            resolved, rebase = rebased(path, os.path.realpath(path, strict=True))
        else:
            head, _, tail = path.rpartition("/")
            _require_directories(head + "/")
            resolved = os.path.realpath(head or "/", strict=True).rstrip("/") + "/" + tail
            rebase = ""
            last = clean(path).rpartition("/")[2]
            if path.endswith("/") and last != (resolved.rstrip("/").rpartition("/")[2] or "/"):
                rebase = last
        status = os.lstat(resolved)
    except OSError as error:
        raise from_os(error, "lstat", path) from error
    return Info(resolved, True, stat.S_ISDIR(status.st_mode), rebase)


def _require_directories(path: str) -> None:
    """Raise OSError unless a path that ends with a slash is a directory's: realpath takes the slash away."""
    if path.endswith("/"):
        os.stat(path)


def host_destination(path: str) -> Info:
    """What the host has at an absolute path, links followed; nothing is fine where its directory exists.

    Raises InvalidArgument for a device, NotFound for a missing directory.
    """
    parent = os.path.dirname(clean(path))
    if not os.path.lexists(parent):
        raise NotFound(f'invalid output path: directory "{parent}" does not exist')
    given = path
    try:
        status = _stat(path)
        if status is not None and (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise InvalidArgument(f'invalid output path: "{path}" must be a directory or a regular file: got a device')
        found = _lstat(path)
        links = 0
        while found is not None and stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _MAX_LINKS:
                raise InvalidArgument(f"too many symlinks in {given}")
            target = os.readlink(path)
            path = target if target.startswith("/") else clean(split_entry(path)[0] + target)
            found = _lstat(path)
        if found is not None:
            return Info(path, True, stat.S_ISDIR(found.st_mode))
        if not stat.S_ISDIR(os.stat(split_entry(path)[0]).st_mode):
            raise InvalidArgument(f"copy to {given}: not a directory")
    except OSError as error:
        raise from_os(error, "stat", given) from error
    return Info(path, False, False)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def container_destination(files: Files, path: str) -> Info:
    """What a container has at a path, one link in the last place followed. Raises InvalidArgument for a device."""
    info = Info(path, False, False)
    try:
        found = files.stat(path)
    except MinidockError:  # it may do all the same, or it is found out when it is written to
        return info
    if found.is_link:
        info = Info(found.link_target, False, False)
        try:
            found = files.stat(found.link_target)
        except NotFound:
            return info
    if found.is_device:
        where = f"{files.record.name}:{path}"
        raise InvalidArgument(f'destination "{where}" must be a directory or a regular file: got a device')
    return Info(info.path, True, found.is_dir)


def copy_from(
    lifecycle: Lifecycle,
    container_id: str,
    path: str,
    destination: str | os.PathLike[str] | int | BinaryIO,
    *,
    follow_link: bool,
    archive: bool,
) -> Copied:
    """See :meth:`Container.copy_from`."""
    from minidock.containers.archive import absolute, base, opened

    if not isinstance(destination, str | os.PathLike):
        from minidock.containers.archive import read_to

        read_to(lifecycle, container_id, path, destination, follow_link=follow_link)
        return Copied(0, "-")
    target = host_path(os.fspath(destination))
    with opened(lifecycle, container_id, writable=False) as files:
        rebase = ""
        if follow_link:
            path, rebase = link_of(files, path)
        found = files.stat(path)
        lifecycle.emit(files.record, "archive-path")
        inside = absolute(path)
        source = Info(inside, True, found.is_dir, rebase or base(inside))
        directory, name = prepare(source, host_destination(target))
        size = files.copy_out(path, name, clean(directory), owners=archive)
    return Copied(size, target)


def copy_to(
    lifecycle: Lifecycle,
    container_id: str,
    source: str | os.PathLike[str] | bytes | int | BinaryIO,
    path: str,
    *,
    follow_link: bool,
    archive: bool,
) -> Copied:
    """See :meth:`Container.copy_to`."""
    from minidock.containers.archive import opened

    with opened(lifecycle, container_id, writable=True) as files:
        destination = container_destination(files, path)
        owner = files.user() if archive else None
        if not isinstance(source, str | os.PathLike):
            if not destination.is_dir:
                raise InvalidArgument(f'destination "{files.record.name}:{path}" must be a directory')
            files.unpack(destination.path, source, keep_kinds=True, owner=owner)
            lifecycle.emit(files.record, "extract-to-dir")
            return Copied(0, destination.path)
        found = host_source(host_path(os.fspath(source)), follow_link=follow_link)
        directory, name = prepare(found, destination)
        size = files.copy_in(found.path, name, clean("/" + directory), owner=owner)
        lifecycle.emit(files.record, "extract-to-dir")
    return Copied(size, destination.path)
