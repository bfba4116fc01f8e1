"""dockerode, Node's client, unmodified, against `minidock serve`: ``suites/dockerode.mjs`` is the flow."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import minidock
from tests.compat.suites.sources import publish
from tests.conftest import Roots
from tests.rootfs import CACHE
from tests.serving import served

VERSION = "5.0.1"


def modules() -> Path:
    """A directory with dockerode in its ``node_modules``, installed at the first time."""
    target = CACHE / f"dockerode-{VERSION}"
    if not target.exists():
        made = CACHE / f"{target.name}.{os.getpid()}"
        made.mkdir(parents=True)
        (made / "package.json").write_text("{}")
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", f"dockerode@{VERSION}"]
        subprocess.run(command, cwd=made, check=True, capture_output=True, timeout=120)
        publish(made, target)
    return target


def test_a_flow(net_roots: Roots, net_busybox: minidock.Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo built > /file\n")
    script = Path(__file__).parent / "suites" / "dockerode.mjs"
    with served(net_roots) as server:
        done = subprocess.run(
            ["node", script, modules(), tmp_path],
            env={**os.environ, "DOCKER_HOST": server.url},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert net_busybox.containers.list(all=True) == []
