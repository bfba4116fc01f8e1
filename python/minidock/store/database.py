"""The SQLite database of a data root: one connection per process, shared by its threads under a lock."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from minidock.errors import Corrupt, Denied, MinidockError, NoSpace, SystemFailure, Timeout, Unsupported
from minidock.store.locks import lock
from minidock.store.paths import Paths
from minidock.store.schema import MIGRATIONS

BUSY_SECONDS = 30.0
_RESERVE = 1 << 20
_WAL_PAGES = 256
"""Checkpoint after 1 MiB: whoever opens the database after a process that was killed, or left by _exit, reads it."""

_abandoned: list[sqlite3.Connection] = []
"""Connections inherited over a fork. Closing one here would drop locks and files that the parent still uses."""


class Database:
    """Statements and transactions on ``minidock.db``. Errors of SQLite come out as errors of minidock."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._depth = 0
        self._writer = 0
        self._undo: list[Callable[[], None]] = []
        self._afterwards: list[Callable[[], None]] = []

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside a :meth:`transaction`."""
        return self._depth > 0 and self._pid == os.getpid() and self._writer == threading.get_ident()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        with self._lock, _translated(self.paths.database):
            return self.connection().execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run one statement and return its first row, or None."""
        with self._lock, _translated(self.paths.database):
            row: tuple[Any, ...] | None = self.connection().execute(statement, values).fetchone()
            return row

    def execute(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run one statement; returns how many rows it changed. ``sqlite3.IntegrityError`` comes out as it is."""
        with self._lock, _translated(self.paths.database):
            return self.connection().execute(statement, values).rowcount

    @contextmanager
    def transaction(self, undo: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the one writer's lock of all processes for a ``with`` block: commit at its end, roll back on an error.

        A transaction inside another is part of the outer one. Keep it short: no waiting on anything else inside.
        ``undo`` takes back what the block did to files. It runs, still under the lock, if and only if the (outermost)
        transaction fails; an interrupt just after the commit is no such failure.
        """
        with self._lock:
            if self._depth and self._pid == os.getpid():
                self._depth += 1
                if undo is not None:
                    self._undo.append(undo)
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            connection = self.connection()
            with _translated(self.paths.database):
                connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            self._writer = threading.get_ident()
            self._undo = [] if undo is None else [undo]
            try:
                yield
                try:
                    connection.execute("COMMIT")
                except sqlite3.Error as error:
                    if not connection.in_transaction:
                        # Rolled back by SQLite already (a full disk): the files are taken back under the lock, too.
                        connection.execute("BEGIN IMMEDIATE")
                    raise _translate(error, self.paths.database) from error
            except BaseException:
                if connection.in_transaction:
                    try:
                        for take_back in reversed(self._undo):
                            take_back()
                    finally:
                        connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0
                self._undo = []
                afterwards, self._afterwards = self._afterwards, []
                for call in afterwards:
                    call()

    def afterwards(self, call: Callable[[], None]) -> None:
        """Call something when the (outermost) transaction of this thread has ended, well or not; now, if there is none.

        It gives back what an ``undo`` of that transaction needs, and what tells others that it was cut short.
        """
        if self.in_transaction:
            self._afterwards.append(call)
        else:
            call()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads of a ``with`` block see the same state of the database. Nothing may be written inside."""
        with self._lock:
            if self._depth and self._pid == os.getpid():
                yield
                return
            connection = self.connection()
            with _translated(self.paths.database):
                connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def connection(self) -> sqlite3.Connection:
        """The open connection, opened now if need be. Hold no reference to it beyond a call."""
        if self._connection is not None:
            if self._pid == os.getpid():
                return self._connection
            _abandoned.append(self._connection)
            self._connection = None
            self._depth = 0
            self._afterwards = []
        with self._lock:
            if self._connection is None:
                self._connection = self._open()
                self._pid = os.getpid()
            return self._connection

    def close(self) -> None:
        """Close the connection; the next statement opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            elif self._connection is not None:
                _abandoned.append(self._connection)
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self.paths.prepare()
        reserve(self.paths.data)
        with _translated(self.paths.database):
            if not os.path.exists(self.paths.database):
                self._create()
            connection = self._connect()
            try:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version != len(MIGRATIONS):
                    self._migrate(connection, version)
            except BaseException:
                connection.close()
                raise
            return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.paths.database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
        return connection

    def _create(self) -> None:
        """Make the layout and an empty database in WAL mode; several processes may try at once."""
        # The switch to WAL does not wait for other connections, so it happens under a lock of our own.
        with lock(self.paths.data):
            if os.path.exists(self.paths.database):
                return
            self.paths.prepare_layout()
            # SQLite gives its -wal and -shm files the mode of the database.
            fresh = f"{self.paths.database}.new"
            for left in (fresh, f"{fresh}-wal", f"{fresh}-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(left)
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            connection = sqlite3.connect(fresh, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN")  # each statement by itself would be waited for until it is on the disk
                _run_steps(connection, 0)
                connection.execute("COMMIT")
            finally:
                connection.close()
            os.rename(fresh, self.paths.database)

    def _migrate(self, connection: sqlite3.Connection, version: int) -> None:
        if version > len(MIGRATIONS):
            raise Unsupported(
                f"open {self.paths.database}: its schema is version {version} and this minidock knows "
                f"{len(MIGRATIONS)}; use the newer minidock that wrote it, or another --data-root"
            )
        self.paths.prepare_layout()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have migrated while this one waited.
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            _run_steps(connection, version)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def reserve(data: str) -> None:
    """Keep a file of 1 MiB in the data root, and give it up when the disk is full.

    SQLite makes its -wal and -shm files when a database is opened: without room for them, nobody could remove anything.
    """
    path = f"{data}/reserve"
    try:
        status = os.statvfs(data)
        free = status.f_bavail * status.f_frsize
        if free < _RESERVE:
            with suppress(FileNotFoundError):
                os.unlink(path)
        elif free > 16 * _RESERVE and not os.path.exists(path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVE)
            finally:
                os.close(fd)
    except OSError:
        return  # a read-only disk has other worries


def _run_steps(connection: sqlite3.Connection, version: int) -> None:
    for step in MIGRATIONS[version:]:
        statement = ""
        for piece in step.split(";"):
            statement += f"{piece};"
            if sqlite3.complete_statement(statement):  # of a trigger, its end
                connection.execute(statement)
                statement = ""
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Turn what SQLite and the file system raise into minidock's errors."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except OSError as error:
        raise _from_os(error, path) from error


def _translate(error: sqlite3.Error, path: str) -> MinidockError:
    name: str = getattr(error, "sqlite_errorname", "") or ""
    text = str(error)
    if name.startswith("SQLITE_FULL"):
        return NoSpace(f"write {path}: no space left on device; free some, or choose another --data-root")
    if name.startswith("SQLITE_BUSY"):
        return Timeout(f"lock {path}: another process has held it for {BUSY_SECONDS:g} s; find it with lsof or fuser")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Corrupt(f"read {path}: {text}; restore it, or move the data root away to start anew")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) and _is_read_only(path):
        return Denied(f"write {path}: read-only file system; mount it writable, or choose another --data-root")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return Denied(f"write {path}: {text}")
    if name in ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_TRUNCATE") and _is_full(path):
        return NoSpace(f"write {path}: no space left on device; free some, or choose another --data-root")
    return SystemFailure(f"use {path}: {text} ({name or type(error).__name__})")


def _from_os(error: OSError, path: str) -> MinidockError:
    from minidock.store.failures import from_os

    return from_os(error, "use", path)


def _is_read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(os.path.dirname(path)).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _is_full(path: str) -> bool:
    try:
        status = os.statvfs(os.path.dirname(path))
    except OSError:
        return False
    return status.f_bavail * status.f_bsize < 1 << 20
