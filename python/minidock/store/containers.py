"""The containers table. A record is a JSON document whose content belongs to ``minidock.containers``."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from minidock.errors import Conflict, ContainerNotFound, ImageNotFound, InvalidArgument, NameInUse
from minidock.store.database import Database
from minidock.store.failures import from_os
from minidock.store.images import Garbage, ImageTable, drop_hidden_image
from minidock.store.workspace import Workspace, discard

_COLUMNS = "id, name, image_id, created, state, record"
_ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")


class ContainerRow(Struct):
    """One row: ``created`` in nanoseconds since 1970, ``record`` as JSON bytes."""

    id: str
    name: str
    image_id: str | None
    created: int
    state: str
    record: bytes


class ContainerTable:
    """Rows and directories of containers, changed together."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.paths = database.paths

    def workspace(self, container_id: str) -> Workspace:
        """A place to build a container's directory in: make and fill ``workspace.path/ID``, then :meth:`insert`."""
        return Workspace(self.paths, f"container-{container_id[:12]}")

    def insert(self, row: ContainerRow, workspace: Workspace | None = None) -> None:
        """Add a container and its hold on its image, and move its directory in place, as one step.

        Without ``workspace`` the row is added alone; its directory must be there. Raises NameInUse, naming the
        holder's id, and ImageNotFound when the image has been removed meanwhile.
        """
        moved = False

        def undo() -> None:
            if moved and workspace is not None:
                with contextlib.suppress(FileNotFoundError):  # interrupted before the rename
                    os.rename(self.paths.container(row.id), workspace.join(row.id))

        try:
            with self.database.transaction(undo):
                if row.image_id is not None and not self.database.row(
                    "SELECT 1 FROM images WHERE id = ? AND NOT hidden", (row.image_id,)
                ):
                    raise ImageNotFound(f"no such image: {row.image_id}; it was removed meanwhile")
                try:
                    self.database.execute(
                        f"INSERT INTO containers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
                        (row.id, row.name, row.image_id, row.created or time.time_ns(), row.state, row.record),
                    )
                except sqlite3.IntegrityError as error:
                    raise self._in_use(row.name, row.id) from error
                if workspace is not None:
                    if os.path.lexists(self.paths.container(row.id)):
                        raise Conflict(f"make {self.paths.container(row.id)}: directory exists and is not empty")
                    moved = True
                    os.rename(workspace.join(row.id), self.paths.container(row.id))
        except OSError as error:
            raise from_os(error, "make", self.paths.container(row.id)) from error

    def get(self, key: str) -> ContainerRow:
        """Find a container by full id, by name (a leading slash is ignored) or by a prefix of its id, in this order.

        Raises ContainerNotFound, and InvalidArgument when a prefix fits several containers.
        """
        row = self.find(key)
        if row is None:
            raise ContainerNotFound(f"no such container: {key}")
        return row

    def find(self, key: str) -> ContainerRow | None:
        """Like :meth:`get`, but None when there is none."""
        name = key.removeprefix("/")
        if len(name) == _ID_LENGTH and (rows := self._select("WHERE id = ?", (name,))):
            return rows[0]  # what nearly all callers have; it costs half of what comes next
        rows = self._select("WHERE id = ? OR name = ? ORDER BY id != ?", (name, name, name))
        if not rows and name and len(name) < _ID_LENGTH and _HEX.issuperset(name):
            # 'g' sorts after every hexadecimal digit: a range of the primary key, not a scan
            rows = self._select("WHERE id >= ? AND id < ? LIMIT 2", (name, name + "g"))
            if len(rows) > 1:
                raise InvalidArgument(f"multiple containers have an id that begins with {key}; give more digits")
        return rows[0] if rows else None

    def all(self) -> list[ContainerRow]:
        """All containers, newest first."""
        return self._select("ORDER BY created DESC, id", ())

    def update(
        self,
        container_id: str,
        *,
        state: str | None = None,
        record: bytes | None = None,
        name: str | None = None,
        expected_state: str | None = None,
    ) -> bool:
        """Change what is given of one container, by full id; returns whether it was changed.

        ``expected_state`` makes it conditional. Raises ContainerNotFound, and NameInUse for a new name.
        """
        # Only what changes is set: a name that is set again would be written to its index again.
        given = {"state": state, "record": record, "name": name}
        changes = {column: value for column, value in given.items() if value is not None}
        if not changes:
            return False
        columns = ", ".join(f"{column} = ?" for column in changes)
        expected = "" if expected_state is None else " AND state = ?"
        values = (*changes.values(), container_id, *([] if expected_state is None else [expected_state]))
        try:
            changed = self.database.execute(f"UPDATE containers SET {columns} WHERE id = ?{expected}", values)  # noqa: S608 - constants
        except sqlite3.IntegrityError as error:
            raise self._in_use(name or "", container_id) from error
        if not changed and expected_state is None:
            raise ContainerNotFound(f"no such container: {container_id}")
        return bool(changed)

    def remove(
        self,
        container_id: str,
        check: Callable[[ContainerRow], None] | None = None,
        later: Callable[[Workspace], None] | None = None,
        with_it: Callable[[Workspace], None] | None = None,
    ) -> None:
        """Remove a container's row and directory, by full id; its image goes with it if that was only kept for it.

        ``check`` sees the row inside the transaction and raises to forbid it. ``with_it`` removes in the same
        transaction what goes together with the row, its files into the workspace. ``later`` takes over the workspace
        that holds the files, and closes it at some time. Raises ContainerNotFound.
        """
        with contextlib.ExitStack() as stack:
            trash = stack.enter_context(Workspace(self.paths, f"remove-{container_id[:12]}", repair=True))
            garbage: Garbage | None = None
            with self.database.transaction():
                rows = self._select("WHERE id = ?", (container_id,))
                if not rows:
                    raise ContainerNotFound(f"no such container: {container_id}")
                if check is not None:
                    check(rows[0])
                self.database.execute("DELETE FROM containers WHERE id = ?", (container_id,))
                if rows[0].image_id is not None:
                    garbage = drop_hidden_image(self.database, rows[0].image_id)
                if with_it is not None:
                    with_it(trash)
            # After the commit: if this process dies in between, its workspace tells the next one to repair.
            discard(trash, self.paths.container(container_id))
            if garbage is not None:
                ImageTable(self.database).discard(garbage, trash)
            if later is not None:
                stack.pop_all()
                later(trash)

    def of_image(self, image_id: str) -> list[ContainerRow]:
        """Containers that were created from an image."""
        return self._select("WHERE image_id = ? ORDER BY created", (image_id,))

    def mounted_images(self) -> dict[str, list[str]]:
        """By id, the images that containers have mounted besides their own, with the ids of these containers."""
        found: dict[str, list[str]] = {}
        rows = self.database.rows(
            'SELECT id, record FROM containers WHERE instr(record, CAST(\'"type":"image"\' AS BLOB)) ORDER BY created'
        )
        for container_id, record in rows:
            for mount in msgspec.json.decode(record).get("mounts", ()):
                if mount["type"] == "image" and container_id not in found.setdefault(mount["source"], []):
                    found[mount["source"]].append(container_id)
        return found

    def _select(self, where: str, values: tuple[object, ...]) -> list[ContainerRow]:
        rows = self.database.rows(f"SELECT {_COLUMNS} FROM containers {where}", values)  # noqa: S608 - constants
        return [ContainerRow(*row) for row in rows]

    def _in_use(self, name: str, container_id: str) -> NameInUse:
        row = self.database.row("SELECT id FROM containers WHERE name = ? OR id = ?", (name, container_id))
        holder = row[0] if row else "another"
        return NameInUse(
            f'the container name "/{name}" is already in use by container "{holder}"; '
            "remove or rename that container, or choose another name"
        )
