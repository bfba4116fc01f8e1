"""Containers with ``owner="process"``, and detached ones with ``--rm``: they go, however their end comes about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots, wait_for
from tests.faults.lives import SLEEP, gone, supervisor
from tests.faults.state import assert_clean, cgroups, supervisors
from tests.integration.verbs import started

OWNER = Path(__file__).with_name("owner.py")
Start = Callable[[str], tuple[subprocess.Popen[str], str, int]]


@pytest.fixture
def owner(roots: Roots) -> Iterator[Start]:
    """Starts an owner; gives it, its container's id, and the pid of its child if it has forked."""
    made: list[subprocess.Popen[str]] = []
    children: list[int] = []

    def start(then: str) -> tuple[subprocess.Popen[str], str, int]:
        command = [sys.executable, str(OWNER), str(roots.data), str(roots.run), str(roots.config), then]
        env = {**os.environ, "PYTHONPATH": str(Path(minidock.__file__).parents[1])}
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=env)
        made.append(process)
        assert process.stdout is not None
        container_id, _, child = process.stdout.readline().strip().partition(" ")
        children.append(int(child or 0))
        return process, container_id, children[-1]

    yield start
    for child in filter(None, children):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    for process in made:
        process.kill()
        process.communicate()


def _files(engine: minidock.Engine, container_id: str) -> list[Path]:
    tops = (Path(engine.data_root, "containers"), Path(engine.run_root, "containers"))
    return [top / container_id for top in tops if (top / container_id).exists()]


@pytest.mark.parametrize("then", ["kill", "_exit", "abort", "exit", "exec", "fork", "TERM"])
def test_owner_ends(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, owner: Start, then: str) -> None:
    """No other engine's process has to do anything for it."""
    process, container_id, child = owner(then)
    pid = supervisor(engine.containers.get(container_id), engine)
    init = engine.containers.get(container_id).state.pid
    if then in ("kill", "fork"):
        process.kill()
    elif then == "TERM":
        process.terminate()
    else:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    process.wait(timeout=30)
    wait_for(lambda: gone(init) and gone(pid), 30, "container and supervisor to end")
    wait_for(lambda: not _files(engine, container_id), 60, "its files to go by themselves")
    wait_for(lambda: not cgroups(roots), 30, "its cgroups to go by themselves")
    assert not child or not gone(child)
    assert_clean(cli, roots)


@pytest.mark.parametrize("order", ["owner first", "supervisor first", "at once"])
def test_owner_and_supervisor_killed(
    engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, owner: Start, order: str
) -> None:
    process, container_id, _ = owner("wait")
    container = engine.containers.get(container_id)
    pid, init = supervisor(container, engine), container.state.pid
    if order == "at once":
        os.kill(pid, signal.SIGSTOP)
    if order == "supervisor first":
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: gone(init), 30, "PID 1 to end with its supervisor")
        assert engine.containers.get(container_id).state.exit_code == 137
    process.kill()
    process.wait()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(init) and gone(pid), 30, "PID 1 to end with its supervisor")
    with pytest.raises(errors.ContainerNotFound):
        engine.containers.get(container_id)
    assert_clean(cli, roots)


def test_one_that_has_ended_before_its_owner(
    engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, owner: Start
) -> None:
    process, container_id, _ = owner("wait")
    container = engine.containers.get(container_id)
    wait_for(lambda: os.path.exists(f"/proc/{container.state.pid}/root/ready"), 30)
    container.kill("USR1")
    assert container.wait(timeout=30) == 3
    assert engine.containers.get(container_id).status == "exited"
    process.kill()
    process.wait()
    with pytest.raises(errors.ContainerNotFound):
        engine.containers.get(container_id)
    assert_clean(cli, roots)


@pytest.mark.parametrize("also", ["", "supervisor"])
def test_owner_of_a_captured_run_killed(
    engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, owner: Start, also: str
) -> None:
    process, _, _ = owner("captured")
    wait_for(lambda: [it for it in engine.containers.list() if it.state.pid], 30, "the container to run")
    (container,) = engine.containers.list()
    pid = supervisor(container, engine)
    if also:
        os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.wait()
    if also:
        os.kill(pid, signal.SIGKILL)
    else:
        wait_for(lambda: not _files(engine, container.id), 60, "its files to go by themselves")
    assert_clean(cli, roots)


def test_a_recycled_pid_is_no_owner(engine: minidock.Engine, busybox: str, roots: Roots, cli: Cli) -> None:
    """The process of that number started at another time: the owner has ended."""
    container = started(engine, ["true"])
    container.wait()

    def own(record: object) -> None:
        from minidock.containers.document import Owner

        record.owned, record.starter = True, Owner(os.getpid(), 1)  # type: ignore[attr-defined]

    engine.lifecycle.modify(container.id, own)
    with pytest.raises(errors.ContainerNotFound):
        engine.containers.get(container.id)
    assert_clean(cli, roots)


def test_removal_without_python(cli: Cli, engine: minidock.Engine, busybox: str, roots: Roots, tmp_path: Path) -> None:
    """Its supervisor finds nobody to remove it, as the environment has gone: the next command does."""
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    code = (
        "import sys, minidock; e = minidock.Engine(data_root=sys.argv[1], run_root=sys.argv[2], config=sys.argv[3]);"
        "print(e.containers.run('busybox', ['sleep', '1000'], detach=True, remove=True).id)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(minidock.__file__).parents[1]), "PYTHONHOME": sys.base_prefix}
    site = next(path for path in sys.path if path.endswith("site-packages"))
    env["PYTHONPATH"] += os.pathsep + site
    arguments = [str(link), "-c", code, str(roots.data), str(roots.run), str(roots.config)]
    container_id = subprocess.run(arguments, env=env, capture_output=True, text=True, check=True).stdout.strip()
    link.unlink()
    container = engine.containers.get(container_id)
    pid = supervisor(container, engine)
    os.kill(container.state.pid, signal.SIGKILL)
    wait_for(lambda: gone(pid), 30, "the supervisor to end")
    assert Path(engine.data_root, "containers", container_id).exists()
    assert cli.ok("ps", "-aq") == ""
    assert_clean(cli, roots)


def test_removal_with_nobody_there(cli_busybox: Cli, roots: Roots) -> None:
    """Many at once, each by its supervisor's own doing."""
    for number in range(6):
        cli_busybox.ok("run", "-d", "--rm", "--name", f"c{number}", "busybox", "sleep", f"0.{number}")
    folder = roots.data / "containers"
    wait_for(lambda: not list(folder.iterdir()) and not supervisors(roots), 60, "all to go by themselves")
    wait_for(lambda: not cgroups(roots), 30, "their cgroups to go by themselves")
    assert_clean(cli_busybox, roots)


def test_removal_is_no_restart(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, SLEEP, remove=True)
    os.kill(supervisor(container, engine), signal.SIGKILL)
    other = minidock.Engine(data_root=engine.data_root, run_root=engine.run_root, config=engine.config_path)
    with other, pytest.raises(errors.ContainerNotFound):
        wait_for(lambda: other.containers.get(container.id) is None, 30)
    assert container.wait() == 137
