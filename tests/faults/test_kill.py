"""kill -9 of the caller and of the supervisor, at every step of `run`: nothing leaks, the next command repairs."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from tests.conftest import Cli, Roots
from tests.faults.state import assert_clean, containers, supervisors

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
MOMENTS = 600 if SOAK else 20
STEPS = 400 if SOAK else 24


def _start(cli: Cli, *args: str) -> subprocess.Popen[bytes]:
    null = subprocess.DEVNULL
    return cli.popen("run", "--network", "none", *args, stdin=null, stdout=null, stderr=null)


def test_caller_killed_at_any_moment(cli_busybox: Cli, roots: Roots) -> None:
    """The container of a dead caller lives on, as in Docker; with --rm it is gone once it has ended."""
    rng = random.Random(1)
    for _ in range(MOMENTS):
        process = _start(cli_busybox, "--rm", "busybox", "sleep", "0.05")
        time.sleep(rng.uniform(0.0, 0.25))
        process.kill()
        process.wait()
    assert_clean(cli_busybox, roots)


def test_supervisor_killed_at_any_moment(cli_busybox: Cli, roots: Roots) -> None:
    """PID 1 dies with its supervisor; the caller says so; the container is found exited."""
    rng = random.Random(2)
    killed = 0
    for number in range(MOMENTS):
        process = _start(cli_busybox, "--name", f"c{number}", "busybox", "sleep", "600")
        end = time.monotonic() + 60
        while not supervisors(roots) and time.monotonic() < end:
            if process.poll() is not None:
                break
        time.sleep(rng.choice([0, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.006, 0.05]))
        # The first process of the helper only forks the supervisor: what is found may end by itself meanwhile.
        while process.poll() is None and time.monotonic() < end:
            for pid in supervisors(roots):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        code = process.poll()
        process.kill()
        process.wait()
        assert code in (125, 137)
        for line in containers(cli_busybox):
            # A death during set-up is a container that never started; after it, one that was killed.
            assert line["State"] in ("exited", "created", "dead"), line
            cli_busybox.ok("rm", line["ID"])
    assert killed >= MOMENTS
    assert_clean(cli_busybox, roots)


def _strace(cli: Cli, inject: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    strace = shutil.which("strace")
    assert strace, "strace is missing: apt-get install strace (just setup does it)"
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"inject={inject}", *cli.argv]
    command += ["run", "--network", "none", *args]
    return subprocess.run(command, env=cli.env, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)


# What the helper does and Python does not: the injection hits the helper's set-up, call by call.
SETUP_CALLS = [
    "clone3",
    "fsopen",
    "fsconfig",
    "fsmount",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "pivot_root",
    "umount2",
    "sethostname",
    "capset",
    "seccomp",
    "mknodat",
    "symlinkat",
    "prctl",
    "rename,renameat,renameat2",
    "rmdir,unlinkat",
    "epoll_ctl",
    "setsid",
]


@pytest.mark.parametrize("call", SETUP_CALLS)
@pytest.mark.timeout(900)
def test_process_killed_at_a_system_call(cli_busybox: Cli, roots: Roots, call: str) -> None:
    """Whichever process makes the call for the n-th time dies there; nothing is left after the next command."""
    for when in [1, 2, 3, 5, 9, *range(10, STEPS, 7)][: STEPS // 4]:
        _strace(cli_busybox, f"{call}:signal=SIGKILL:when={when}", "--rm", "busybox", "true")
    for line in containers(cli_busybox):
        cli_busybox("rm", "-f", line["ID"])
    assert_clean(cli_busybox, roots)
    assert cli_busybox.ok("run", "--rm", "--network", "none", "busybox", "echo", "works") == "works\n"


@pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM", "EMFILE", "EIO"])
@pytest.mark.parametrize(
    "call", ["clone3", "fsopen", "fsmount", "move_mount", "openat2", "pipe2", "mkdirat", "mknodat"]
)
@pytest.mark.timeout(900)
def test_error_of_a_system_call(cli_busybox: Cli, roots: Roots, call: str, error: str) -> None:
    """One failing call gives one line and exit code 125 (or the run does without it), and leaves nothing."""
    for when in (1, 2, 4):
        done = _strace(cli_busybox, f"{call}:error={error}:when={when}", "--rm", "busybox", "true")
        text = done.stderr.decode()
        assert done.returncode in (0, 125), (done.returncode, text)
        assert "Traceback" not in text
        if done.returncode:
            # One line says why; a warning of the fall-back without overlayfs may stand before it.
            lines = [line for line in text.strip().splitlines() if not line.startswith("WARNING:")]
            assert len(lines) == 1, text
    assert_clean(cli_busybox, roots)
