"""What the tests of the lifecycle's verbs share: containers of known behaviour, and waiting for what they do."""

from __future__ import annotations

import os
from typing import Any

import minidock
from tests.conftest import Cli, wait_for

SLEEP = ["sleep", "1000"]
TRAP = [
    "sh",
    "-c",
    'trap "exit 7" TERM; trap "exit 8" USR1; trap "" INT; touch /ready; while :; do sleep 0.02; done',
]
"""Ends with 7 for SIGTERM and with 8 for SIGUSR1, ignores SIGINT; :func:`ready` tells when its traps are set."""


def started(
    engine: minidock.Engine, command: list[str] | None = None, name: str | None = None, **options: Any
) -> minidock.Container:
    """A busybox container that was just started in the background."""
    container = engine.containers.create("busybox", command or SLEEP, name=name, **options)  # type: ignore[misc]
    container.start()
    return container


def trapping(engine: minidock.Engine, **options: Any) -> minidock.Container:
    """A container that runs :data:`TRAP`, with its traps set."""
    container = started(engine, TRAP, **options)
    ready(container)
    return container


def ready(container: minidock.Container) -> None:
    """Wait until the traps of a container are set."""
    wait_for(lambda: os.path.exists(f"/proc/{container.state.pid}/root/ready"), what="traps")


def state(container: minidock.Container) -> dict[str, Any]:
    """Its state as inspect shows it now."""
    container.reload()
    found: dict[str, Any] = container.attrs["State"]
    return found


def reaches(container: minidock.Container, status: str, restarts: int = 0) -> None:
    """Wait until it has this status, after at least that many restarts."""

    def there() -> bool:
        container.reload()
        return container.status == status and container.attrs["RestartCount"] >= restarts

    wait_for(there, 30, what=status)


def refused(cli: Cli, *argv: str, code: int = 1) -> str:
    """Run a command that must fail with this code and one line; return the line without ``minidock:``."""
    done = cli(*argv)
    text = done.stderr.decode()
    assert done.returncode == code, (argv, done)
    assert text.startswith("minidock: "), text
    assert text.count("\n") == 1, text
    assert "internal error" not in text
    return text.removeprefix("minidock: ").rstrip("\n")
