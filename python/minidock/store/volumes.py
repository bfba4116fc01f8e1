"""The tables of volumes, of the containers that have them, and of mounts that driver options ask for.

Records belong to ``minidock.volumes``; one is kept twice, in its row and in the volume's directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from minidock.errors import VolumeNotFound
from minidock.store.database import Database
from minidock.store.failures import translated
from minidock.store.workspace import Workspace

_COLUMNS = "name, created, anonymous, record"
RECORD = "volume.json"
DATA = "_data"


class VolumeRow(Struct):
    """One volume: ``created`` in nanoseconds since 1970, ``record`` as JSON bytes."""

    name: str
    created: int
    anonymous: bool
    record: bytes


class Hold(NamedTuple):
    """Somebody, by a container's id or the name of a workspace, needs a volume mounted."""

    volume: str
    holder: str
    boot_id: str
    mount_id: int


class VolumeTable:
    """Rows and directories of volumes, changed together."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.paths = database.paths

    # Volumes

    def workspace(self) -> Workspace:
        """A place to build a volume's directory in: make and fill ``workspace.path/NAME``, then :meth:`insert`."""
        return Workspace(self.paths, "volume", repair=True)

    def insert(self, row: VolumeRow, workspace: Workspace) -> bool:
        """Add a volume and move its directory in place, as one step; False when there is one of this name.

        ``workspace`` must last as long as the transaction that this may be a part of.
        A volume that has a row and no directory, as its removal was cut short, gets the directory.
        """
        place = self.paths.volume(row.name)
        moved = False

        def undo() -> None:
            if moved:
                with contextlib.suppress(FileNotFoundError):  # interrupted before the rename
                    os.rename(place, workspace.join(row.name))

        with translated("make", place), self.database.transaction(undo):
            if os.path.lexists(place):
                if self.find(row.name) is not None:
                    return False
                self.adopt(row.name, workspace)
                if self.find(row.name) is not None:
                    return False
            self.database.execute(
                f"INSERT INTO volumes ({_COLUMNS}) VALUES (?, ?, ?, ?)"  # noqa: S608 - a constant
                " ON CONFLICT (name) DO UPDATE SET created = excluded.created, anonymous = excluded.anonymous,"
                " record = excluded.record",
                (row.name, row.created, int(row.anonymous), row.record),
            )
            moved = True
            os.rename(workspace.join(row.name), place)
        return True

    def adopt(self, name: str, trash: Workspace) -> None:
        """Give a directory without a row its row again; what never was a volume goes to ``trash``."""
        from minidock.store import adoption

        row = adoption.row_of(self.paths.volume(name), name)
        if row is not None:
            self.database.execute(
                f"INSERT OR IGNORE INTO volumes ({_COLUMNS}) VALUES (?, ?, ?, ?)",  # noqa: S608 - a constant
                (row.name, row.created, int(row.anonymous), row.record),
            )
            return
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.paths.volume(name), f"{trash.path}/left-{os.urandom(6).hex()}")

    def get(self, name: str) -> VolumeRow:
        """The volume of this name. Raises VolumeNotFound."""
        row = self.find(name)
        if row is None:
            raise VolumeNotFound(f"get {name}: no such volume")
        return row

    def find(self, name: str) -> VolumeRow | None:
        """Like :meth:`get`, but None when there is none."""
        rows = self._select("WHERE name = ?", (name,))
        return rows[0] if rows else None

    def some(self, names: Sequence[str]) -> list[VolumeRow]:
        """The volumes of these names that exist."""
        marks = ", ".join("?" * len(names))
        return self._select(f"WHERE name IN ({marks}) ORDER BY name", tuple(names))

    def all(self) -> list[VolumeRow]:
        """All volumes by name."""
        return self._select("ORDER BY name", ())

    def remove(self, names: Iterable[str], trash: Workspace) -> tuple[list[str], dict[str, list[str]]]:
        """Remove volumes that no container has, and move their directories to ``trash``, as one step.

        Returns the names of those, and by name the ids of the containers that kept a volume.
        """
        kept: dict[str, list[str]] = {}
        moved: list[str] = []

        def undo() -> None:
            for name in moved:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(trash.join(name), self.paths.volume(name))

        with translated("remove", self.paths.volumes), self.database.transaction(undo):
            for name in names:
                users = self.users(name)
                if users:
                    kept[name] = users
                    continue
                if not self.database.execute("DELETE FROM volumes WHERE name = ?", (name,)):
                    continue
                moved.append(name)
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self.paths.volume(name), trash.join(name))
        return moved, kept

    # Containers that have them

    def use(self, container_id: str, names: Iterable[str]) -> None:
        """Record that a container has volumes, which must exist. It ends with the container's row."""
        for name in names:
            self.database.execute(
                "INSERT OR IGNORE INTO volume_uses (volume, container_id) VALUES (?, ?)", (name, container_id)
            )

    def users(self, name: str) -> list[str]:
        """The ids of the containers that have a volume."""
        rows = self.database.rows(
            "SELECT container_id FROM volume_uses WHERE volume = ? ORDER BY container_id", (name,)
        )
        return [row[0] for row in rows]

    def links(self) -> dict[str, int]:
        """How many containers have each volume that any has."""
        return dict(self.database.rows("SELECT volume, count(*) FROM volume_uses GROUP BY volume"))

    # Mounts

    def hold(self, hold: Hold) -> None:
        """Record that somebody needs a volume mounted, or change that."""
        self.database.execute("INSERT OR REPLACE INTO volume_mounts VALUES (?, ?, ?, ?)", tuple(hold))

    def holds(self, name: str) -> list[Hold]:
        """Who needs a volume mounted."""
        return self._holds("WHERE volume = ? ORDER BY holder", (name,))

    def held_by(self, holder: str) -> list[Hold]:
        """What somebody needs mounted."""
        return self._holds("WHERE holder = ? ORDER BY volume", (holder,))

    def every_hold(self) -> list[Hold]:
        """All of them."""
        return self._holds("ORDER BY volume, holder", ())

    def let_go(self, name: str, holder: str) -> None:
        """Forget that somebody needs a volume mounted."""
        self.database.execute("DELETE FROM volume_mounts WHERE volume = ? AND holder = ?", (name, holder))

    def _select(self, where: str, values: tuple[object, ...]) -> list[VolumeRow]:
        rows = self.database.rows(f"SELECT {_COLUMNS} FROM volumes {where}", values)  # noqa: S608 - constants
        return [VolumeRow(name, created, bool(anonymous), record) for name, created, anonymous, record in rows]

    def _holds(self, where: str, values: tuple[object, ...]) -> list[Hold]:
        rows = self.database.rows(
            f"SELECT volume, holder, boot_id, mount_id FROM volume_mounts {where}",  # noqa: S608 - constants
            values,
        )
        return [Hold(*row) for row in rows]
