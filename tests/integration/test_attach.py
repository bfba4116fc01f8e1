"""``attach``, ``start --attach``, and the detach keys."""

from __future__ import annotations

import os
import subprocess

import pytest

import minidock
from minidock.errors import Conflict, InvalidArgument
from tests.conftest import Cli, wait_for
from tests.integration.terminal import Terminal
from tests.integration.verbs import reaches, refused, started, state, trapping

ECHO = ["sh", "-c", 'echo up; while read line; do echo "got $line"; echo "err $line" >&2; done; echo end; exit 6']
WAITS = ["sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done; echo out; echo err >&2; exit 9"]


def go(container: minidock.Container) -> None:
    """Let a container that runs :data:`WAITS` go on."""
    with open(f"/proc/{state(container)['Pid']}/root/go", "w"):
        pass


def until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """Read a process's stdout until ``text`` is in it."""
    assert process.stdout is not None
    seen = b""
    while text not in seen:
        piece = os.read(process.stdout.fileno(), 1000)
        assert piece, f"ended after {seen!r}"
        seen += piece
    return seen


def attached(cli: Cli, *argv: str, container: minidock.Container | None = None) -> subprocess.Popen[bytes]:
    """``attach`` with pipes; returns when it is connected, which the event that it leaves tells."""
    process = cli.popen(
        "attach", *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    wait_for(lambda: "attach" in cli.ok("events", "--since", "0", "--until", "0s", "--format", "{{.Action}}"), 20)
    return process


def test_output_and_exit_code(cli_busybox: Cli, engine: minidock.Engine) -> None:
    container = started(engine, WAITS, name="one")
    process = attached(cli_busybox, "one")
    go(container)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (9, b"out\n", b"err\n")


def test_input_and_its_end(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """``create -i``: the end of the first client's input is the end of the container's."""
    cli = cli_busybox
    cli.ok("create", "-i", "--name", "one", "busybox", *ECHO)
    cli.ok("start", "one")
    process = cli.popen(
        "attach", "one", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    process.stdin.write(b"a line\n")
    assert until(process, b"got a line\n") in (b"up\ngot a line\n", b"got a line\n")
    process.stdin.write(b"another\nunfinished")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (6, b"got another\nend\n")
    assert err == b"err a line\nerr another\n"


def test_input_of_a_detached_container_stays_open(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """``run -d -i``: one client's end of input is not the container's."""
    cli = cli_busybox
    cli.ok("run", "-d", "-i", "--name", "one", "busybox", *ECHO)
    for word in ("first", "second"):
        process = cli.popen("attach", "one", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert process.stdin is not None
        process.stdin.write(f"{word}\n".encode())
        until(process, f"got {word}\n".encode())
        process.stdin.close()
        assert cli.ok("inspect", "-f", "{{.State.Status}}", "one") == "running\n"
        process.kill()
        process.wait()


def test_no_stdin(cli_busybox: Cli, engine: minidock.Engine) -> None:
    container = engine.containers.create(
        "busybox", ["sh", "-c", "touch /ready; cat; exit 5"], name="one", stdin_open=True
    )
    container.start()
    process = attached(cli_busybox, "--no-stdin", "one")
    assert process.stdin is not None
    process.stdin.write(b"nobody reads this\n")
    process.stdin.close()
    container.stop(timeout=0)
    assert process.wait(60) == 137
    assert process.stdout is not None
    assert process.stdout.read() == b""


def test_several_see_the_same(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    cli.ok("run", "-d", "-i", "--name", "one", "busybox", *ECHO)
    clients = [cli.popen("attach", "one", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) for _ in "12"]
    for number, client in enumerate(clients):  # each writes once it is connected, and the first sees both
        assert client.stdin is not None
        client.stdin.write(f"line {number}\n".encode())
        until(client, f"got line {number}\n".encode())
    until(clients[0], b"got line 1\n")
    cli.ok("kill", "one")
    assert [client.wait(60) for client in clients] == [137, 137]


def test_signals_are_passed_on(cli_busybox: Cli, engine: minidock.Engine) -> None:
    trapping(engine, name="one")
    process = attached(cli_busybox, "one")
    process.send_signal(10)
    assert process.wait(60) == 8


def test_without_proxy_a_signal_is_the_command_s(cli_busybox: Cli, engine: minidock.Engine) -> None:
    container = trapping(engine, name="one")
    process = attached(cli_busybox, "--sig-proxy=false", "one")
    process.send_signal(15)
    assert process.wait(60) == 143
    assert state(container)["Status"] == "running"


def test_its_end_is_not_the_container_s(cli_busybox: Cli, engine: minidock.Engine) -> None:
    container = trapping(engine, name="one")
    process = attached(cli_busybox, "one")
    process.kill()
    process.wait()
    assert state(container)["Status"] == "running"
    container.stop()
    assert state(container)["ExitCode"] == 7


@pytest.mark.parametrize(
    ("flags", "keys"),
    [([], b"\x10\x11"), (["--detach-keys", "ctrl-a,b"], b"\x01b"), (["--detach-keys", "x"], b"x")],
)
def test_detach_keys_of_attach(cli_busybox: Cli, engine: minidock.Engine, flags: list[str], keys: bytes) -> None:
    """As in Docker the command says so, and ends with 1."""
    cli = cli_busybox
    cli.ok("run", "-dit", "--name", "one", "busybox", "sh")
    it = Terminal(cli, "attach", *flags, "one")
    it.write(b"echo sum=$((40+2))\n")
    it.read_until(b"sum=42")
    it.write(keys)
    it.read_until(b"read escape sequence")
    assert it.end() == 1
    assert cli.ok("inspect", "-f", "{{.State.Status}}", "one") == "running\n"
    again = Terminal(cli, "attach", "one")
    again.write(b"exit 4\n")
    assert again.end() == 4


def test_keys_that_are_not_the_whole_sequence_are_the_container_s(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    cli.ok(
        "run",
        "-dit",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "stty raw -echo; echo up; dd bs=1 count=3 2>/dev/null | od -c",
    )
    it = Terminal(cli, "attach", "--detach-keys", "ctrl-p,x", "one")
    it.write(b"\x10\x10a")
    it.read_until(b"020 020   a")
    assert it.end() == 0


@pytest.mark.parametrize("verb", ["run", "start"])
def test_detach_keys_of_run_and_start(cli_busybox: Cli, engine: minidock.Engine, verb: str) -> None:
    cli = cli_busybox
    if verb == "run":
        it = Terminal(cli, "run", "-it", "--name", "one", "busybox", "sh")
    else:
        cli.ok("create", "-it", "--name", "one", "busybox", "sh")
        it = Terminal(cli, "start", "-ai", "one")
    it.write(b"echo sum=$((40+2))\n")
    it.read_until(b"sum=42")
    it.write(b"\x10\x11")
    assert it.end() == 0
    assert b"escape" not in it.seen
    assert cli.ok("ps", "--format", "{{.Names}}") == "one\n"


def test_start_attached_to_one_that_runs(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """As in Docker it is attached to what is running."""
    container = started(engine, WAITS, name="one")
    process = cli_busybox.popen("start", "-a", "one", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(
        lambda: "attach" in cli_busybox.ok("events", "--since", "0", "--until", "0s", "--format", "{{.Action}}"), 20
    )
    go(container)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (9, b"out\n", b"err\n")


def test_start_attached(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    cli.ok("create", "--name", "one", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    for flags in (["-a"], ["-i"], ["-ai"], ["-a", "--detach-keys", "x"]):
        done = cli("start", *flags, "one")
        assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_states(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    created = engine.containers.create("busybox", ["true"], name="created")
    exited = started(engine, ["true"], name="exited")
    exited.wait()
    for container in (created, exited):
        with pytest.raises(Conflict, match=f"container {container.id} is not running"):
            container.attach()
        assert refused(cli, "attach", container.name) == "you cannot attach to a stopped container, start it first"
    paused = started(engine, name="paused")
    paused.pause()
    assert refused(cli, "attach", "paused") == "you cannot attach to a paused container, unpause it first"
    looping = started(engine, ["sh", "-c", "exit 5"], name="looping", restart="always")
    reaches(looping, "restarting", 5)
    text = refused(cli, "attach", "looping")
    assert text == "you cannot attach to a restarting container, wait until it is running"
    looping.stop()
    started(engine, name="tty", tty=True)
    assert refused(cli, "attach", "tty") == "the input device is not a TTY"


def test_nonsense(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    container = started(engine, name="one")
    assert refused(cli, "attach", "nope") == "no such container: nope"
    assert "requires 1 argument" in refused(cli, "attach")
    assert "requires 1 argument" in refused(cli, "attach", "one", "two")
    assert refused(cli, "start", "-a", "one", "one") == "you cannot start and attach multiple containers at once"
    for verb in (["attach"], ["start", "-a"], ["start"], ["run"], ["run", "-d"]):
        text = refused(cli, *verb, "--detach-keys", "ctrl-nope", "one", code=125)
        assert 'invalid argument "ctrl-nope" for "--detach-keys" flag: ' in text
    with pytest.raises(InvalidArgument, match="detach keys"):
        container.attach(detach_keys="ctrl-nope")
    assert state(container)["Status"] == "running"
