"""SELinux labels of what is mounted (``z``, ``Z``)."""

from __future__ import annotations

import os

from minidock import _native
from minidock.containers.base import translated
from minidock.security import lsm
from minidock.store.failures import from_os

_ATTRIBUTE = "security.selinux"


def relabel(source: str, mode: str, label: str) -> None:
    """Give all below ``source`` a container's label if ``mode`` says so: of its own for ``Z``, shared for ``z``.

    Raises Denied for a directory of the system, with or without SELinux.
    """
    words = mode.split(",")
    if "z" not in words and "Z" not in words:
        return
    with translated():
        _native.selinux_check_relabel(source)
    if not label or not lsm.host()[1]:
        return
    wanted = label if "Z" in words else _shared(label)
    try:
        _set(source, wanted.encode() + b"\0")
    except OSError as error:
        raise from_os(error, "relabel", source) from error


def _shared(label: str) -> str:
    """Return a label without its categories: all containers have it in common."""
    parts = label.split(":", 3)
    return ":".join([*parts[:3], "s0"])


def _set(top: str, value: bytes) -> None:
    os.setxattr(top, _ATTRIBUTE, value)
    if not os.path.isdir(top):
        return
    for _, directories, files, folder in os.fwalk(top, follow_symlinks=False):
        for name in (*directories, *files):
            # By the open directory's descriptor: nobody can swap one on the way for a link.
            os.setxattr(f"/proc/self/fd/{folder}/{name}", _ATTRIBUTE, value, follow_symlinks=False)
