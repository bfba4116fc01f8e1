"""Supervisors that are stopped, killed or full of clients: every verb answers in bounded time, and tells the truth."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import minidock
from minidock import _native, errors
from tests.conftest import Cli, Roots, wait_for
from tests.faults.lives import SOAK, actions, children, gone, open_files, resident, stopped, supervisor
from tests.faults.state import assert_clean
from tests.integration.verbs import ready, started, state, trapping


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """The engine waits less long for a supervisor's answer than users have it, while there is none to be had."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("minidock.containers.control.ANSWER_SECONDS", 0.5)
        yield


@contextlib.contextmanager
def silent(pid: int) -> Iterator[None]:
    """Have a supervisor stopped for a ``with`` block, and the engine be impatient."""
    with impatient(), stopped(pid):
        yield


def test_stopped_supervisor_can_be_looked_at(engine: minidock.Engine, busybox: str, cli: Cli) -> None:
    container = started(engine, name="one")
    with silent(supervisor(container, engine)):
        assert cli.ok("ps", "--format", "{{.Names}} {{.State}}") == "one running\n"
        assert state(container)["Running"] is True
        assert container.top()
        with pytest.raises(errors.Timeout):
            engine.containers.get("one").wait(timeout=0.2)
        container.pause()
        assert state(container)["Status"] == "paused"
        container.unpause()
        assert state(container)["Status"] == "running"
        container.rename("two")
        container.update(pids_limit=77)
        with pytest.raises(errors.Timeout):
            container.attach_streams().close()
        assert engine.containers.get("two").attrs["HostConfig"]["PidsLimit"] == 77
    wait_for(lambda: actions(engine, container.id)[-1][0] in ("rename", "update", "attach", "resize"))
    container.kill()
    assert container.wait() == 137
    # The supervisor has heard what it was told when it could.
    assert actions(engine, container.id)[-1][1]["name"] == "two"


def test_stopped_supervisor_and_signals(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine)
    with silent(supervisor(container, engine)):
        container.kill("USR1")
        wait_for(lambda: gone(container.state.pid), what="the signal to arrive")
        assert state(container)["Running"] is True  # nobody has told how it ended
    assert engine.containers.get(container.id).wait(timeout=30) == 8


@pytest.mark.parametrize("paused", [False, True])
def test_stopped_supervisor_and_stop(engine: minidock.Engine, busybox: str, paused: bool) -> None:
    container = trapping(engine, restart="always")
    if paused:
        container.pause()
    pid = supervisor(container, engine)
    with silent(pid):
        container.stop(timeout=5)
        assert gone(pid)
    found = state(container)
    assert (found["Status"], found["ExitCode"], found["Pid"]) == ("exited", 137, 0)
    container.start()
    ready(container)
    container.stop(timeout=5)
    assert state(container)["ExitCode"] == 7


@pytest.mark.parametrize("paused", [False, True])
def test_stopped_supervisor_and_removal(
    engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, paused: bool
) -> None:
    container = trapping(engine)
    other = started(engine)
    if paused:
        container.pause()
    pid, init = supervisor(container, engine), container.state.pid
    with silent(pid):
        with pytest.raises(errors.Conflict):
            container.remove()
        engine.containers.get(container.id).remove(force=True)
        assert gone(pid)
        assert gone(init)
    with pytest.raises(errors.ContainerNotFound):
        container.reload()
    assert actions(engine, container.id)[-2:][0][0] == "die"
    assert state(other)["Running"] is True
    other.remove(force=True)
    assert_clean(cli, roots)


def test_stopped_supervisor_with_many_who_asked_in_vain(engine: minidock.Engine, busybox: str) -> None:
    """Its socket takes no more connections then; nobody waits there for ever."""
    container = started(engine)
    run_dir = f"{engine.run_root}/containers/{container.id}"
    with silent(supervisor(container, engine)), contextlib.ExitStack() as stack:

        def fill() -> None:
            for _ in range(80):
                stack.enter_context(_native.Supervisor.connect(run_dir))

        with pytest.raises(_native.NativeError, match="does not answer"):
            fill()
        assert state(container)["Running"] is True
        with pytest.raises(errors.Timeout):
            engine.containers.get(container.id).wait(timeout=0.3)
        engine.containers.get(container.id).remove(force=True)


