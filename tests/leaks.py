"""What a test may not leave behind: mounts, cgroups, processes, interfaces, open files.

Only what carries the test's own root or cgroup parent is its fault, so that suites may run beside each other; with
``MINIDOCK_TEST_ALONE=1`` (CI) every new mount, interface and ``minidock-runtime`` process of the machine counts: at the
end of each test where one process runs them all, else at the end of all tests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_COMPILERS = ("/cargo", "/rustc", "/clippy-driver")
SLOWNESS = float(os.environ.get("MINIDOCK_TEST_SLOWNESS", "1"))
"""How many times as long as usual things may take: emulated machines are slow."""
ALONE = os.environ.get("MINIDOCK_TEST_ALONE") == "1" and "PYTEST_XDIST_WORKER" not in os.environ


def _mounts() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {" ".join(line.split()[2:]) for line in lines}


def _interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def _fds() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{fd}:{os.readlink(f'/proc/self/fd/{fd}')}")
    return found


def _processes() -> dict[int, str]:
    """Command lines by process; those of the kernel's threads are empty, and not here."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            # `just test` compiles at the same time.
            if os.readlink(f"/proc/{pid}/exe").endswith(_COMPILERS):
                continue
            found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def children() -> set[int]:
    """The children of this process, those that have ended and were not waited for among them."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.add(int(pid))
    return found


def _cgroups(parent: str) -> list[Path]:
    """Cgroups below ``parent`` in every hierarchy; the parent itself is the engine's to keep."""
    found: list[Path] = []
    for top in [CGROUPS, *(p for p in CGROUPS.iterdir() if p.is_dir())]:
        base = top / parent.lstrip("/")
        if base.is_dir():
            found += [Path(folder) for folder, _, _ in os.walk(base) if Path(folder) != base]
    return found


@dataclass(frozen=True)
class Snapshot:
    """What the machine holds at one moment."""

    mounts: set[str]
    interfaces: set[str]
    processes: dict[int, str]
    fds: set[str]

    @classmethod
    def take(cls) -> Snapshot:
        """The state now."""
        return cls(_mounts(), _interfaces(), _processes(), _fds())

    @classmethod
    def leaks_of(cls, base: Path, cgroup_parent: str, before: Snapshot, patience: float = 20.0) -> list[str]:
        """What is there now, was not before and belongs to ``base``; the kernel gets ``patience`` seconds."""
        end = time.monotonic() + patience * SLOWNESS
        while True:
            found = cls._compare(base, cgroup_parent, before)
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.02)

    @classmethod
    def _compare(cls, base: Path, cgroup_parent: str, before: Snapshot) -> list[str]:
        now = cls.take()
        mark = str(base)
        found = [f"mount {m}" for m in now.mounts - before.mounts if ALONE or mark in m]
        found += [f"cgroup {c}" for c in _cgroups(cgroup_parent)]
        for pid, cmdline in now.processes.items():
            new = pid not in before.processes
            ours = mark in cmdline or (ALONE and new and "minidock-runtime" in cmdline)
            if ours and pid != os.getpid():
                found.append(f"process {pid} {cmdline[:120]}")
        if ALONE:
            found += [f"interface {i}" for i in now.interfaces - before.interfaces]
        found += [f"fd {f}" for f in now.fds - before.fds if mark in f]
        return found

    @staticmethod
    def purge(base: Path, cgroup_parent: str) -> None:
        """Kill and remove what a failing test left."""
        for pid, cmdline in _processes().items():
            if str(base) in cmdline and pid != os.getpid():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        for group in _cgroups(cgroup_parent):
            with contextlib.suppress(OSError):
                for pid_text in (group / "cgroup.procs").read_text().split():
                    os.kill(int(pid_text), signal.SIGKILL)
        for _ in range(50):
            groups = _cgroups(cgroup_parent)
            for group in sorted(groups, key=lambda p: -len(p.parts)):
                with contextlib.suppress(OSError):
                    group.rmdir()
            if not groups:
                break
            time.sleep(0.02)
        for top in [CGROUPS, *(p for p in CGROUPS.iterdir() if p.is_dir())]:
            with contextlib.suppress(OSError):
                (top / cgroup_parent.lstrip("/")).rmdir()
