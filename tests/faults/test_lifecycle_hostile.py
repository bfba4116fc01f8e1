"""Containers that do not want to end, or to leave: ignored signals, forks, daemons, memory, output, streams."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import minidock
from tests.conftest import Cli, Roots, wait_for
from tests.faults.lives import SOAK, actions, gone, processes, resident, supervisor
from tests.faults.state import assert_clean
from tests.integration.verbs import started, state

IGNORES = "trap '' TERM INT HUP QUIT USR1; touch /ready; while :; do sleep 0.05; done"


def _ready(container: minidock.Container) -> None:
    wait_for(lambda: os.path.exists(f"/proc/{container.state.pid}/root/ready"), 30, "the container's script")


def test_signals_that_are_ignored(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", IGNORES], restart="always", stop_timeout=1)
    _ready(container)
    container.kill("TERM")
    assert state(container)["Running"] is True
    container.stop()
    found = state(container)
    assert (found["Status"], found["ExitCode"], found["OOMKilled"]) == ("exited", 137, False)


@pytest.mark.parametrize("verb", ["kill", "stop", "rm"])
def test_fork_bomb(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, verb: str) -> None:
    """The limit holds it, and it ends as a whole."""
    bomb = "b() { b | b & }; touch /ready; while :; do b; sleep 0.02; done"
    container = started(engine, ["sh", "-c", bomb], pids_limit=60)
    _ready(container)
    wait_for(lambda: len(processes(container)) >= 20, 60, "the bomb to grow")
    assert len(processes(container)) <= 60
    assert engine.containers.list()[0].id == container.id
    everyone = processes(container)
    if verb == "kill":
        container.kill()
        container.wait(timeout=60)
    elif verb == "stop":
        container.stop(timeout=0)
    if verb != "rm":
        assert state(container)["ExitCode"] == 137
    container.remove(force=True)
    assert_clean(cli, roots)
    assert all(gone(pid) for pid in everyone)


DAEMON = "(setsid sh -c 'trap \"\" TERM HUP; exec >/dev/null 2>&1; while :; do sleep 0.05; done' &) ; "


@pytest.mark.parametrize("pid_mode", [None, "host"])
@pytest.mark.parametrize("end", ["stop", "by itself", "supervisor killed"])
def test_daemons_end_with_it(
    engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots, pid_mode: str | None, end: str
) -> None:
    """Children that have left their parents live as long as PID 1, whoever is their parent then."""
    script = DAEMON + "touch /ready; while [ ! -e /end ]; do sleep 0.05; done; exit 4"
    container = started(engine, ["sh", "-c", script], pid_mode=pid_mode)
    _ready(container)
    wait_for(lambda: len(processes(container)) >= 2, 30, "the daemon")
    daemons = [pid for pid in processes(container) if pid != container.state.pid]
    if end == "stop":
        container.stop(timeout=0)
    elif end == "by itself":
        Path(f"/proc/{container.state.pid}/root/end").touch()
        assert container.wait(timeout=60) == 4
    else:
        os.kill(supervisor(container, engine), 9)
        assert container.wait(timeout=60) == 137
    wait_for(lambda: all(gone(pid) for pid in daemons), 30, "the daemons to end")
    container.remove()
    assert_clean(cli, roots)


def test_children_are_reaped_by_the_built_in_init(engine: minidock.Engine, busybox: str) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &); done; touch /ready; exec sleep 1000"
    container = started(engine, ["sh", "-c", script], init=True)
    _ready(container)

    def zombies() -> list[int]:
        return [pid for pid in processes(container) if gone(pid)]

    wait_for(lambda: len(processes(container)) == 2 and not zombies(), 30, "the children to be reaped")
    container.stop(timeout=5)
    assert state(container)["ExitCode"] == 143


def test_memory_limit(engine: minidock.Engine, busybox: str) -> None:
    eater = ["sh", "-c", "x=a; while :; do x=$x$x; done"]
    container = started(engine, eater, memory="16m", memswap_limit="16m")
    assert container.wait(timeout=60) == 137
    found = state(container)
    assert (found["OOMKilled"], found["ExitCode"], found["Status"]) == (True, 137, "exited")
    assert [action for action, _ in actions(engine, container.id)][-3:] == ["start", "oom", "die"]
    fine = started(engine, ["true"], memory="16m")
    fine.wait(timeout=60)
    assert state(fine)["OOMKilled"] is False


def test_memory_limit_and_restarts(engine: minidock.Engine, busybox: str) -> None:
    eater = ["sh", "-c", "x=a; while :; do x=$x$x; done"]
    container = started(engine, eater, memory="16m", memswap_limit="16m", restart="on-failure:1")
    wait_for(lambda: state(container)["Status"] == "exited", 60, "the second end")
    names = [action for action, _ in actions(engine, container.id)]
    assert names[1:] == ["start", "oom", "die"] * 2
    assert state(container)["OOMKilled"] is True
    assert container.attrs["RestartCount"] == 1


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # rotated away between the listing and here
        return 0


def test_log_that_is_filled(engine: minidock.Engine, busybox: str) -> None:
    """Rotation bounds the files, the supervisor's memory is bounded, and it can be stopped at any moment."""
    options = {"max-size": "100k", "max-file": "3"}
    container = started(engine, ["yes", "0123456789" * 10], log_config={"Type": "json-file", "Config": options})
    pid = supervisor(container, engine)
    folder = Path(engine.data_root, "containers", container.id)
    wait_for(lambda: len(list(folder.glob("*-json.log*"))) == 3, 30, "two rotations")
    before = resident(pid)
    for _ in range(200 if SOAK else 20):
        time.sleep(0.01)
        assert sum(map(size, folder.glob("*-json.log*"))) < 500_000
    assert resident(pid) <= before + (1 << 20)
    container.stop(timeout=0)
    assert state(container)["ExitCode"] == 137
    lines = container.logs(tail=5)
    assert isinstance(lines, bytes)
    assert lines.count(b"0123456789") >= 40  # the last line may be cut


