"""Volumes to archives, from archives, and to other volumes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, BinaryIO

from minidock import _native
from minidock._errors import translate
from minidock.errors import MinidockError, NameInUse, VolumeNotFound
from minidock.images import outputs, sources
from minidock.volumes import filling, making
from minidock.volumes.making import locked
from minidock.volumes.moving import DEEPEST
from minidock.volumes.options import check_name
from minidock.volumes.record import ANONYMOUS, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.images.outputs import Out
    from minidock.store.volumes import VolumeTable

_UNSAID = (1 << 32) - 3
"""A user that no archive names."""

In = str | os.PathLike[str] | int | bytes | BinaryIO


def export(table: VolumeTable, record: Record, out: Out | None, chunk_size: int) -> Iterator[bytes] | None:
    """Write a volume's files as a tar; see :meth:`minidock.volumes.volume.Volume.export`."""
    _require(table, record)

    def write(fd: int) -> None:
        with filling.settled(table, record) as data:
            try:
                _native.tar_tree(data, fd)
            except _native.NativeError as error:
                raise _failed(f"export volume {record.name}", error) from error
            _require(table, record)

    if out is None:
        return outputs.piped(write, chunk_size)
    outputs.write_to(out, write, "export")
    return None


def import_(table: VolumeTable, record: Record, source: In) -> None:
    """Unpack an archive over a volume's files; see :meth:`minidock.volumes.volume.Volume.import_`."""
    _require(table, record)
    what = f"import into volume {record.name}"
    with sources.opened(source, f"volume import {record.name}") as stream, filling.Stage(table, record) as stage:
        stage.make()
        # The unpacker gives a top that the archive says nothing of a mode of its own; then it stays what it was.
        os.chown(stage.path, _UNSAID, _UNSAID)
        try:
            try:
                _native.unpack_layer(stream.fd, stage.path, limits={"depth": DEEPEST})
            except _native.NativeError as error:
                raise _failed(what, error) from error
            finally:
                stream.check()  # what failed before the unpacker explains what it says
        except MinidockError as error:
            raise type(error)(f"{what}: {str(error).removeprefix(f'{what}: ')}") from error
        if os.stat(stage.path).st_uid == _UNSAID:
            stage.copy_facts()
        with locked(table, record.name):
            filling.finish(table, record)
            stage.commit(users=0)


def clone(table: VolumeTable, source: Record, name: str | None) -> Record:
    """Copy a volume; see :meth:`minidock.volumes.volume.Volume.clone`."""
    if name:
        check_name(name)
        if table.find(name) is not None:
            raise NameInUse(f"clone {source.name}: volume {name} already exists")
    _require(table, source)
    labels = {key: text for key, text in (source.labels or {}).items() if key != ANONYMOUS}
    if not name:
        labels[ANONYMOUS] = ""
    record = Record(name=name or making.new_name(), created=time.time_ns(), labels=labels or None, anonymous=not name)
    with table.workspace() as work:
        target = making.stage(record, work)
        with filling.settled(table, source) as data:
            try:
                _native.copy_tree(data, target)
            except _native.NativeError as error:
                raise _failed(f"clone volume {source.name}", error) from error
            _require(table, source)
        if not table.insert(record.row(), work):
            raise NameInUse(f"clone {source.name}: volume {name} already exists")
    return record


def _require(table: VolumeTable, record: Record) -> None:
    """Raise VolumeNotFound when a volume was removed, also if it was made again: what was read of it is not whole."""
    if table.get(record.name).created != record.created:
        raise VolumeNotFound(f"get {record.name}: no such volume; it was removed meanwhile")


def _failed(what: str, error: _native.NativeError) -> MinidockError:
    failure = translate(error)
    return type(failure)(f"{what}: {failure}")
