"""The table of images that are mounted on directories of the host. What the kernel says beats it."""

from __future__ import annotations

import os
from typing import NamedTuple

from minidock.store.database import Database
from minidock.store.recovery import boot_id


class MountRow(NamedTuple):
    """One mount; ``mount_id`` is the kernel's number of it, 0 until it is mounted."""

    path: str
    image_id: str
    boot_id: str
    mount_id: int
    uses: int

    @property
    def is_there(self) -> bool:
        """Whether it is mounted still: not so after a boot, or when somebody else has taken it away."""
        if self.boot_id != boot_id():
            return False
        found = mount_id(self.path)
        return found == self.mount_id if self.mount_id else found is not None


class MountTable:
    """Rows of mounts."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def get(self, path: str) -> MountRow | None:
        """The mount on a directory."""
        rows = self._rows("WHERE path = ?", (path,))
        return rows[0] if rows else None

    def of_image(self, image_id: str) -> list[MountRow]:
        """The mounts of an image, those among them that are gone or under way."""
        return self._rows("WHERE image_id = ? ORDER BY path", (image_id,))

    def all(self) -> list[MountRow]:
        """All mounts that are there, by path."""
        return [row for row in self._rows("ORDER BY path", ()) if row.is_there]

    def heal(self) -> list[str]:
        """Forget mounts that are gone; returns their directories."""
        with self.database.transaction():
            gone = [row.path for row in self._rows("", ()) if not row.is_there]
            for path in gone:
                self.remove(path)
        return gone

    def put(self, row: MountRow) -> None:
        """Add a mount, or change it."""
        self.database.execute("INSERT OR REPLACE INTO mounts VALUES (?, ?, ?, ?, ?)", tuple(row))

    def remove(self, path: str) -> None:
        """Forget a mount."""
        self.database.execute("DELETE FROM mounts WHERE path = ?", (path,))

    def _rows(self, where: str, values: tuple[object, ...]) -> list[MountRow]:
        statement = f"SELECT path, image_id, boot_id, mount_id, uses FROM mounts {where}"  # noqa: S608 - constants
        return [MountRow(*row) for row in self.database.rows(statement, values)]


def mount_id(path: str) -> int | None:
    """The kernel's number of what is mounted on a directory; None when nothing is, or there is no such directory."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        above = _mount_of(os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd), close=True)
        found = _mount_of(fd)
    finally:
        os.close(fd)
    return found if found != above else None


def _mount_of(fd: int, *, close: bool = False) -> int:
    """The number of the mount that a descriptor is on."""
    info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for line in os.read(info, 4096).splitlines():
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    finally:
        os.close(info)
        if close:
            os.close(fd)
    return -1
