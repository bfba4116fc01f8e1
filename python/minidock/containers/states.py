"""The states of a container, and which operation is legal in which. One table; nobody else compares states."""

from __future__ import annotations

from minidock.errors import Conflict

CREATED, RUNNING, EXITED = "created", "running", "exited"

_LEGAL: dict[str, frozenset[str]] = {
    "start": frozenset((CREATED, EXITED)),
    "kill": frozenset((RUNNING,)),
    "remove": frozenset((CREATED, EXITED)),
}

_REASONS: dict[tuple[str, str], str] = {
    ("start", RUNNING): "container {id} is already running",
    ("kill", CREATED): "cannot kill container: {id}: container is not running",
    ("kill", EXITED): "cannot kill container: {id}: container is not running",
    ("remove", RUNNING): "cannot remove container {id}: container is running: stop the container before removing or "
    "force remove",
}


def require(operation: str, state: str, container_id: str) -> None:
    """Raise Conflict unless ``operation`` (start, kill, remove) is legal in ``state``."""
    if state not in _LEGAL[operation]:
        raise Conflict(_REASONS[operation, state].format(id=container_id))
