"""kill -9 of client and supervisor of an exec at every moment, pauses and ends of the container in between."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots, wait_for
from tests.faults.state import assert_clean, cgroups, supervisors

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
MOMENTS = 400 if SOAK else 25
STEPS = (1, 2, 3, 5, 8, 13, 21, 34) if SOAK else (1, 2, 5)


@pytest.fixture
def box(cli_busybox: Cli, roots: Roots) -> Iterator[Cli]:
    """The command, with a running container ``box``; afterwards nothing may be left of it."""
    cli_busybox.ok("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    yield cli_busybox
    cli_busybox.ok("rm", "-f", "box")
    assert_clean(cli_busybox, roots)


def execs(roots: Roots) -> list[int]:
    """Supervisors of execs."""
    found = []
    for pid in supervisors(roots):
        with contextlib.suppress(OSError):
            if b"supervise-exec" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def groups(roots: Roots) -> list[Path]:
    """Cgroups of execs."""
    return [p for base in cgroups(roots) for p in Path(base).glob("exec-*")]


def inside(roots: Roots) -> list[str]:
    """What runs in the test's cgroups, but for the container's own command."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if roots.cgroup_parent in (path / "cgroup").read_text():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
    return [line for line in found if line not in ("", "sleep 1000")]


def still_works(box: Cli, roots: Roots) -> None:
    """An exec works, and has cleaned up what others left."""
    assert box.ok("exec", "box", "echo", "works") == "works\n"
    wait_for(lambda: not execs(roots) and not inside(roots), what="the end of all execs")
    box.ok("exec", "box", "true")
    wait_for(lambda: not groups(roots), what="the removal of all groups")


def test_client_killed_at_any_moment(box: Cli, roots: Roots) -> None:
    rng = random.Random(1)
    null = subprocess.DEVNULL
    for _ in range(MOMENTS):
        process = box.popen("exec", "box", "sh", "-c", "sleep 601 & sleep 602", stdin=null, stdout=null, stderr=null)
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        process.wait()
    still_works(box, roots)


def test_supervisor_killed_at_any_moment(box: Cli, roots: Roots) -> None:
    rng = random.Random(2)
    for _ in range(MOMENTS):
        process = box.popen("exec", "box", "sh", "-c", "sleep 601 & sleep 602", stderr=subprocess.PIPE)
        wait_for(lambda p=process: execs(roots) or p.poll() is not None, 30)
        time.sleep(rng.choice([0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05]))
        end = time.monotonic() + 30
        # The first process of the helper only forks the supervisor: what is found may end by itself meanwhile.
        while process.poll() is None and time.monotonic() < end:
            for pid in execs(roots):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert process.returncode == 1
        assert process.stderr is not None
        said = process.stderr.read()
        assert said.startswith(b"minidock: ")
        assert said.count(b"\n") == 1
        # The command itself died with its supervisor; what it had started goes at the next exec.
        wait_for(lambda: "sleep 602" not in inside(roots))
    still_works(box, roots)


def test_a_killed_supervisor_of_a_detached_one(box: Cli, roots: Roots, engine: minidock.Engine) -> None:
    started = engine.containers.get("box").exec(["sh", "-c", "sleep 603 & exec sleep 604"], detach=True)
    wait_for(lambda: sorted(inside(roots)) == ["sleep 603", "sleep 604"])
    for pid in execs(roots):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: inside(roots) == ["sleep 603"])
    assert (started.inspect().running, started.inspect().exit_code) == (False, 137)
    assert started.wait(60) == 137
    still_works(box, roots)
    with pytest.raises(errors.NotFound):
        started.inspect()


