"""What three boots of one machine share: minidock as it is installed, on its usual roots."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

ROOT = Path("/var/lib/minidock")
PLACE = Path(site.getsitepackages()[0])


def install() -> None:
    """Copy the package and what it needs to where the system's Python looks: the job's disk is not there at boot."""
    PLACE.mkdir(parents=True, exist_ok=True)
    shutil.copytree("/job/project/python/minidock", PLACE / "minidock", symlinks=True)
    for pattern in (
        "msgspec*",
        "click*",
        "h11*",
        "rich*",
        "urllib3*",
        "wsproto*",
        "markdown_it*",
        "mdurl*",
        "pygments*",
    ):
        for path in Path("/job/site").glob(pattern):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, PLACE / path.name)


def minidock(*words: str) -> str:
    """Run the command as a user would; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "minidock", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/root"},
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


def status(name: str) -> str:
    """A container's state."""
    return minidock("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name)


def names() -> set[str]:
    """All containers."""
    return set(minidock("ps", "--all", "--format", "{{.Names}}").split())
