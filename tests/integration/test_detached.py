"""Containers in the background: ``run -d``, ``start``, and Python's ``run(..., detach=True)``."""

from __future__ import annotations

import os
import signal

import pytest

import minidock
from minidock.errors import CommandNotExecutable, CommandNotFound, ContainerNotFound
from tests.conftest import Cli, wait_for
from tests.integration.verbs import reaches, refused, started, state


def test_python(engine: minidock.Engine, busybox: str) -> None:
    with engine.containers.run(busybox, ["sleep", "1000"], detach=True, name="one") as container:
        assert isinstance(container, minidock.Container)
        assert state(container)["Status"] == "running"
        assert engine.containers.get("one") == container
    with pytest.raises(ContainerNotFound):
        engine.containers.get("one")


def test_python_removes_at_the_end_whatever_happens(engine: minidock.Engine, busybox: str) -> None:
    with pytest.raises(ZeroDivisionError), engine.containers.run(busybox, ["sleep", "1000"], detach=True) as container:
        raise ZeroDivisionError
    assert engine.containers.list(all=True) == []
    with engine.containers.run(busybox, ["true"], detach=True) as container:
        container.wait()
        container.remove()  # nothing is left to do at the end


def test_without_with_it_stays(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.run(busybox, ["sh", "-c", "exit 3"], detach=True)
    assert isinstance(container, minidock.Container)
    assert container.wait() == 3
    assert engine.containers.list(all=True) == [container]


@pytest.mark.parametrize(
    ("command", "error"), [("nosuch", CommandNotFound), ("/etc/passwd", CommandNotExecutable), ("/etc", Exception)]
)
def test_what_cannot_be_started(engine: minidock.Engine, busybox: str, command: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        engine.containers.run(busybox, [command], detach=True, name="one")
    found = state(engine.containers.get("one"))
    assert (found["Status"], found["Pid"], found["StartedAt"][:4]) == ("created", 0, "0001")
    assert found["ExitCode"] in (126, 127)
    assert command in found["Error"]
    with pytest.raises(error):
        engine.containers.run(busybox, [command], detach=True, name="two", remove=True)
    assert [it.name for it in engine.containers.list(all=True)] == ["one"]


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    identity = cli.ok("run", "-d", "--name", "one", "busybox", "sh", "-c", "echo hello; exit 3").strip()
    assert len(identity) == 64
    assert cli.ok("wait", "one") == "3\n"
    form = "{{with .State}}{{.Status}} {{.ExitCode}} {{.Running}}{{end}} {{.RestartCount}}"
    assert cli.ok("inspect", "-f", form, identity) == "exited 3 false 0\n"
    assert cli.ok("start", "one") == "one\n"
    assert cli.ok("wait", identity[:12]) == "3\n"


@pytest.mark.parametrize(
    ("flags", "streams"),
    [
        (["-d"], "false false false false false"),
        (["-di"], "false false false true false"),
        (["-dt"], "false false false false false"),
        (["-d", "--rm", "--detach-keys", "x"], "false false false false false"),
    ],
)
def test_nothing_is_attached(cli_busybox: Cli, engine: minidock.Engine, flags: list[str], streams: str) -> None:
    cli_busybox.ok("run", *flags, "--name", "one", "busybox", "sleep", "1000")
    form = "{{with .Config}}{{.AttachStdin}} {{.AttachStdout}} {{.AttachStderr}} {{.OpenStdin}} {{.StdinOnce}}{{end}}"
    assert cli_busybox.ok("inspect", "-f", form, "one") == streams + "\n"


@pytest.mark.parametrize(
    ("flags", "streams"),
    [
        (["-i"], "true true true true true"),
        (["-a", "stdin"], "true false false false false"),
        (["-i", "-a", "stdout"], "true true false true true"),
        ([], "false true true false false"),
    ],
)
def test_what_create_records(cli_busybox: Cli, engine: minidock.Engine, flags: list[str], streams: str) -> None:
    cli_busybox.ok("create", *flags, "--name", "one", "busybox", "cat")
    form = "{{with .Config}}{{.AttachStdin}} {{.AttachStdout}} {{.AttachStderr}} {{.OpenStdin}} {{.StdinOnce}}{{end}}"
    assert cli_busybox.ok("inspect", "-f", form, "one") == streams + "\n"


def test_rm_goes_by_itself(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """No engine's process is there when it ends."""
    cli = cli_busybox
    cli.ok("run", "-d", "--rm", "--name", "one", "busybox", "sleep", "1000")
    container = engine.containers.get("one")
    directory = f"{engine.data_root}/containers/{container.id}"
    assert os.path.exists(directory)
    os.kill(state(container)["Pid"], signal.SIGKILL)
    wait_for(lambda: not os.path.exists(directory), 20, "the container's directory to go")
    assert cli.ok("ps", "-aq") == ""


def test_without_a_command_s_streams(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """It holds nothing of the caller's: a pipe of its output ends with the command."""
    done = cli_busybox("run", "-d", "--name", "one", "busybox", "sh", "-c", "while :; do echo x; sleep 0.1; done")
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1
    reaches(engine.containers.get("one"), "running")


def test_what_cannot_be_started_on_the_command_line(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """As in Docker the id is printed all the same."""
    cli = cli_busybox
    for command, code in (("nosuch", 127), ("/etc/passwd", 126)):
        done = cli("run", "-d", "--name", f"c{code}", "busybox", command)
        assert done.returncode == code
        assert len(done.stdout) == 65
        assert done.stderr.count(b"\n") == 1
        assert cli.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", f"c{code}") == f"created {code}\n"
        assert command in refused(cli, "start", f"c{code}")
    done = cli("run", "-d", "--rm", "--name", "gone", "busybox", "nosuch")
    assert done.returncode == 127
    assert refused(cli, "inspect", "gone")


def test_start(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    engine.containers.create("busybox", ["sleep", "1000"], name="one")
    exited = started(engine, ["true"], name="two")
    exited.wait()
    done = cli("start", "nope", "one", "two")
    assert (done.returncode, done.stdout) == (1, b"one\ntwo\n")
    assert done.stderr == b"minidock: no such container: nope\n"
    pid = state(engine.containers.get("one"))["Pid"]
    assert cli.ok("start", "one") == "one\n"
    assert state(engine.containers.get("one"))["Pid"] == pid
    assert "requires at least 1 argument" in refused(cli, "start")


def test_conflicts(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    for stream in ("stdin", "stdout", "STDERR"):
        text = refused(cli, "run", "-d", "-a", stream, "busybox", "true")
        assert text == "conflicting options: cannot specify both --attach and --detach"
    cli.ok("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    assert 'the container name "/one" is already in use' in refused(
        cli, "run", "-d", "--name", "one", "busybox", "true", code=125
    )
    assert cli.ok("ps", "-aq").count("\n") == 1
