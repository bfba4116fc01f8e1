"""What the fault tests of the lifecycle share: supervisors by container, and what the kernel says of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minidock
from minidock import _native
from minidock.containers.runtime_spec import cgroups_path
from tests.conftest import wait_for

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
SLEEP = ["sleep", "1000"]


def pid_file(container: minidock.Container, engine: minidock.Engine) -> dict[str, Any]:
    """What the supervisor of a container has written down."""
    found: dict[str, Any] = json.loads(Path(engine.run_root, "containers", container.id, "pid").read_text())
    return found


def supervisor(container: minidock.Container, engine: minidock.Engine) -> int:
    """The pid of a container's supervisor."""
    pid: int = pid_file(container, engine)["supervisor"]
    return pid


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat[stat.rindex(")") + 2] in "ZX"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stopped by SIGSTOP for a ``with`` block."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: _status(pid) == "T", what="the process to stop")
    try:
        yield
    finally:
        if not gone(pid):
            os.kill(pid, signal.SIGCONT)


def _status(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2]


def open_files(pid: int) -> int:
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int) -> int:
    """Its resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """The children of its main thread, zombies too."""
    return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def actions(engine: minidock.Engine, container_id: str) -> list[tuple[str, dict[str, str]]]:
    """The events of a container so far, in order: action and attributes."""
    found = []
    for name in ("previous", "current"):
        file = Path(engine.data_root, "events", name)
        if file.exists():
            for line in file.read_text().splitlines():
                event = json.loads(line)
                if event["Actor"]["ID"] == container_id:
                    found.append((event["Action"], event["Actor"]["Attributes"]))
    return found


def processes(container: minidock.Container) -> list[int]:
    """The pids of all processes of a container, by its cgroup."""
    return _native.cgroup_processes(cgroups_path(container.record))
