"""Whether overlayfs works on a data root: a real attempt, once per boot (never a guess from a version)."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from minidock.store.paths import Paths
    from minidock.store.store import Store

_YES = "yes"
# What says nothing about overlayfs: the attempt fails, and the next one is made anew.
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EAGAIN})


class Backend(NamedTuple):
    """``reason`` says why overlayfs does not work."""

    overlay: bool
    reason: str


def choose(store: Store) -> Backend:
    """The result of this boot's attempt, made now if need be.

    It is kept as the target of a link in the run root, so that reading it is one system call; a repair after a boot
    removes it, see :mod:`minidock.store.recovery`.
    """
    _ = store.database
    link = link_of(store.paths)
    try:
        known = os.readlink(link)
    except OSError:
        known = _attempt(store)
        _remember(link, known)
    return Backend(True, "") if known == _YES else Backend(False, known)


def link_of(paths: Paths) -> str:
    """Where the result is kept."""
    return f"{paths.run}/overlay-{os.stat(paths.data).st_ino:x}"


def _attempt(store: Store) -> str:
    from minidock import _native
    from minidock._errors import translate
    from minidock.store.workspace import Workspace

    with Workspace(store.paths, "probe") as work:
        for name in ("lower", "upper", "work"):
            os.mkdir(work.join(name), 0o700)
        try:
            _native.probe_overlay(work.join("lower"), work.join("upper"), work.join("work"))
        except _native.NativeError as error:
            if error.args[4] in _PASSING:
                raise translate(error) from error
            # One line, and short enough for the target of a link.
            return str(error.args[0]).replace("\n", " ")[:500]
    return _YES


def _remember(link: str, known: str) -> None:
    fresh = f"{link}.{os.getpid()}"
    with contextlib.suppress(OSError):  # the next process tries again
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        os.symlink(known, fresh)
        os.rename(fresh, link)
