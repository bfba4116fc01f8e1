"""The first boot: minidock is installed, and containers with each restart policy run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import wait_for
from tests.rootfs import busybox_tar
from tests.vm.inside.reboot.shared import install, minidock, names, status

SERVE = "trap 'echo bye >>/data/said; exit 0' TERM; echo hello >>/data/said; while :; do sleep 0.1; done"
# systemd sends SIGTERM to all that is in a scope that it stops; USR1 is from `system stop` alone.
IN_A_SLICE = "trap 'echo torn >>/data/said; exit 1' TERM; " + SERVE.replace("echo bye", "sleep 3; echo bye").replace(
    " TERM;", " USR1;"
)


def test_units() -> None:
    install()
    minidock("import", str(busybox_tar()), "busybox")
    minidock("system", "install", "--now")
    for unit in ("minidock.service", "minidock-api.socket"):
        for what in ("is-enabled", "is-active"):
            assert subprocess.run(["systemctl", what, "--quiet", unit], check=False).returncode == 0, (unit, what)


def test_containers() -> None:
    for name, policy in (
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("plain", "no"),
        ("failing", "on-failure:9"),
    ):
        options = ["-d", "--name", name, "--restart", policy, "-v", f"{name}:/data", "-p", "80"]
        minidock("run", *options, "busybox", "sh", "-c", SERVE)
    options = ["--cgroup-parent", "mdapp.slice", "--stop-signal", "USR1", "-v", "sliced:/data"]
    minidock("run", "-d", "--name", "sliced", "--restart", "always", *options, "busybox", "sh", "-c", IN_A_SLICE)
    minidock("run", "-d", "--rm", "--name", "leaving", "busybox", "sleep", "100000")
    minidock("run", "-d", "--name", "stopped", "--restart", "unless-stopped", "busybox", "sleep", "100000")
    minidock("run", "-d", "--name", "never-stopped", "--restart", "always", "busybox", "sleep", "100000")
    minidock("create", "--name", "made", "--restart", "always", "busybox", "true")
    minidock("kill", "stopped", "never-stopped")
    for name in ("always", "unless", "plain", "failing", "sliced"):
        said = Path(f"/var/lib/minidock/volumes/{name}/_data/said")
        wait_for(lambda said=said: said.exists() and said.read_text() == "hello\n", 30)
    assert status("always") == "running 0"
    assert "leaving" in names()
