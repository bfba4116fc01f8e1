"""One table: the kind of a Rust error to the class of a Python exception."""

from __future__ import annotations

import errno as errno_names

from minidock import errors
from minidock._native import NativeError

_CLASSES: dict[str, type[errors.MinidockError]] = {
    "not-found": errors.NotFound,
    "conflict": errors.Conflict,
    "invalid": errors.InvalidArgument,
    "unsupported": errors.Unsupported,
    "denied": errors.Denied,
    "busy": errors.Conflict,
    "corrupt": errors.Corrupt,
    "timeout": errors.Timeout,
    "limit": errors.LimitExceeded,
}


def exception_for(kind: str, text: str, errno: int | None = None) -> errors.MinidockError:
    """Return the exception for a Rust error's kind, text and errno."""
    if errno in (errno_names.ENOSPC, errno_names.EDQUOT):
        return errors.NoSpace(text)
    return _CLASSES.get(kind, errors.SystemFailure)(text)


def translate(error: NativeError) -> errors.MinidockError:
    """Return the exception to raise in place of ``error``; use ``raise translate(e) from e``."""
    text, kind, _op, _subject, errno = error.args
    return exception_for(kind, text, errno)
