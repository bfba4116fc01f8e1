"""Streams of running containers in Python's hands, owners, and containers as context managers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

import minidock
from minidock.errors import Conflict, ContainerNotFound, InvalidArgument, Timeout
from tests.conftest import Roots, security_module, wait_for

ECHO = ["sh", "-c", "while read line; do echo got $line; echo err $line >&2; done; echo end"]


def joined(attachment: minidock.Attachment, stream: str) -> bytes:
    return b"".join(piece.data for piece in attachment if piece.stream == stream)


def test_input_and_output_of_two_clients(engine: minidock.Engine, busybox: str) -> None:
    with (
        engine.containers.run(busybox, ECHO, detach=True, stdin_open=True) as container,
        container.attach_streams(stdin=True) as first,
        container.attach_streams() as second,
    ):
        first.write(b"one\n")
        first.write(b"two\n")
        first.close_stdin()
        seen: list[bytes] = []
        reader = threading.Thread(target=lambda: seen.append(joined(second, "stdout")))
        reader.start()
        pieces = list(first)
        reader.join()
        out = b"".join(piece.data for piece in pieces if piece.stream == "stdout")
        err = b"".join(piece.data for piece in pieces if piece.stream == "stderr")
        assert out == seen[0] == b"got one\ngot two\nend\n"
        assert err == b"err one\nerr two\n"
        assert container.wait(60) == 0


def test_the_input_stays_open_for_the_next_client_unless_it_is_for_one(engine: minidock.Engine, busybox: str) -> None:
    with engine.containers.run(busybox, ECHO, detach=True, stdin_open=True) as container:
        with container.attach_streams(stdin=True) as attachment:
            attachment.close_stdin()
            assert joined(attachment, "stdout") == b"end\n"
        assert container.wait(60) == 0


def test_a_megabyte_comes_back_whole(engine: minidock.Engine, busybox: str) -> None:
    data = os.urandom(1 << 20)
    with (
        engine.containers.run(busybox, "cat", detach=True, stdin_open=True) as container,
        container.attach_streams(stdin=True) as attachment,
    ):

        def feed() -> None:
            attachment.write(data)
            attachment.close_stdin()

        writer = threading.Thread(target=feed)
        writer.start()
        assert joined(attachment, "stdout") == data
        writer.join()


def test_a_client_that_does_not_read_holds_the_container_and_not_its_end(engine: minidock.Engine, busybox: str) -> None:
    script = "head -c 3000000 /dev/zero; echo done >&2"
    container = engine.containers.create(busybox, ["sh", "-c", f"read go; {script}"], stdin_open=True)
    container.start()
    with container.attach_streams(stdin=True) as slow:
        slow.write(b"go\n")
        with pytest.raises(Timeout):
            container.wait(0.5)
        container.stop(timeout=0)
        assert container.status == "exited"
        got = joined(slow, "stdout")
        assert 0 < len(got) < 3_000_000
        assert not got.strip(b"\0")
    container.remove()


def test_a_reading_iterator_can_wait_for_a_limited_time(engine: minidock.Engine, busybox: str) -> None:
    with engine.containers.run(busybox, "sleep 100", detach=True) as container:
        with container.attach_streams() as attachment, pytest.raises(Timeout):
            list(attachment.read(timeout=0.05))
        with container.attach_streams() as attachment, pytest.raises(Conflict, match="not attached"):
            attachment.write(b"x")


def test_what_does_not_run_has_no_streams(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, "true")
    with pytest.raises(Conflict, match="is not running"):
        container.attach_streams()
    container.start()
    container.wait(60)
    with pytest.raises(Conflict, match="is not running"):
        container.attach_streams()


def test_a_with_block_removes(engine: minidock.Engine, busybox: str) -> None:
    with pytest.raises(ZeroDivisionError), engine.containers.run(busybox, "sleep 100", detach=True) as container:
        raise ZeroDivisionError
    with pytest.raises(ContainerNotFound):
        container.reload()
    with engine.containers.run(busybox, "sleep 100", detach=True) as container:
        container.remove(force=True)


OWNER = """
import os, sys, time, minidock
engine = minidock.Engine(data_root=sys.argv[1], run_root=sys.argv[2], config=sys.argv[3])
container = engine.containers.run("busybox", "sleep 100", detach=True, owner="process", name="owned")
print(container.id, flush=True)
eval(sys.argv[4])
"""


@pytest.mark.parametrize("end", ["os._exit(3)", "sys.exit()", "os.kill(os.getpid(), 9)"])
def test_a_container_ends_with_its_owner_however_that_ends(
    engine: minidock.Engine, busybox: str, roots: Roots, end: str
) -> None:
    arguments = [sys.executable, "-c", OWNER, str(roots.data), str(roots.run), str(roots.config), end]
    made = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=60)
    container_id = made.stdout.strip()
    assert len(container_id) == 64, made.stderr
    # Nobody asks the engine: the supervisor and its exit command do it.
    wait_for(lambda: engine.store.containers.find(container_id) is None)
    wait_for(lambda: not (roots.run / "containers" / container_id).exists())


def test_the_supervisor_of_an_owned_container_may_be_killed_too(
    engine: minidock.Engine, busybox: str, roots: Roots
) -> None:
    from minidock.containers import liveness

    container = engine.containers.run(busybox, "sleep 100", detach=True, owner="process")
    file = liveness.pid_file(engine.lifecycle.paths.run_container(container.id))
    assert file is not None
    os.kill(file.supervisor, signal.SIGKILL)
    if not security_module():
        wait_for(lambda: not liveness.alive(file.pid, file.start_time))
    container.reload()
    assert (container.status, container.state.exit_code) == ("exited", 137)
    assert not liveness.alive(file.pid, file.start_time)
    container.remove()


def test_an_owner_that_is_none(engine: minidock.Engine, busybox: str) -> None:
    with pytest.raises(InvalidArgument, match="'process' or 'none'"):
        engine.containers.create(busybox, owner="parent")


def test_detach_excludes_what_is_for_waiting(engine: minidock.Engine, busybox: str) -> None:
    run: object = engine.containers.run
    for option in ({"input": b"x"}, {"check": True}, {"output_limit": 5}):
        with pytest.raises(InvalidArgument, match="detach"):
            run(busybox, "true", detach=True, **option)  # type: ignore[operator]
    assert engine.containers.list(all=True) == []
