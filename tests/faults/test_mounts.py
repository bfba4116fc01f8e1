"""kill -9 of caller and supervisor of containers with volumes: no volume without a name is left, nothing mounted."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Cli, Roots, wait_for
from tests.faults.state import assert_clean, supervisors

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
MOMENTS = 300 if SOAK else 8
CONTENT = {f"file{number}" for number in range(200)}
MEMORY = "src=mem,dst=/m,volume-opt=type=tmpfs,volume-opt=device=tmpfs"


@pytest.fixture
def cli_image(cli_busybox: Cli) -> Cli:
    """A command with the image ``vol``, which has a volume with many files."""
    script = "mkdir /full; cd /full; i=0; while [ $i -lt 200 ]; do echo $i >file$i; i=$((i + 1)); done"
    cli_busybox.ok("run", "--name", "make", "--network", "none", "busybox", "sh", "-c", script)
    cli_busybox.ok("commit", "-c", "VOLUME /full", "-c", 'CMD ["sleep", "0.05"]', "make", "vol")
    cli_busybox.ok("rm", "make")
    return cli_busybox


def mounted(roots: Roots) -> list[str]:
    """What of the data root is mounted on the host."""
    text = Path("/proc/self/mountinfo").read_text()
    return [line.split()[4] for line in text.splitlines() if line.split()[4].startswith(str(roots.data))]


def test_caller_killed_at_any_moment(cli_image: Cli, roots: Roots) -> None:
    rng = random.Random(5)
    null = subprocess.DEVNULL
    for number in range(MOMENTS):
        if number % 5 == 0:
            cli_image("volume", "rm", "named")
        process = cli_image.popen(
            *("run", "--rm", "--network", "none", "-v", "named:/full", "-v", "/anonymous", "--mount", MEMORY, "vol"),
            stdin=null,
            stdout=null,
            stderr=null,
        )
        time.sleep(rng.uniform(0.05, 0.5))
        process.kill()
        process.wait()
        found = roots.data / "volumes" / "named" / "_data"
        if found.exists():
            assert set(os.listdir(found)) in (set(), CONTENT)

    def gone() -> bool:
        return not cli_image.ok("ps", "-aq").split() and not mounted(roots)

    wait_for(gone, 20, "the end of all containers and mounts")
    assert set(cli_image.ok("volume", "ls", "-q").split()) <= {"named", "mem"}
    assert cli_image.ok("run", "--rm", "--network", "none", "-v", "named:/full", "vol", "ls", "/full").split()
    assert_clean(cli_image, roots)


def test_supervisor_killed(cli_image: Cli, roots: Roots) -> None:
    options = ("--network", "none", "--mount", MEMORY, "-v", "/a")
    for number in range(3):
        name = f"c{number}"
        cli_image.ok("run", "-d", "--name", name, *options, "vol", "sleep", "30")
        assert mounted(roots)
        for pid in supervisors(roots):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = ("inspect", "-f", "{{.State.Status}}", name)
        wait_for(lambda status=status: cli_image.ok(*status) == "exited\n", 20, "the end")  # type: ignore[misc]
        assert not mounted(roots)
        cli_image.ok("rm", "-v", name)
    assert cli_image.ok("volume", "ls", "-q").split() == ["mem"]
    assert_clean(cli_image, roots)
