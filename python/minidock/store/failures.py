"""An ``OSError`` of Python's own file calls as an exception of minidock's tree."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from minidock.errors import Denied, MinidockError, NoSpace, NotFound, SystemFailure

_FULL = (errno.ENOSPC, errno.EDQUOT)


def from_os(error: OSError, operation: str, subject: str) -> MinidockError:
    """Return the exception for ``error``: ``operation subject: cause``; use ``raise from_os(…) from error``."""
    cause = error.strerror or str(error)
    text = f"{operation} {subject}: {cause[:1].lower()}{cause[1:]}"
    if error.errno in _FULL:
        return NoSpace(f"{text}; free some space, or choose another --data-root")
    if error.errno == errno.ENOENT:
        return NotFound(text)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied(text)
    return SystemFailure(text)


@contextmanager
def translated(operation: str, subject: str) -> Iterator[None]:
    """Turn an ``OSError`` of a ``with`` block into :func:`from_os`'s exception."""
    try:
        yield
    except OSError as error:
        raise from_os(error, operation, subject) from error
