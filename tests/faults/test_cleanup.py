"""Supervisors that die while they clean up, or cannot write: the next call finds what is left, and only that."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import minidock
from tests.conftest import Cli, Roots, wait_for
from tests.faults.state import assert_clean, cgroups, supervisors
from tests.leaks import CGROUPS

ID = "ab" * 32
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _leftover(roots: Roots, **changes: object) -> Path:
    """What a supervisor leaves that is killed between the removal of the row and that of the cgroups."""
    for top in [CGROUPS, *(p for p in CGROUPS.iterdir() if p.is_dir())]:
        if (top / "cgroup.procs").exists() and not top.is_symlink():
            (top / roots.cgroup_parent.lstrip("/") / ID).mkdir(parents=True, exist_ok=True)
    folder = roots.run / "containers" / ID
    folder.mkdir(mode=0o700)
    dead = {"supervisor": 1, "supervisor_start": 1, "boot_id": BOOT, "pid": 2, "start_time": 1}
    file = {**dead, "cgroup": f"{roots.cgroup_parent}/{ID}", **changes}
    (folder / "pid").write_text(json.dumps(file))
    return folder


def test_leftovers_without_a_row_are_removed(cli: Cli, roots: Roots) -> None:
    cli.ok("ps")
    folder = _leftover(roots)
    assert cgroups(roots)
    cli.ok("ps")
    assert not folder.exists()
    assert not cgroups(roots)


def test_processes_of_leftovers_are_killed(cli: Cli, roots: Roots) -> None:
    cli.ok("ps")
    _leftover(roots)
    with subprocess.Popen(["sleep", "60"]) as process:
        for group in cgroups(roots):
            if not Path(group, "cpuset.cpus").exists():
                Path(group, "cgroup.procs").write_text(str(process.pid))
        cli.ok("ps")
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert_clean(cli, roots)


def test_leftovers_of_another_boot_or_torn(cli: Cli, roots: Roots) -> None:
    cli.ok("ps")
    folder = roots.run / "containers" / ID
    for content in (None, "{", json.dumps({"supervisor": os.getpid(), "supervisor_start": 1, "boot_id": "x"})):
        folder.mkdir(mode=0o700)
        if content is not None:
            (folder / ("pid.new" if content == "{" else "pid")).write_text(content)
        cli.ok("ps")
        assert not folder.exists(), content


def test_a_group_that_is_not_the_container_s_is_never_touched(cli: Cli, roots: Roots) -> None:
    cli.ok("ps")
    _leftover(roots, cgroup=roots.cgroup_parent)
    with subprocess.Popen(["sleep", "60"]) as process:
        Path(next(g for g in cgroups(roots) if "/pids/" in g or "/unified/" in g), "cgroup.procs").write_text(
            str(process.pid)
        )
        cli.ok("ps")
        assert process.poll() is None
        process.kill()
    for group in cgroups(roots):
        wait_for(lambda group=group: not Path(group, "cgroup.procs").read_text())  # type: ignore[misc]
        os.rmdir(group)


def test_a_supervisor_that_still_cleans_up_is_left_alone(cli: Cli, roots: Roots) -> None:
    cli.ok("ps")
    stat = Path("/proc/self/stat").read_text()
    start = int(stat[stat.rindex(")") + 2 :].split()[19])
    folder = _leftover(roots, supervisor=os.getpid(), supervisor_start=start)
    cli.ok("ps")
    assert folder.exists()
    assert cgroups(roots)
    (folder / "pid").write_text(
        (folder / "pid").read_text().replace(f'"supervisor_start": {start}', '"supervisor_start": 1')
    )
    assert_clean(cli, roots)


def test_killed_right_after_the_exit_record(cli_busybox: Cli, roots: Roots) -> None:
    """However far the clean-up has come, an exited container keeps its exit code, and starts again."""
    cli_busybox.ok("create", "--name", "five", "busybox", "sh", "-c", "exit 5")
    for _ in range(10):
        process = cli_busybox.popen("start", "-a", "five", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        record = next((roots.data / "containers").iterdir()) / "exit.json"
        while process.poll() is None and not (supervisors(roots) and record.exists()):
            pass
        for pid in supervisors(roots):
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=60)
        assert cli_busybox.ok("inspect", "-f", "{{.State.ExitCode}}", "five") == "5\n"
    cli_busybox.ok("rm", "five")
    assert_clean(cli_busybox, roots)


def test_started_again_at_once(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    """The next run waits for the clean-up of the last: both use the same cgroups and run directory."""
    made = engine.containers.create(busybox, ["sh", "-c", "exit 3"])
    stop = threading.Event()

    def watch() -> None:
        with minidock.Engine(data_root=roots.data, run_root=roots.run, config=roots.config) as other:
            while not stop.is_set():
                other.containers.list(all=True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(40):
            status = made.start_attached(stdin=None, stdout=None, stderr=None)
            assert status.exit_code == 3
    finally:
        stop.set()
        watcher.join()
    made.remove()
    assert_clean(cli, roots)


def test_a_container_that_fills_the_disk_keeps_its_exit_code_and_can_be_removed(cli: Cli, roots: Roots) -> None:
    roots.data.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m,mode=700", "tmpfs", str(roots.data)], check=True)
    try:
        from tests.rootfs import busybox_tar

        cli.ok("import", str(busybox_tar()), "one")
        filler = "dd if=/dev/zero of=/x bs=64k 2>/dev/null; while echo >> /y; do :; done 2>/dev/null; exit 7"
        done = cli("run", "--name", "full", "--network", "none", "one", "sh", "-c", filler)
        assert done.returncode == 7
        (state,) = json.loads(cli.ok("inspect", "full"))
        assert state["State"]["ExitCode"] == 7
        cli.ok("ps", "-a")
        cli.ok("rm", "full")
        assert cli.ok("run", "--rm", "--network", "none", "one", "echo", "still here") == "still here\n"
        assert_clean(cli, roots)
    finally:
        time.sleep(0.1)
        subprocess.run(["umount", "-l", str(roots.data)], check=True)


@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_no_thread_to_be_had(cli: Cli, roots: Roots, when: int) -> None:
    """An import whose threads cannot be started says so in one line."""
    from tests.rootfs import busybox_tar

    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=clone3:error=EAGAIN:when={when}+"]
    done = subprocess.run(
        [*command, *cli.argv, "import", str(busybox_tar()), "x"],
        env=cli.env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    text = done.stderr.decode()
    assert "Traceback" not in text
    assert "panicked" not in text
    if done.returncode:
        assert len(text.strip().splitlines()) == 1
        assert "start thread" in text
    else:
        assert when > 2
    assert_clean(cli, roots)