def test_more_clients_than_a_supervisor_serves(engine: minidock.Engine, busybox: str) -> None:
    """Who finds no place is not told that the container has ended."""
    container = trapping(engine)
    run_dir = f"{engine.run_root}/containers/{container.id}"
    with contextlib.ExitStack() as stack:
        for _ in range(230):
            stack.enter_context(_native.Supervisor.connect(run_dir))
        stack.enter_context(impatient())
        again = engine.containers.get(container.id)
        with pytest.raises(errors.Timeout):
            again.wait(timeout=1)
        again.kill("INT")
        again.stop(timeout=10)
        assert state(container)["Running"] is False
        assert gone(container.state.pid)


def test_killed_supervisor(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    container, other = started(engine, restart="always"), started(engine)
    init = container.state.pid
    waited: list[int] = []
    waiter = threading.Thread(target=lambda: waited.append(engine.containers.get(container.id).wait()))
    waiter.start()
    os.kill(supervisor(container, engine), signal.SIGKILL)
    assert container.wait() == 137
    waiter.join()
    assert waited == [137]
    found = state(container)
    assert (found["Status"], found["ExitCode"], found["Pid"], found["Restarting"]) == ("exited", 137, 0, False)
    assert found["FinishedAt"] >= found["StartedAt"]
    assert gone(init)
    assert [action for action, _ in actions(engine, container.id)][-1] == "die"
    assert actions(engine, container.id)[-1][1]["exitCode"] == "137"
    assert state(other)["Running"] is True
    container.start()
    assert state(container)["Running"] is True
    for it in (container, other):
        it.remove(force=True)
    assert_clean(cli, roots)


def test_killed_supervisor_of_a_paused_container(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    container = started(engine)
    container.pause()
    os.kill(supervisor(container, engine), signal.SIGKILL)
    wait_for(lambda: state(container)["Status"] == "exited", 30)
    container.remove()
    assert_clean(cli, roots)


def test_killed_supervisor_of_processes_that_cannot_be_killed(
    engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits for a disk keeps nobody else waiting: it is taken for dead, and killed when that can be."""
    container, other = started(engine), started(engine)
    real, patience = _native.cgroup_kill, []

    def kill(path: str, timeout: float = 10.0) -> bool:
        patience.append(timeout)
        raise _native.NativeError("kill cgroup: still there", "timeout", "kill cgroup", path, None)

    with monkeypatch.context() as patched:
        patched.setattr(_native, "cgroup_kill", kill)
        os.kill(supervisor(container, engine), signal.SIGKILL)
        wait_for(lambda: state(container)["Status"] == "exited", 30)
        assert state(container)["ExitCode"] == 137
        assert sorted(it.id for it in engine.containers.list()) == [other.id]
        assert max(patience) <= 2
    assert _native.cgroup_kill is real
    for it in (container, other):
        it.remove(force=True)
    assert_clean(cli, roots)


def test_killed_supervisor_between_two_runs(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    container = started(engine, ["sh", "-c", "exit 5"], restart="always")
    wait_for(lambda: state(container)["Restarting"] and container.attrs["RestartCount"] >= 3, 30)
    pid = supervisor(container, engine)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid))
    found = state(container)
    assert (found["Status"], found["Restarting"]) == ("exited", False)
    container.remove()
    assert_clean(cli, roots)


def test_the_log_is_whole_when_there_is_a_record(engine: minidock.Engine, busybox: str) -> None:
    """Who finds the record of an end, and asks for the log then, must not be faster than the supervisor."""
    strace = shutil.which("strace")
    assert strace, "strace is missing: apt-get install strace (just setup does it)"
    container = started(engine, ["sh", "-c", "until [ -e /go ]; do sleep 0.02; done; echo last words"])
    record = Path(engine.data_root, "containers", container.id, "exit.json")
    assert record.parent.is_dir()
    slow = "rename,renameat,renameat2:delay_exit=2000000"
    command = [strace, "-qq", "-e", f"inject={slow}", "-p", str(supervisor(container, engine))]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        status = Path(f"/proc/{supervisor(container, engine)}/status")
        wait_for(lambda: f"TracerPid:\t{tracer.pid}\n" in status.read_text())
        Path(f"/proc/{container.state.pid}/root/go").touch()
        wait_for(record.exists)
        assert container.logs() == b"last words\n"
    assert container.wait() == 0


def test_a_slow_disk_holds_up_no_answer(engine: minidock.Engine, busybox: str) -> None:
    """A line of one letter is forty times as long in the log, and each write of that can wait for a busy disk."""
    strace = shutil.which("strace")
    assert strace, "strace is missing: apt-get install strace (just setup does it)"
    container = started(engine, ["yes"])
    log = Path(engine.data_root, "containers", container.id, f"{container.id}-json.log")
    wait_for(log.exists)
    pid = supervisor(container, engine)
    slow = ["-P", str(log), "-e", "trace=write", "-e", "inject=write:delay_enter=30000"]
    with subprocess.Popen([strace, "-qq", *slow, "-p", str(pid)], stderr=subprocess.DEVNULL) as tracer:
        status = Path(f"/proc/{pid}/status")
        wait_for(lambda: f"TracerPid:\t{tracer.pid}\n" in status.read_text())
        try:
            for _ in range(3):
                container.attach_streams().close()
            container.stop(timeout=0)
        finally:
            tracer.terminate()
    assert (container.status, container.wait()) == ("exited", 137)


def _attach_and_go(engine: minidock.Engine, container: minidock.Container, number: int) -> None:
    run_dir = f"{engine.run_root}/containers/{container.id}"
    pipes = [os.pipe() for _ in range(3)]
    theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
    names = ["stdin", "stdout", "stderr"] if number % 3 else ["stdin", "framed", "stderr"]
    try:
        with _native.Supervisor.connect(run_dir) as client:
            packet = msgspec.json.encode({"op": "attach", "streams": names})
            if number % 5 == 0:
                packet = packet.replace(b"attach", b"attack")
            with contextlib.suppress(_native.NativeError):
                client.request(packet, theirs[: 3 - (number % 7 == 0)], timeout=30)
            if number % 2:
                os.write(pipes[0][1], b"x" * 100)
            client.resize(number % 500, (number * 7) % 500)
    finally:
        for fd in (fd for pair in pipes for fd in pair):
            os.close(fd)


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.timeout(900)
def test_aborted_attaches_and_resizes_leave_nothing(engine: minidock.Engine, busybox: str, tty: bool) -> None:
    """CVE-2022-31030 and the like: descriptors and memory of the supervisor stay as they are."""
    command = ["sh", "-c", "while :; do echo hello; sleep 0.01; done"]
    container = started(engine, command, tty=tty, stdin_open=True)
    pid = supervisor(container, engine)

    def rounds(count: int) -> None:
        for number in range(count):
            _attach_and_go(engine, container, number)

    rounds(40)
    wait_for(lambda: open_files(pid) <= before[0] if (before := [open_files(pid)]) else False)
    files, memory = open_files(pid), resident(pid)
    rounds(10_000 if SOAK else 150)
    wait_for(lambda: open_files(pid) <= files, what=f"{open_files(pid)} descriptors to be {files} again")
    wait_for(lambda: resident(pid) <= memory + (256 << 10), what="its memory to be what it was")
    assert state(container)["Running"] is True
    assert children(pid) == [container.state.pid]


def test_reader_that_does_not_read(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    """It holds the container back, and nobody else: what it has not read waits in a process that ends with it."""
    container = started(engine, ["yes"])
    pid = supervisor(container, engine)
    slow = container.attach_streams()
    wait_for(lambda: _blocked(container.state.pid), 30, "the container to be held back")
    container.stop(timeout=0)
    found = state(container)
    assert (found["Status"], found["ExitCode"]) == ("exited", 137)
    wait_for(lambda: gone(pid))
    container.start()
    assert state(container)["Running"] is True
    container.remove(force=True)
    wait_for(lambda: len(_flushers(roots)) == 1, what="the supervisor to end, and the rest's process not to")
    flusher = _flushers(roots)
    slow.close()
    wait_for(lambda: gone(flusher[0]), what="the rest's process to end")
    assert_clean(cli, roots)


def _blocked(pid: int) -> bool:
    """Whether it waits in write(2)."""
    with open(f"/proc/{pid}/wchan") as file:
        return "pipe_write" in file.read()


def _flushers(roots: Roots) -> list[int]:
    from tests.faults.state import supervisors

    return supervisors(roots)


def test_slow_readers_of_a_restarted_container_leave_no_zombies(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "yes | head -c 100000; sleep 0.3; exit 1"], restart="always")
    pid = supervisor(container, engine)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            count = state(container) and container.attrs["RestartCount"]
            with contextlib.suppress(errors.Conflict):
                stack.enter_context(container.attach_streams())
            wait_for(lambda count=count: state(container) and container.attrs["RestartCount"] > count, 30)  # type: ignore[misc]
    wait_for(lambda: [it for it in children(pid) if gone(it)] == [], what="no zombie children")