def test_line_without_end(engine: minidock.Engine, busybox: str) -> None:
    """It is cut into pieces; nobody keeps it."""
    options = {"max-size": "1m", "max-file": "2"}
    script = "dd if=/dev/zero bs=64k count=400 2>/dev/null | tr '\\0' x; exec sleep 1000"
    container = started(engine, ["sh", "-c", script], log_config={"Type": "json-file", "Config": options})
    pid = supervisor(container, engine)
    wait_for(lambda: state(container) and len(processes(container)) == 1, 60, "the output to end")
    assert resident(pid) < 24 << 20
    container.remove(force=True)


def test_streams_that_are_closed(engine: minidock.Engine, busybox: str) -> None:
    """A container that has closed its streams runs on, and costs no processor time."""
    script = "exec <&- >&- 2>&-; trap 'exit 6' TERM; : > /ready; while :; do /bin/busybox sleep 0.05; done"
    container = started(engine, ["sh", "-c", script], stdin_open=True)
    pid = supervisor(container, engine)
    _ready(container)
    with container.attach_streams(stdin=True) as streams:
        ticks = _ticks(pid)
        time.sleep(0.3)
        assert _ticks(pid) - ticks < 10
        container.stop(timeout=30)
        assert list(streams) == []
    assert state(container)["ExitCode"] == 6


def _ticks(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    return int(fields[11]) + int(fields[12])


def test_stdin_that_is_never_read(engine: minidock.Engine, busybox: str) -> None:
    """Who writes waits; the container, and others at its streams, do not."""
    container = started(
        engine, ["sh", "-c", "trap 'exit 6' TERM; while :; do echo x; sleep 0.05; done"], stdin_open=True
    )
    with container.attach_streams(stdin=True) as writer, container.attach_streams() as reader:
        os.set_blocking(writer._stdin, False)  # type: ignore[arg-type]

        def write() -> None:
            for _ in range(1000):
                writer.write(b"x" * 4096)
                time.sleep(0.001)

        with pytest.raises(BlockingIOError):
            write()
        assert next(reader.read(timeout=30)).data.startswith(b"x")
        container.stop(timeout=30)
    assert state(container)["ExitCode"] == 6
