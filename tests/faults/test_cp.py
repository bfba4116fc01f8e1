"""kill -9 of who copies or commits, at any moment: the container is as usable as before, and nothing stays."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import minidock
from minidock.errors import MinidockError
from tests.conftest import Cli, Roots, wait_for
from tests.faults.state import assert_clean

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
MOMENTS = 300 if SOAK else 10


def _quiet(cli: Cli, *args: str) -> subprocess.Popen[bytes]:
    null = subprocess.DEVNULL
    return cli.popen(*args, stdin=null, stdout=null, stderr=null)


def _tree(path: Path) -> Path:
    for number in range(40):
        (path / f"d{number}").mkdir(parents=True)
        for name in range(20):
            (path / f"d{number}/f{name}").write_bytes(os.urandom(5000))
    return path


def test_copies_killed_at_any_moment(cli_busybox: Cli, roots: Roots, tmp_path: Path) -> None:
    rng = random.Random(3)
    source = _tree(tmp_path / "source")
    cli_busybox.ok("create", "--name", "idle", "--network", "none", "busybox", "ls", "/")
    cli_busybox.ok("create", "--name", "removed", "--rm", "--network", "none", "busybox", "ls", "/")
    cli_busybox.ok("run", "-d", "--name", "busy", "--network", "none", "busybox", "sleep", "1000")
    for number in range(MOMENTS):
        name = rng.choice(["idle", "busy", "removed"])
        if rng.random() < 0.5:
            process = _quiet(cli_busybox, "cp", str(source), f"{name}:/in{number}")
        else:
            process = _quiet(cli_busybox, "cp", f"{name}:/", str(tmp_path / f"out{number}"))
        time.sleep(rng.uniform(0.05, 0.4))
        process.kill()
        process.wait()
    assert str(roots.data) not in Path("/proc/self/mountinfo").read_text()
    for name in ("idle", "busy", "removed"):
        cli_busybox.ok("cp", str(source), f"{name}:/whole")
        assert len(cli_busybox.ok("diff", name).splitlines()) >= 841
    for name in ("idle", "removed"):
        assert "whole" in cli_busybox.ok("start", "-a", name).split()
    cli_busybox.ok("rm", "-f", "idle", "busy")
    assert_clean(cli_busybox, roots)


def test_commits_killed_at_any_moment(cli_busybox: Cli, roots: Roots) -> None:
    """A frozen container whose committer has died runs on, without anybody's doing."""
    rng = random.Random(4)
    script = "dd if=/dev/urandom of=/big bs=1M count=30; while :; do date +%s%N >/tmp/now; sleep 0.01; done"
    cli_busybox.ok("run", "-d", "--name", "cc", "--network", "none", "busybox", "sh", "-c", script)
    now = Path(_upper(roots, "cc")) / "tmp/now"
    wait_for(now.exists, what="the script")
    begin = time.monotonic()
    cli_busybox.ok("commit", "cc", "first")
    whole = time.monotonic() - begin
    frozen = 0
    for number in range(4 * MOMENTS):
        if frozen and number >= MOMENTS:
            break
        process = _quiet(cli_busybox, "commit", "cc")
        time.sleep(rng.uniform(0.1, 1.0) * whole)
        before = now.read_text()
        time.sleep(0.05)
        frozen += before == now.read_text()
        process.kill()
        process.wait()
        at = now.read_text()
        wait_for(lambda at=at: now.read_text() not in (at, ""), what="the container to run on")
    assert frozen, "no commit was met in the middle"
    cli_busybox.ok("commit", "cc", "whole")
    assert cli_busybox.ok("ps", "--format", "{{.Status}}").startswith("Up")
    assert "Paused" not in cli_busybox.ok("ps")
    cli_busybox.ok("rm", "-f", "cc")
    assert_clean(cli_busybox, roots)


def _upper(roots: Roots, name: str) -> str:
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        upper: str = engine.containers.get(name).record.snapshot["upper"]
    return upper


def test_a_commit_does_not_undo_a_pause(engine: minidock.Engine, busybox: str) -> None:
    """Who is paused before, or meanwhile, stays so; who ends meanwhile does not hang."""
    script = "dd if=/dev/urandom of=/big bs=1M count=60 2>/dev/null; touch /ready; exec sleep 1000"
    container = engine.containers.create(busybox, ["sh", "-c", script])
    container.start()
    ready = Path(container.record.snapshot["upper"]) / "ready"
    wait_for(ready.exists, what="the script")
    container.pause()
    container.commit("one")
    container.reload()
    assert container.status == "paused"
    container.unpause()
    committing = threading.Thread(target=lambda: container.commit("two"))
    committing.start()
    time.sleep(0.2)
    other = engine.containers.get(container.id)
    other.pause()
    committing.join(timeout=60)
    other.reload()
    assert other.status == "paused"
    other.unpause()
    committing = threading.Thread(target=lambda: container.commit("three"))
    committing.start()
    time.sleep(0.2)
    other.kill()
    assert other.wait(timeout=30) == 128 + signal.SIGKILL
    committing.join(timeout=60)
    assert {tag for image in engine.images.list() for tag in image.tags} >= {"one:latest", "two:latest", "three:latest"}


def test_full_disk(roots: Roots, tmp_path: Path) -> None:
    """A copy into a container on a full disk fails in one line, and the container goes on."""
    from tests.rootfs import busybox_tar

    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "small", small], check=True)
    try:
        with minidock.Engine(
            data_root=str(small / "data"), run_root=str(roots.run), config=str(roots.config)
        ) as engine:
            engine.images.import_(str(busybox_tar()), repository="busybox")
            (tmp_path / "big").write_bytes(bytes(64 << 20))
            container = engine.containers.create("busybox", ["true"])
            for _ in range(3):
                with pytest.raises(MinidockError, match=r"no space") as refused:
                    container.copy_to(tmp_path / "big", "/big")
                assert "\n" not in str(refused.value)
            container.remove()
    finally:
        subprocess.run(["umount", small], check=True)