def _strace(cli: Cli, inject: str, *args: str) -> subprocess.Popen[bytes]:
    strace = shutil.which("strace")
    assert strace, "strace is missing: apt-get install strace (just setup does it)"
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"inject={inject}", *cli.argv, "exec", *args]
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    return subprocess.Popen(command, env=cli.env, stdin=null, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize(
    "call", ["clone3", "setns", "prctl", "mkdir,mkdirat", "setsid", "capset", "seccomp", "rename", "unlink,unlinkat"]
)
@pytest.mark.timeout(600)
def test_process_killed_at_a_system_call(box: Cli, roots: Roots, call: str) -> None:
    for when in STEPS:
        with _strace(box, f"{call}:signal=SIGKILL:when={when}", "box", "sh", "-c", "sleep 0.2 & exec true") as process:
            process.communicate(timeout=60)
    still_works(box, roots)


@pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM", "EMFILE"])
@pytest.mark.parametrize("call", ["clone3", "setns", "pipe2", "mkdir,mkdirat", "openat2", "pidfd_open"])
@pytest.mark.timeout(600)
def test_error_of_a_system_call(box: Cli, roots: Roots, call: str, error: str) -> None:
    """One failing call gives one line (or the exec does without it), and leaves nothing."""
    for when in (1, 2):
        with _strace(box, f"{call}:error={error}:when={when}", "box", "true") as process:
            _, said = process.communicate(timeout=60)
        assert process.returncode in (0, 1, 125, 126), (when, process.returncode, said)
        assert process.returncode == 0 or said.count(b"\n") == 1, said
    still_works(box, roots)


def test_paused_while_the_command_starts(box: Cli, roots: Roots, engine: minidock.Engine) -> None:
    """The new process is frozen on its way to its program: the client gets its answer, and nothing stays."""
    # The first call of each process: that of the supervisor, and then that of the new process.
    slow = "setns:delay_enter=3000000:when=1"
    container = engine.containers.get("box")
    with _strace(box, slow, "--timeout", "12", "box", "sleep", "605") as process:
        wait_for(lambda: any((group / "cgroup.procs").read_text() for group in groups(roots)), 30)
        container.pause()
        assert process.stderr is not None
        said = process.stderr.readline()
        assert b"it has not started in time; the container may be paused" in said
        # strace itself waits for all of them, and what is frozen cannot even die.
        box.ok("unpause", "box")
        process.communicate(timeout=60)
    assert process.returncode == 1
    still_works(box, roots)


def test_client_killed_while_the_command_is_frozen(box: Cli, roots: Roots) -> None:
    process = box.popen("exec", "box", "sleep", "606")
    wait_for(lambda: inside(roots) == ["sleep 606"], 30)
    box.ok("pause", "box")
    process.kill()
    process.wait()
    time.sleep(0.3)
    box.ok("unpause", "box")
    still_works(box, roots)


def test_pauses_and_execs_at_once(box: Cli, roots: Roots, engine: minidock.Engine) -> None:
    container = engine.containers.get("box")
    stop = threading.Event()
    wrong: list[BaseException] = []
    done: list[int] = []

    def execute() -> None:
        while not stop.is_set():
            try:
                done.append(container.exec(["true"], timeout=60).exit_code)
            except BaseException as error:
                if not isinstance(error, errors.Conflict) or "is paused" not in str(error):
                    wrong.append(error)
                    return

    threads = [threading.Thread(target=execute) for _ in range(4)]
    for thread in threads:
        thread.start()
    other = engine.containers.get("box")
    for _ in range(MOMENTS):
        other.pause()
        other.unpause()
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert set(done) == {0}
    still_works(box, roots)


def test_the_container_ends_in_between(cli_busybox: Cli, roots: Roots, engine: minidock.Engine) -> None:
    for number in range(max(3, MOMENTS // 5)):
        container = engine.containers.create("busybox", ["sleep", "1000"])
        container.start()
        wrong: list[BaseException] = []
        codes: list[int] = []

        def execute(container=container, codes=codes, wrong=wrong) -> None:  # type: ignore[no-untyped-def]
            try:
                while True:
                    codes.append(container.exec(["true"]).exit_code)
            except (errors.Conflict, errors.ContainerNotFound):
                return
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=execute) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.05 * number)
        container.remove(force=True)
        for thread in threads:
            thread.join(60)
        assert not wrong
        assert set(codes) <= {0, 137}
    assert_clean(cli_busybox, roots)


def test_a_stopped_supervisor_harms_nobody_else(box: Cli, roots: Roots) -> None:
    process = box.popen("exec", "box", "sleep", "607", stderr=subprocess.DEVNULL)
    wait_for(lambda: inside(roots) == ["sleep 607"], 30)
    # The first process of the helper has forked the supervisor and may be about to end.
    wait_for(lambda: len(execs(roots)) == 1)
    (pid,) = execs(roots)
    os.kill(pid, signal.SIGSTOP)
    assert box.ok("exec", "box", "echo", "other") == "other\n"
    process.send_signal(signal.SIGINT)
    process.wait(30)
    os.kill(pid, signal.SIGCONT)
    still_works(box, roots)
