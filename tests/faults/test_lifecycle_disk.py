"""A full disk while containers start, log, stop and are removed: they end as asked, and how they ended is known."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots, wait_for
from tests.faults.lives import SLEEP, gone, supervisor
from tests.faults.state import assert_clean
from tests.integration.verbs import started, state, trapping
from tests.rootfs import busybox_tar


@pytest.fixture
def small(roots: Roots) -> Iterator[minidock.Engine]:
    """An engine, with busybox, whose data root is a filesystem of 40 MiB."""
    roots.data.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", str(roots.data)], check=True)
    try:
        with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
            engine.images.import_(str(busybox_tar()), repository="busybox")
            yield engine
            empty(engine)
            for container in engine.containers.list(all=True):
                container.remove(force=True)
    finally:
        subprocess.run(["umount", "-l", str(roots.data)], check=True)


def fill(engine: minidock.Engine) -> None:
    """Leave not a byte."""
    for size in (1 << 16, 1):
        with open(f"{engine.data_root}/filler{size}", "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * size)
    assert os.statvfs(engine.data_root).f_bavail == 0


def empty(engine: minidock.Engine) -> None:
    """Give it all back."""
    for size in (1 << 16, 1):
        Path(f"{engine.data_root}/filler{size}").unlink(missing_ok=True)


@pytest.mark.parametrize(("verb", "code"), [("stop", 7), ("kill", 137), ("end", 8), ("supervisor", 137)])
def test_ends(small: minidock.Engine, cli: Cli, roots: Roots, verb: str, code: int) -> None:
    container = trapping(small)
    fill(small)
    if verb == "stop":
        container.stop()
    elif verb == "kill":
        container.kill()
    elif verb == "end":
        os.kill(container.state.pid, 10)
    else:
        os.kill(supervisor(container, small), 9)
    assert container.wait(timeout=60) == code
    for _ in range(2):
        found = state(container)
        assert (found["Status"], found["ExitCode"], found["Running"]) == ("exited", code, False)
    assert cli.ok("ps", "-a", "--format", "{{.State}}") == "exited\n"
    empty(small)
    assert state(container)["ExitCode"] == code
    container.remove()
    assert_clean(cli, roots)


def test_pauses_and_signals(small: minidock.Engine) -> None:
    container = trapping(small)
    fill(small)
    container.pause()
    assert state(container)["Status"] == "paused"
    container.unpause()
    container.kill("INT")
    assert state(container)["Status"] == "running"
    container.remove(force=True)
    with pytest.raises(errors.ContainerNotFound):
        container.reload()


def test_starts(small: minidock.Engine, cli: Cli, roots: Roots) -> None:
    """What cannot be started says why in one line, and starts when there is room again."""
    made = small.containers.create("busybox", SLEEP, name="one")
    fill(small)
    done = cli("start", "one")
    if done.returncode:
        text = done.stderr.decode()
        assert text.count("\n") == 1
        assert "no space left" in text.lower()
        assert "internal error" not in text
    done = cli("run", "-d", "--name", "two", "busybox", "sleep", "1000")
    assert done.returncode == 125
    assert b"no space left" in done.stderr.lower()
    assert done.stderr.count(b"\n") == 1
    empty(small)
    made.start()
    assert state(made)["Running"] is True
    for it in small.containers.list(all=True):
        assert it.name == "one" or it.status == "created"
        it.remove(force=True)
    assert_clean(cli, roots)


def test_restarts(small: minidock.Engine) -> None:
    """A policy goes on without a disk, and a restart by hand either works or says why."""
    container = started(small, ["sh", "-c", "sleep 0.1; exit 5"], restart="always")
    fill(small)
    count = container.attrs["RestartCount"]

    def more() -> bool:
        container.reload()
        return bool(container.attrs["RestartCount"] > count + 1)

    wait_for(more, 30, "restarts")
    container.stop()
    found = state(container)
    assert (found["Status"], found["Restarting"]) == ("exited", False)


def test_output(small: minidock.Engine) -> None:
    """What cannot be written down is lost; it reaches who is attached, and is written down again when there is room."""
    container = started(small, ["sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done"])
    fill(small)
    with container.attach_streams() as streams:
        assert next(streams.read(timeout=30)).data.startswith(b"line")
    assert state(container)["Running"] is True
    empty(small)
    before = len(_logs(container))
    wait_for(lambda: len(_logs(container)) > before + 20, 30, "new lines")
    # No piece of a line is left where the disk ended.
    assert all(line.startswith(b"line ") for line in _logs(container).splitlines())
    pid = supervisor(container, small)
    container.stop(timeout=0)
    wait_for(lambda: gone(pid))


def _logs(container: minidock.Container) -> bytes:
    found = container.logs()
    assert isinstance(found, bytes)
    return found


def test_output_that_fills_it(small: minidock.Engine, cli: Cli, roots: Roots) -> None:
    options = {"Type": "json-file", "Config": {"max-size": "-1"}}
    container = started(small, ["yes", "x" * 1000], log_config=options)
    wait_for(lambda: os.statvfs(small.data_root).f_bavail == 0, 60, "the disk to be full")
    assert state(container)["Running"] is True
    container.stop(timeout=0)
    assert state(container)["ExitCode"] == 137
    container.remove()
    assert os.statvfs(small.data_root).f_bavail > 0
    assert_clean(cli, roots)
