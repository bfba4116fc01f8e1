"""``wait`` and its conditions."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from pathlib import Path

import pytest

import minidock
from minidock.errors import ContainerNotFound, InvalidArgument, Timeout
from tests.conftest import Cli, wait_for
from tests.integration.verbs import refused, started, trapping


def test_exit_codes(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine, ["sh", "-c", "sleep 0.2; exit 4"])
    assert container.wait() == 4
    assert container.wait() == 4
    other = engine.containers.get(container.id)
    assert other.wait(timeout=0) == 4


def test_what_never_ran_is_not_running(engine: minidock.Engine, busybox: str) -> None:
    assert engine.containers.create(busybox, ["false"]).wait() == 0


def test_time(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine)
    for timeout in (0, 0.05):
        with pytest.raises(Timeout):
            container.wait(timeout)
    with pytest.raises(Timeout):
        engine.containers.get(container.id).wait(0.05, condition="removed")


def test_several_wait_for_one(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine)
    codes: list[int] = []
    waiters = [threading.Thread(target=lambda: codes.append(engine.containers.get(container.id).wait())) for _ in "123"]
    for waiter in waiters:
        waiter.start()
    container.kill("TERM")
    for waiter in waiters:
        waiter.join(60)
    assert codes == [7, 7, 7]


def test_next_exit(engine: minidock.Engine, busybox: str) -> None:
    """It does not count what has ended already."""
    container = engine.containers.create(busybox, ["sh", "-c", "exit 4"])
    with pytest.raises(Timeout):
        container.wait(0.05, condition="next-exit")
    codes: list[int] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        codes.append(engine.containers.get(container.id).wait(60, condition="next-exit"))

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiting.wait()
    while waiter.is_alive():
        container.start()
        container.wait()
        waiter.join(0.2)
    assert codes == [4]


def test_removed(engine: minidock.Engine, busybox: str) -> None:
    container = trapping(engine, remove=True)
    other = engine.containers.get(container.id)
    container.kill("TERM")
    assert other.wait(60, condition="removed") == 7
    with pytest.raises(ContainerNotFound):
        engine.containers.get(container.id)


def test_each_end_counts_while_it_is_restarted(engine: minidock.Engine, busybox: str) -> None:
    """As in Docker: the next end is waited for, though another start follows."""
    container = started(engine, ["sh", "-c", "sleep 0.5; exit 5"], restart="always")
    for condition in ("not-running", "next-exit"):
        assert container.wait(30, condition=condition) == 5
        assert engine.containers.get(container.id).status in ("restarting", "running")
    with pytest.raises(Timeout):
        container.wait(0.1, condition="removed")
    container.stop()
    assert container.wait() in (5, 137)


@pytest.mark.parametrize("condition", ["", "nonsense", "Not-Running", "exited"])
def test_nonsense(engine: minidock.Engine, busybox: str, condition: str) -> None:
    with pytest.raises(InvalidArgument, match="condition"):
        engine.containers.create(busybox, ["true"]).wait(condition=condition)


def has_socket(pid: int) -> bool:
    """Whether a process has a socket that it was not given."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if int(link.name) > 2 and str(link.readlink()).startswith("socket:"):
                return True
    return False


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    started(engine, ["sh", "-c", "exit 3"], name="one")
    engine.containers.create("busybox", ["true"], name="two")
    done = cli("wait", "one", "nope", "two", "one")
    assert (done.returncode, done.stdout) == (1, b"3\n0\n3\n")
    assert done.stderr == b"minidock: no such container: nope\n"
    removed = started(
        engine, ["sh", "-c", "while [ ! -e /over ]; do sleep 0.1; done; exit 6"], name="three", remove=True
    )
    waiting = cli.popen("wait", "--condition", "removed", "three", stdout=subprocess.PIPE)
    wait_for(lambda: has_socket(waiting.pid), what="it to be at the supervisor's")
    removed.exec(["touch", "/over"])
    assert waiting.communicate()[0] == b"6\n"
    assert removed.id not in cli.ok("ps", "-aq", "--no-trunc")
    assert "requires at least 1 argument" in refused(cli, "wait")
    assert "must be one of" in refused(cli, "wait", "--condition", "sometimes", "one", code=125)
