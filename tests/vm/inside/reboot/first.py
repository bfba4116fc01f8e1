"""The first boot: minidock is installed, and containers with each restart policy run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import wait_for
from tests.rootfs import busybox_tar
from tests.vm.inside.reboot.shared import install, minidock, names, status

SERVE = "trap 'echo bye >>/data/said; exit 0' TERM; echo hello >>/data/said; while :; do sleep 0.1; done"


def test_units() -> None:
    install()
    minidock("import", str(busybox_tar()), "busybox")
    minidock("system", "install", "--now")
    for unit in ("minidock.service", "minidock-api.socket"):
        assert subprocess.run(["systemctl", "is-enabled", "--quiet", unit], check=False).returncode == 0
    # Started by hand this once: at the next boot systemd does.
    subprocess.run(["systemctl", "start", "minidock.service"], check=True)


def test_containers() -> None:
    for name, policy in (
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("plain", "no"),
        ("failing", "on-failure:9"),
    ):
        options = ["-d", "--name", name, "--restart", policy, "-v", f"{name}:/data", "-p", "80"]
        minidock("run", *options, "busybox", "sh", "-c", SERVE)
    minidock("run", "-d", "--rm", "--name", "leaving", "busybox", "sleep", "100000")
    minidock("run", "-d", "--name", "stopped", "--restart", "unless-stopped", "busybox", "sleep", "100000")
    minidock("run", "-d", "--name", "never-stopped", "--restart", "always", "busybox", "sleep", "100000")
    minidock("create", "--name", "made", "--restart", "always", "busybox", "true")
    minidock("kill", "stopped", "never-stopped")
    for name in ("always", "unless", "plain", "failing"):
        said = Path(f"/var/lib/minidock/volumes/{name}/_data/said")
        wait_for(lambda said=said: said.exists() and said.read_text() == "hello\n", 30)
    assert status("always") == "running 0"
    assert "leaving" in names()
