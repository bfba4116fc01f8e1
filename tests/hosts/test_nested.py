"""Engines in containers of minidock's: itself, and systemd, as `kind` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import minidock
from minidock.containers.options import CreateOptions
from tests.conftest import wait_for
from tests.rootfs import busybox_tar

INNER = """
set -e
engine() { "$PYTHON" -m minidock --data-root /inner/data --run-root /run/inner "$@"; }
engine import "$TAR" busybox >/dev/null
engine run --rm --network none busybox echo the inner one
engine run -d --name one --memory 32m --pids-limit 20 --network none busybox sleep 1000 >/dev/null
engine exec one echo another
hungry='dd if=/dev/zero of=/dev/null bs=200M count=1'
engine run --rm --network none --memory 16m busybox sh -c "$hungry" || echo "killed $?"
engine rm -f one >/dev/null
engine ps -aq
"""


def options(**more: object) -> CreateOptions:
    """This host's files, copy-on-write; the inner engine's data is no overlay, on which none can be mounted."""
    path = ":".join(entry for entry in sys.path if entry and Path(entry).is_dir())
    found: CreateOptions = {
        "rootfs": "/",
        "privileged": True,
        "network": "none",
        "volumes": ["inner:/inner"],
        "environment": {"PYTHON": sys.executable, "PYTHONPATH": path, "TAR": str(busybox_tar()), "HOME": "/root"},
    }
    found.update(more)  # type: ignore[typeddict-item]
    return found


def test_minidock_in_minidock(engine: minidock.Engine) -> None:
    """With limits, which the inner containers have within those of the outer one."""
    result = engine.containers.run(None, ["sh", "-c", INNER], remove=True, **options())
    assert result.exit_code == 0, result
    assert result.stdout.decode().split("\n") == ["the inner one", "another", "killed 137", ""], result


def test_it_ends_with_the_outer_one(engine: minidock.Engine) -> None:
    script = INNER.split("engine exec", maxsplit=1)[0] + "echo ready; exec sleep 1000"
    container = engine.containers.run(None, ["sh", "-c", script], detach=True, **options(stop_signal="KILL"))
    wait_for(lambda: b"ready" in container.logs(), 60)
    pids = [int(row[1]) for row in container.top().processes]
    assert len(pids) >= 3
    container.remove(force=True)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 20)


@pytest.mark.parametrize("cgroupns", ["private", "host"])
def test_in_either_cgroup_namespace(engine: minidock.Engine, cgroupns: str) -> None:
    result = engine.containers.run(None, ["sh", "-c", INNER], remove=True, **options(cgroupns=cgroupns))
    assert result.exit_code == 0, result


@pytest.mark.skipif(not Path("/lib/systemd/systemd").exists(), reason="this host has no systemd to run")
def test_systemd_as_in_kind(engine: minidock.Engine) -> None:
    """This host's own systemd, as the node image of `kind` runs its: privileged, with tmpfs on /run and /tmp."""
    container = engine.containers.run(
        None,
        ["/lib/systemd/systemd", "--unit=basic.target"],
        detach=True,
        stop_signal="SIGRTMIN+3",
        **options(tmpfs=["/run", "/tmp"], cgroupns="private", environment={"container": "docker"}),
    )

    def active(unit: str) -> bool:
        return container.exec(["systemctl", "is-active", unit]).stdout == b"active\n"

    wait_for(lambda: active("basic.target"), 120)
    # Its services are groups below the container's own.
    assert active("systemd-journald.service")
    tree = container.exec(["cat", "/proc/1/cgroup"]).stdout
    assert tree.endswith(b"/init.scope\n"), tree
    container.stop(timeout=100)
    container.reload()
    assert container.status == "exited"
    container.remove()
