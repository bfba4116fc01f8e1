"""What a fault may leave: nothing, once the next command has run."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from tests.conftest import Cli, Roots
from tests.leaks import CGROUPS


def supervisors(roots: Roots) -> list[int]:
    """The processes whose command line names the roots' directory."""
    mark = str(roots.data.parent).encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if mark in line and b"supervise" in line:
                found.append(int(pid))
    return found


def cgroups(roots: Roots) -> list[str]:
    """The containers' cgroups that exist, in any hierarchy."""
    found = []
    for top in [CGROUPS, *(p for p in CGROUPS.iterdir() if p.is_dir())]:
        base = top / roots.cgroup_parent.lstrip("/")
        if base.is_dir():
            found += [str(p) for p in base.iterdir() if p.is_dir()]
    return found


def containers(cli: Cli) -> list[dict[str, str]]:
    """`ps -a`, which also repairs."""
    return [json.loads(line) for line in cli.ok("ps", "-a", "--format", "json").splitlines()]


def assert_clean(cli: Cli, roots: Roots, *, rows: int = 0, patience: float = 60.0) -> None:
    """The next command finds ``rows`` containers, none running, and no trace of any other."""
    end = time.monotonic() + patience
    while True:
        listed = containers(cli)
        kept = {line["ID"] for line in listed}
        problems = []
        if len(listed) != rows:
            problems.append(f"ps -a lists {listed}")
        problems += [f"process {pid}" for pid in supervisors(roots)]
        problems += [f"cgroup {path}" for path in cgroups(roots)]
        for folder in (roots.data / "containers", roots.run / "containers"):
            if folder.is_dir():
                problems += [f"{p}" for p in folder.iterdir() if p.name[:12] not in kept]
        for folder_name, _, files in os.walk(roots.data / "tmp"):
            problems += [f"{folder_name}/{name}" for name in files if not name.endswith(".lock")]
        if not problems:
            return
        if time.monotonic() > end:
            raise AssertionError("; ".join(problems))
        time.sleep(0.05)
