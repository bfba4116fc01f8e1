"""The one table from exceptions to HTTP statuses, and Docker's words for them."""

from __future__ import annotations

import re

from minidock import errors

_STATUSES: tuple[tuple[type[errors.MinidockError], int], ...] = (
    (errors.InvalidArgument, 400),
    (errors.CommandNotFound, 400),
    (errors.CommandNotExecutable, 400),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Denied, 403),
    (errors.Unsupported, 501),
)
_CAPITALISED = (
    "no such container",
    "no such image",
    "no such exec instance",
    "no exec command specified",
    "cannot restart container ",
)
_LONGEST = 4096
"""Of a message, which may quote what the client has sent."""
_NAME_IN_USE = re.compile(r'the (container name ".*?" is already in use by container ".*?")')


class HttpError(Exception):
    """An answer that is no failure of the engine: a status and its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Vanished(Exception):  # noqa: N818 - says what happened
    """The client has gone; nobody is left to be answered."""


def status_of(error: Exception) -> int:
    """Return the status for a failure; 500 for one that is nobody's fault or ours."""
    if isinstance(error, HttpError):
        return error.status
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    return 500


def message_of(error: Exception) -> str:
    """Return the message for a failure, in Docker's spelling where clients look at it."""
    if isinstance(error, (errors.MinidockError, HttpError)):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror.lower()}{f' {error.filename}' if error.filename else ''}"
    elif isinstance(error, RecursionError):
        text = "too deeply nested"
    else:
        text = f"internal error: {type(error).__name__}: {error}"
    text = text[:_LONGEST]
    taken = _NAME_IN_USE.match(text)
    if taken is not None:
        return f"Conflict. The {taken[1]}. You have to remove (or rename) that container to be able to reuse that name."
    if text.startswith(_CAPITALISED):
        text = text[0].upper() + text[1:]
    return text
