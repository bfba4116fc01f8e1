"""Making volumes, and their directories."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.errors import InvalidArgument, Unsupported, VolumeNotFound
from minidock.store.failures import translated
from minidock.store.locks import lock
from minidock.store.volumes import DATA, RECORD
from minidock.volumes import options as rules
from minidock.volumes.record import ANONYMOUS, DRIVER, Record, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from minidock.store.volumes import VolumeTable
    from minidock.store.workspace import Workspace


def new_name() -> str:
    """The name of a volume that nobody named."""
    return os.urandom(32).hex()


def make(
    table: VolumeTable,
    name: str,
    *,
    driver: str = "",
    labels: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    anonymous: bool = False,
) -> tuple[Record, bool]:
    """Return the volume of this name, and whether it was made now. What there is stays as it is, as in Docker.

    Raises InvalidArgument for a name, option or size that makes no sense, NotFound for another driver, Unsupported for
    a size that the file system cannot limit.
    """
    driver = driver or DRIVER
    row = table.find(name)
    if row is None or driver != DRIVER:
        rules.check_name(name)
        rules.check(name, driver, options or {})
    elif os.path.lexists(table.paths.volume(name)):
        return decode(row.record), False
    named = dict(labels or {})
    if anonymous:
        named[ANONYMOUS] = ""
    record = Record(
        name=name,
        created=time.time_ns(),
        driver=driver,
        labels=named or None,
        options=dict(options or {}) or None,
        anonymous=ANONYMOUS in named,
    )
    _check_text(record)
    if row is not None:
        record = decode(row.record)
    work = table.workspace()
    try:
        stage(record, work)
        if table.insert(record.row(), work):
            return record, row is None
    finally:
        table.database.afterwards(work.close)
    return decode(table.get(name).record), False


def stage(record: Record, work: Workspace) -> str:
    """Make the directory of a volume in a workspace; returns where its files are to be."""
    directory = work.join(record.name)
    data = f"{directory}/{DATA}"
    with translated("make", directory):
        os.mkdir(directory, 0o700)
        limit(record, directory)
        os.mkdir(data, 0o755)
        os.chmod(data, 0o755)  # noqa: S103 - whatever the umask is; what is above is closed
        fd = os.open(f"{directory}/{RECORD}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(encode(record))
            if not record.anonymous:
                file.flush()
                os.fsync(fd)  # what a power cut may take from the database is brought back from here
    return data


def limit(record: Record, directory: str) -> None:
    """Limit what a volume that is moved to its place later may hold, if its options say so. Raises Unsupported."""
    size = rules.size(record.name, record.options or {})
    if not size:
        return
    try:
        _native.quota_set(directory, size, renamed=True)
    except _native.NativeError as error:
        failure = translate(error)
        if isinstance(failure, Unsupported):
            raise Unsupported(
                f"create {record.name}: quota size requested but no quota support: {failure}"
            ) from error  # fmt: skip
        raise failure from error


@contextlib.contextmanager
def locked(table: VolumeTable, name: str) -> Iterator[str]:
    """Hold the lock of a volume for a ``with`` block; yields its directory. Raises VolumeNotFound.

    It is taken before the database's.
    """
    path = table.paths.volume(name)
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
            fd = stack.enter_context(lock(path))
            here = os.stat(path)
            if os.path.samestat(here, os.fstat(fd)):  # or it was removed, and perhaps made again, meanwhile
                held = stack.pop_all()
                break
        row = table.get(name)
        if not os.path.lexists(path):  # lost: its row says that containers have it
            with table.workspace() as work:
                record = decode(row.record)
                stage(record, work)
                table.insert(row, work)
    else:
        raise VolumeNotFound(f"get {name}: no such volume")
    with held:
        yield path


def _check_text(record: Record) -> None:
    try:
        encode(record)
    except (UnicodeEncodeError, TypeError) as error:
        raise InvalidArgument(f"create {record.name}: labels and options must be text in UTF-8") from error
