"""Two builds of the same thing at once: one does the work, and the other takes over when that one dies."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Cli, Roots, wait_for
from tests.faults.build_state import left
from tests.faults.lives import stopped
from tests.faults.state import supervisors

WAITS = (
    "FROM busybox\nRUN --network=none --mount=type=cache,target=/c,sharing={} "
    "echo x >> /c/log; until [ -e /c/go ]; do sleep 0.05; done; echo made > /made\n"
    "RUN --network=none --mount=type=cache,target=/c,sharing={} echo y >> /c/log\n"
)


class Builds:
    """Processes that build the same, and the cache mount that their command writes to."""

    def __init__(self, cli: Cli, roots: Roots, folder: Path) -> None:
        self.cli = cli
        self.roots = roots
        self.folder = folder

    @property
    def log(self) -> str:
        """What the commands have written so far."""
        found = list((self.roots.data / "build/mounts").glob("*/data/log"))
        return found[0].read_text() if found else ""

    def go(self) -> None:
        """Let the command end."""
        [log] = (self.roots.data / "build/mounts").glob("*/data/log")
        (log.parent / "go").touch()

    def start(self) -> subprocess.Popen[bytes]:
        return self.cli.popen("build", "-q", str(self.folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def waits(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a process has begun its build, and so is about to wait for the step, or does."""
        assert process.poll() is None
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(link.readlink()).startswith(f"{self.roots.data}/tmp/build-"):
                    return True
        return False


@pytest.fixture
def builds(cli_busybox: Cli, roots: Roots, tmp_path: Path) -> Builds:
    return Builds(cli_busybox, roots, tmp_path)


def test_the_work_is_done_once(builds: Builds) -> None:
    """Three processes; the command's side effect is there once."""
    (builds.folder / "Dockerfile").write_text(WAITS.format("shared", "locked"))
    processes = [builds.start() for _ in range(3)]
    for process in processes:
        wait_for(lambda process=process: builds.waits(process), 20, "the build")  # type: ignore[misc]
    wait_for(lambda: builds.log == "x\n", 20, "the command")
    builds.go()
    ids = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(ids) == 1
    assert builds.log == "x\ny\n"
    wait_for(lambda: not left(builds.roots), 10, f"the end of {left(builds.roots)}")


@pytest.mark.parametrize(
    ("sharing", "by"), [("shared", signal.SIGKILL), ("private", signal.SIGKILL), ("locked", signal.SIGINT)]
)
def test_another_takes_over(builds: Builds, sharing: str, by: signal.Signals) -> None:
    (builds.folder / "Dockerfile").write_text(WAITS.format(sharing, sharing))
    first = builds.start()
    wait_for(lambda: builds.log == "x\n", 20, "the command")
    second = builds.start()
    wait_for(lambda: builds.waits(second), 20, "the second build")
    first.send_signal(by)
    assert first.wait(timeout=60) == (130 if by == signal.SIGINT else -signal.SIGKILL)
    wait_for(lambda: builds.log == "x\nx\n", 20, "the second command")
    builds.go()
    made, said = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert builds.log == "x\nx\ny\n"
    assert builds.cli.ok("build", "-q", str(builds.folder)).encode() == made
    wait_for(lambda: not left(builds.roots), 10, f"the end of {left(builds.roots)}")


def test_a_locked_cache_is_free_when_its_command_has_ended(builds: Builds) -> None:
    """Not when the build is killed that had it: what kills its command may take a while."""
    (builds.folder / "Dockerfile").write_text(WAITS.format("locked", "locked"))
    first = builds.start()
    wait_for(lambda: builds.log == "x\n", 20, "the command")
    # The first process of the helper has forked the supervisor and may be about to end.
    wait_for(lambda: len(supervisors(builds.roots)) == 1)
    [pid] = supervisors(builds.roots)
    with stopped(pid):
        first.kill()
        first.wait(timeout=60)
        second = builds.start()
        wait_for(lambda: builds.waits(second), 20, "the second build")
        time.sleep(0.5)
        assert builds.log == "x\n"
    wait_for(lambda: builds.log == "x\nx\n", 20, "the second command")
    builds.go()
    assert second.wait(timeout=60) == 0


def test_one_that_waits_is_killed(builds: Builds) -> None:
    """It takes nothing with it."""
    (builds.folder / "Dockerfile").write_text(WAITS.format("shared", "shared"))
    first = builds.start()
    wait_for(lambda: builds.log == "x\n", 20, "the command")
    for by in (signal.SIGKILL, signal.SIGINT):
        second = builds.start()
        wait_for(lambda second=second: builds.waits(second), 20, "the second build")  # type: ignore[misc]
        second.send_signal(by)
        second.wait(timeout=60)
    builds.go()
    assert first.wait(timeout=60) == 0
    assert builds.log == "x\ny\n"
    builds.cli.ok("ps", "-a")
    wait_for(lambda: not left(builds.roots), 10, f"the end of {left(builds.roots)}")
