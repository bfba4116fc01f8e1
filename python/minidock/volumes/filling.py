"""Filling volumes: with what an image has at the place of a volume, or an archive.

All of it is made beside the volume's files first, in a directory that is named after a workspace in ``tmp/``. Then it
takes the place of an empty directory by one rename, or, where somebody may look at that directory, is renamed to
``merge``, after which every entry is moved. Whoever dies before leaves nothing but garbage; whoever dies while moving
leaves the rest to the next user of the volume.
"""

from __future__ import annotations

import contextlib
import os
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.store.failures import translated
from minidock.store.recovery import UNFINISHED
from minidock.store.trees import remove_tree
from minidock.store.volumes import DATA
from minidock.store.workspace import Workspace, is_alive
from minidock.volumes import moving
from minidock.volumes.making import locked
from minidock.volumes.mounting import mounted
from minidock.volumes.record import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.store.volumes import VolumeTable
    from minidock.volumes.record import Record

MERGE, _TRASH = "merge", "merged"
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HIDDEN = ".minidock-"
"""Begins the names above in the root of a file system that a volume's options mount."""


def fill(table: VolumeTable, name: str, lower: Sequence[str], path: str, places: Sequence[str]) -> None:
    """Copy what an image has at ``path`` into a volume that is empty; see :mod:`minidock.volumes.using`."""
    record = decode(table.get(name).record)
    directory = table.paths.volume(name)
    if record.is_mounted:
        if not _may_have(lower, path):
            return  # and the device is not needed yet, as in Docker
    elif is_whole(directory) and _entries(directory, record):
        return
    with Stage(table, record) as stage, locked(table, name):
        finish(table, record)
        if record.is_mounted:
            _clean(table, record)
        if _entries(directory, record):
            return
        stage.make()
        try:
            if _native.volume_fill(lower, path, stage.path) is None:
                return
        except _native.NativeError as error:
            failure = translate(error)
            raise type(failure)(f"copy {path} of the image to volume {name}: {failure}") from error
        for place in places:
            file = f"{stage.path}/{place}"
            with translated("make", file), contextlib.suppress(FileExistsError):
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        stage.commit(users=1)


def _may_have(lower: Sequence[str], path: str) -> bool:
    """Whether an image has a directory at ``path``; yes also if only the copying can tell, as there is a link."""
    try:
        tree = _native.OverlayMount(lower)
    except _native.NativeError:
        return True
    with tree:
        here = os.open(".", _FLAGS, dir_fd=tree.fd)
        try:
            for name in filter(None, path.split("/")):
                status = os.lstat(name, dir_fd=here)
                if stat.S_ISLNK(status.st_mode):
                    return True
                below = os.open(name, _FLAGS, dir_fd=here)
                os.close(here)
                here = below
        except (FileNotFoundError, NotADirectoryError):
            return False
        finally:
            os.close(here)
    return True


class Stage:
    """What is to become a volume's files. Its end removes what was not committed."""

    def __init__(self, table: VolumeTable, record: Record) -> None:
        self._table = table
        self._record = record
        self._work = Workspace(table.paths, "fill", repair=True)
        self._mount = mounted(table, record, self._work.name)
        self.path = f"{_place(table.paths.volume(record.name), record)}{UNFINISHED}{self._work.name}"
        """The directory to fill."""

    def __enter__(self) -> Stage:
        try:
            self._mount.__enter__()
        except BaseException:
            self._work.close()
            raise
        return self

    def make(self) -> None:
        """Make the directory, with the owner and mode of the volume's."""
        with translated("make", self.path):
            os.mkdir(self.path, 0o700)
        self.copy_facts()

    def copy_facts(self) -> None:
        """Give it the owner and mode of the volume's directory."""
        moving.copy_facts(f"{self._table.paths.volume(self._record.name)}/{DATA}", self.path)

    def commit(self, *, users: int) -> None:
        """Make it the volume's files, under the volume's lock; ``users`` containers at most are its caller's own."""
        directory = self._table.paths.volume(self._record.name)
        merge = f"{_place(directory, self._record)}{MERGE}"
        with translated("fill volume", self._record.name):
            # In a transaction: whoever claims the volume does so before, and counts, or finds all in place.
            with self._table.database.transaction():
                swap = (
                    not self._record.is_mounted
                    and len(self._table.users(self._record.name)) <= users
                    and not _entries(directory, self._record)
                )
                os.rename(self.path, f"{directory}/{DATA}" if swap else merge)
            if not swap:
                finish(self._table, self._record)

    def __exit__(self, *failure: object) -> None:
        try:
            remove_tree(self.path)
        finally:
            try:
                self._mount.__exit__(None, None, None)
            finally:
                self._work.__exit__(*failure)  # type: ignore[arg-type]


@contextmanager
def settled(table: VolumeTable, record: Record) -> Iterator[str]:
    """The path of a volume's files, mounted and whole, for as long as a ``with`` block lasts."""
    with ExitStack() as stack:
        # On a full disk there is no place for a workspace, and data can be saved from there.
        holder = stack.enter_context(Workspace(table.paths, "read")).name if record.is_mounted else ""
        data = stack.enter_context(mounted(table, record, holder))
        if record.is_mounted or not is_whole(table.paths.volume(record.name)):
            with locked(table, record.name):
                finish(table, record)
        yield data


def is_whole(directory: str) -> bool:
    """Whether a volume's files are there, and no merge into them was cut short or is under way."""
    return os.path.isdir(f"{directory}/{DATA}") and not os.path.lexists(f"{directory}/{MERGE}")


def finish(table: VolumeTable, record: Record) -> None:
    """Go on with a merge that was cut short. The volume's lock is held, and its file system mounted."""
    directory = table.paths.volume(record.name)
    place = _place(directory, record)
    if os.path.lexists(f"{place}{MERGE}"):
        moving.move(f"{place}{MERGE}", f"{directory}/{DATA}", f"{place}{_TRASH}")
    elif os.path.lexists(f"{place}{_TRASH}"):
        remove_tree(f"{place}{_TRASH}")


def _entries(directory: str, record: Record) -> bool:
    """Whether there is anything in a volume, but for work that was begun."""
    data = f"{directory}/{DATA}"
    with translated("read", data):
        names = os.listdir(data)
    return any(not (record.is_mounted and name.startswith(_HIDDEN)) for name in names)


def _clean(table: VolumeTable, record: Record) -> None:
    """Remove what dead processes were about to fill a mounted file system with; repair sees to the others."""
    data = f"{table.paths.volume(record.name)}/{DATA}"
    with translated("read", data):
        names = os.listdir(data)
    for name in names:
        owner = name.removeprefix(f"{_HIDDEN}{UNFINISHED}")
        if owner != name and not is_alive(table.paths, owner):
            remove_tree(f"{data}/{name}")


def _place(directory: str, record: Record) -> str:
    """Where to make what is to be renamed into a volume: what its names begin with."""
    return f"{directory}/{DATA}/{_HIDDEN}" if record.is_mounted else f"{directory}/"
