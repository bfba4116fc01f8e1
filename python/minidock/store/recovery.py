"""Repair after a crash, of a process or of the machine.

Opening a store asks two cheap questions: has the machine booted since the last repair, and does ``tmp/`` hold work of a
dead process? Every change of several parts is made under a workspace in ``tmp/``, so if both answers are no, rows and
directories agree. If not, :func:`repair` compares them all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from minidock.errors import MinidockError
from minidock.store.blobs import BlobTable
from minidock.store.containers import ContainerRow, ContainerTable
from minidock.store.database import Database
from minidock.store.failures import from_os
from minidock.store.images import ImageTable, drop_hidden_image
from minidock.store.layers import BUILD_CACHE
from minidock.store.locks import try_lock
from minidock.store.paths import Paths
from minidock.store.workspace import Workspace, abandoned, discard, is_alive, sweep

UNFINISHED = "fill-"
"""Begins the name of what is to become a volume's files, in its directory; a workspace's name follows."""

Hook = Callable[[Sequence[ContainerRow]], None]
"""Called with the rows of all containers after a repair: kills and records what a dead supervisor left."""


def needs_repair(database: Database) -> bool:
    """Whether the machine booted since the last repair, or a process died with work in progress."""
    row = database.row("SELECT value FROM meta WHERE key = 'boot_id'")
    return row is None or row[0] != boot_id() or abandoned(database.paths)


def repair(database: Database, hooks: Sequence[Hook] = ()) -> None:
    """Make rows and directories agree, and remove what dead processes left.

    A directory without a row is garbage, except a volume's, which gets its row again; a row without a directory is
    deleted. Running it twice, or in two processes at once, does no harm. Raises OSError's translation when the data
    root cannot be read or written.
    """
    paths = database.paths
    paths.prepare_layout()
    try:
        with Workspace(paths, "repair") as trash:
            with database.transaction():
                _containers(database, trash)
                _layers(database, trash)
                _blobs(database, trash)
                _volumes(database, trash)
                database.execute(
                    "INSERT INTO meta (key, value) VALUES ('boot_id', ?)"
                    " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (boot_id(),),
                )
            sweep(paths)
            _downloads(paths)
            if os.path.isdir(f"{paths.data}/build"):
                from minidock.store.build_leftovers import clear

                clear(database)
            for name in os.listdir(paths.run):
                if name.startswith("overlay-"):  # what was found out in an earlier boot, see minidock.snapshots.backend
                    os.unlink(f"{paths.run}/{name}")
    except OSError as error:
        raise from_os(error, "repair", paths.data) from error
    rows = ContainerTable(database).all()
    failures: list[MinidockError] = []
    for hook in hooks:
        try:
            hook(rows)
        except MinidockError as error:
            failures.append(error)  # the others still run
    if failures:
        raise failures[0]


def boot_id() -> str:
    """The kernel's id of this boot."""
    fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)


def _containers(database: Database, trash: Workspace) -> None:
    # Writers move a container's directory inside their transaction, so this one sees no half-made container.
    paths = database.paths
    rows = {row[0]: row[1] for row in database.rows("SELECT id, image_id FROM containers")}
    present = set(os.listdir(paths.containers))
    for name in present - rows.keys():
        discard(trash, paths.container(name))
    for container_id in rows.keys() - present:
        database.execute("DELETE FROM containers WHERE id = ?", (container_id,))
    for (image_id,) in database.rows("SELECT id FROM images WHERE hidden"):
        garbage = drop_hidden_image(database, image_id)
        if garbage is not None:
            ImageTable(database).discard(garbage, trash)


def _layers(database: Database, trash: Workspace) -> None:
    paths = database.paths
    for (owner,) in database.rows("SELECT DISTINCT owner FROM leases"):
        if owner != BUILD_CACHE and not is_alive(paths, owner):
            database.execute("DELETE FROM leases WHERE owner = ?", (owner,))
    database.execute(
        "DELETE FROM layers WHERE id NOT IN (SELECT layer_id FROM image_layers)"
        " AND id NOT IN (SELECT layer_id FROM leases)"
    )
    rows = {str(row[0]): row[0] for row in database.rows("SELECT id FROM layers")}
    present = set(os.listdir(paths.layers))
    for name in present - rows.keys():
        discard(trash, f"{paths.layers}/{name}")
    for name in rows.keys() - present:
        # Images that need it stay listed, and fail with a clear error when used; importing them again heals them.
        database.execute("UPDATE layers SET diff_id = 'lost:' || id WHERE id = ?", (rows[name],))


def _blobs(database: Database, trash: Workspace) -> None:
    paths = database.paths
    blobs = BlobTable(database)
    blobs.forget_lost()
    wanted = {row[0].removeprefix("sha256:") for row in database.rows("SELECT digest FROM blobs WHERE kept")}
    for name in set(os.listdir(paths.content)) - wanted:
        discard(trash, f"{paths.content}/{name}")


def _volumes(database: Database, trash: Workspace) -> None:
    from minidock.store.adoption import NAME
    from minidock.store.volumes import VolumeTable

    paths = database.paths
    volumes = VolumeTable(database)
    rows = {row[0] for row in database.rows("SELECT name FROM volumes")}
    present = set(os.listdir(paths.volumes))
    for name in present - rows:
        if NAME.fullmatch(name):
            volumes.adopt(name, trash)
    database.execute("DELETE FROM volume_uses WHERE container_id NOT IN (SELECT id FROM containers)")
    for name in rows - present:
        # One that containers have is made again, empty, when it is next used.
        if not volumes.users(name):
            database.execute("DELETE FROM volumes WHERE name = ?", (name,))
    for name in present:
        _unfinished(paths, paths.volume(name), trash)


def _unfinished(paths: Paths, directory: str, trash: Workspace) -> None:
    """Discard what dead processes were about to fill a volume with."""
    try:
        names = os.listdir(directory)
    except OSError:
        return  # no directory, or removed just now
    for name in names:
        if name.startswith(UNFINISHED) and not is_alive(paths, name.removeprefix(UNFINISHED)):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{directory}/{name}", f"{trash.path}/unfinished-{os.urandom(6).hex()}")


def _downloads(paths: Paths) -> None:
    """Remove directories of downloads that hold nothing and belong to nobody."""
    for name in os.listdir(paths.downloads):
        path = f"{paths.downloads}/{name}"
        with contextlib.suppress(OSError):  # it is not empty, or went just now
            fd = try_lock(path)
            if fd is not None:
                try:
                    # Another one may have come under its name before it was locked.
                    if os.path.samestat(os.stat(path), os.fstat(fd)):
                        os.rmdir(path)
                finally:
                    os.close(fd)
