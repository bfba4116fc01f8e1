"""The states of a container, and which operation is legal in which. One table; nobody else compares states.

``paused`` and ``restarting`` are seen, never stored: a row says ``running`` then, and the freezer or the supervisor's
pid file says the rest.
"""

from __future__ import annotations

from minidock.errors import Conflict

CREATED, RUNNING, PAUSED, RESTARTING = "created", "running", "paused", "restarting"
REMOVING, EXITED, DEAD = "removing", "exited", "dead"

ALIVE = frozenset((RUNNING, PAUSED, RESTARTING))
"""It has a supervisor; Docker calls all of them running."""
OVER = frozenset((CREATED, EXITED, DEAD, REMOVING))
"""Nothing of it runs."""

_LEGAL: dict[str, frozenset[str]] = {
    "start": frozenset((CREATED, EXITED)),
    "kill": frozenset((RUNNING, PAUSED, RESTARTING)),
    "pause": frozenset((RUNNING,)),
    "unpause": frozenset((PAUSED,)),
    "remove": OVER,
    "attach": frozenset((RUNNING,)),
    "exec": frozenset((RUNNING,)),
    "resize": frozenset((RUNNING, PAUSED)),
    "top": frozenset((RUNNING, PAUSED)),
    "rename": frozenset((CREATED, RUNNING, PAUSED, RESTARTING, EXITED)),
    "update": frozenset((CREATED, RUNNING, PAUSED, RESTARTING, EXITED)),
}

_STOP_FIRST = "stop the container before removing or force remove"
_NOT_RUNNING = {
    "kill": "cannot kill container: {id}: container {id} is not running",
    "unpause": "container {id} is not paused",
}
_REASONS: dict[tuple[str, str], str] = {
    ("start", RUNNING): "container {id} is already running",
    ("start", RESTARTING): "container {id} is already running",
    ("start", PAUSED): "cannot start a paused container, try unpause instead",
    ("start", REMOVING): "container is marked for removal and cannot be started",
    ("start", DEAD): "container is marked for removal and cannot be started",
    ("pause", PAUSED): "container {id} is already paused",
    ("pause", RESTARTING): "container {id} is restarting, wait until the container is running",
    ("attach", PAUSED): "container {id} is paused, unpause the container before attach",
    ("attach", RESTARTING): "container {id} is restarting, wait until the container is running",
    ("exec", PAUSED): "container {id} is paused, unpause the container before exec",
    ("exec", RESTARTING): "container {id} is restarting, wait until the container is running",
    ("top", RESTARTING): "container {id} is restarting, wait until the container is running",
    ("rename", REMOVING): "container {id} is marked for removal and cannot be renamed",
    ("rename", DEAD): "container {id} is marked for removal and cannot be renamed",
    ("update", REMOVING): 'container is marked for removal and cannot be "update"',
    ("update", DEAD): 'container is marked for removal and cannot be "update"',
    ("remove", PAUSED): 'cannot remove container "{id}": container is paused and must be unpaused first',
    ("remove", RESTARTING): f'cannot remove container "{{id}}": container is restarting: {_STOP_FIRST}',
    ("remove", RUNNING): f'cannot remove container "{{id}}": container is running: {_STOP_FIRST}',
}


def require(operation: str, state: str, container_id: str) -> None:
    """Raise Conflict unless ``operation`` (start, kill, pause, …) is legal in ``state``."""
    if state not in _LEGAL[operation]:
        plain = _NOT_RUNNING.get(operation, "container {id} is not running")
        raise Conflict(_REASONS.get((operation, state), plain).format(id=container_id))
