"""OCI runtimes: minidock's own, and others by name or path."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from minidock.containers.document import Runtime
from minidock.containers.parse.modes import joined
from minidock.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from minidock.config import Config
    from minidock.containers.record import Record

OWN = "minidock"
_ALWAYS_THERE = "runc"
"""Docker's word for the runtime that is always there: ours, unless one of the configuration's has it."""


def name(wanted: object, config: Config) -> str:
    """Return the name of the runtime of a new container: ``wanted``, the configuration's default, or our own."""
    return wanted if isinstance(wanted, str) and wanted else config.default_runtime or OWN


def find(record: Record, config: Config) -> Runtime | None:
    """Return the other runtime that a container wants; None is ours.

    A name stands for an entry of the configuration's ``runtimes``; an absolute path for itself.

    Raises:
        InvalidArgument: there is no such name, or its program is not there or cannot be executed.
        Unsupported: the container wants what only our own runtime does.
    """
    wanted = name(record.host_config.runtime, config)
    entry = config.runtimes.get(wanted)
    if wanted == OWN or (wanted == _ALWAYS_THERE and entry is None):
        return None
    if entry is not None:
        found = Runtime(_program(wanted, entry.path), list(entry.runtime_args))
    elif wanted.startswith("/"):
        found = Runtime(_program(wanted, wanted), [])
    else:
        raise InvalidArgument(f"unknown or invalid runtime name: {wanted}")
    _check(record, wanted)
    return found


def _program(wanted: str, path: str) -> str:
    """Return the absolute path of a runtime's program, which can be executed."""
    if "/" not in path:
        import shutil

        path = shutil.which(path) or path
    if not path.startswith("/"):
        raise InvalidArgument(f"runtime {wanted}: {path}: neither an absolute path nor a program on PATH")
    if "\0" in path:
        raise InvalidArgument(f"runtime {wanted!r}: the path has a NUL byte")
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise InvalidArgument(f"runtime {wanted}: {path}: {(error.strerror or 'failed').lower()}") from error
    if not stat.S_ISREG(mode):
        raise InvalidArgument(f"runtime {wanted}: {path}: not a regular file")
    if not os.access(path, os.X_OK):
        raise InvalidArgument(f"runtime {wanted}: {path}: not executable")
    return path


def _check(record: Record, wanted: str) -> None:
    """Refuse what needs the helper between the engine and the container."""
    host_config = record.host_config
    for given, option in (
        (record.rootfs is not None, "--rootfs"),
        (host_config.init is True, "--init"),
        (host_config.userns_mode == "remap", "--userns remap"),
        (joined(host_config.ipc_mode) is not None, f"--ipc {host_config.ipc_mode}"),
    ):
        if given:
            raise Unsupported(f"runtime {wanted}: {option} needs minidock's own runtime; leave out --runtime")
