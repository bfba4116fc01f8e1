"""`minidock run`, `create` and `start`: streams, terminals, signals, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Cli, wait_for
from tests.integration.terminal import Terminal


def test_output_goes_where_it_belongs(cli_busybox: Cli) -> None:
    done = cli_busybox("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["/etc/passwd"], 126),
        (["/etc"], 126),
        (["no-such-command"], 127),
        (["/no/such/file"], 127),
    ],
)
def test_exit_codes(cli_busybox: Cli, argv: list[str], code: int) -> None:
    # A shell as PID 1 ignores signals that it has no handler for: with --init it is not PID 1.
    done = cli_busybox("run", "--rm", "--init", "busybox", *argv)
    assert done.returncode == code, done.stderr
    if code in (126, 127):
        assert done.stderr.startswith(b"minidock: ")
        assert done.stderr.count(b"\n") == 1
    assert cli_busybox.ok("ps", "-aq") == ""


def test_unknown_image_is_125(cli: Cli) -> None:
    done = cli("run", "--rm", "--pull", "never", "no-such-image", "true")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.startswith(b"minidock: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["busybox", "echo", b"\xff\xfe"], b"argument \xff\xfe: not valid UTF-8"),
        (["-e", b"A=\xff", "busybox", "env"], b"argument A=\xff: not valid UTF-8"),
        (["--rootfs", "", "true"], b'invalid argument "" for "--rootfs" flag'),
        (["--rootfs", "/no/such/directory", "true"], b"/no/such/directory"),
        (["--pid", "container:nobody", "busybox", "true"], b"nobody"),
        (["--env-file", "/no/such/file", "busybox", "true"], b"/no/such/file"),
        (["--memory", "lots", "busybox", "true"], b'invalid argument "lots" for "-m, --memory" flag'),
        (["--cpuset-cpus", "0-4294967295", "busybox", "true"], b"0-4294967295"),
        (["--network", "bridge", "busybox", "true"], b"bridge"),
        (["--gpus", "all", "busybox", "true"], b"GPU"),
        (["--pull", "sometimes", "busybox", "true"], b"invalid pull option: 'sometimes'"),
        (["Bad Name", "true"], b"Bad Name"),
        (["busybox", ""], b"no command"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(cli_busybox: Cli, argv: list[str], text: bytes) -> None:
    done = cli_busybox("run", "--rm", *argv)
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.startswith(b"minidock: ")
    assert done.stderr.count(b"\n") == 1
    assert text in done.stderr
    assert b"internal error" not in done.stderr
    assert cli_busybox.ok("ps", "-aq") == ""


def test_many_arguments_and_a_large_environment(cli_busybox: Cli) -> None:
    words = [str(number) for number in range(10_000)]
    assert cli_busybox("run", "--rm", "busybox", "echo", *words).stdout == " ".join(words).encode() + b"\n"
    large = "x" * 65_536
    done = cli_busybox("run", "--rm", "-e", f"A={large}", "busybox", "sh", "-c", "echo ${#A}")
    assert done.stdout == b"65536\n"


def test_timeout(cli_busybox: Cli) -> None:
    done = cli_busybox("run", "--rm", "--timeout", "300ms", "busybox", "sleep", "60")
    assert done.returncode == 137
    assert done.stderr == b"minidock: the container was killed: it ran longer than its --timeout\n"


def test_input_is_passed_on_with_i_only(cli_busybox: Cli) -> None:
    assert cli_busybox("run", "--rm", "-i", "busybox", "cat", input=b"a\0b" * 1000).stdout == b"a\0b" * 1000
    assert cli_busybox("run", "--rm", "busybox", "cat", input=b"unread").stdout == b""


def test_large_input_and_output(cli_busybox: Cli) -> None:
    data = os.urandom(1 << 20) * 8
    assert cli_busybox("run", "--rm", "-i", "busybox", "cat", input=data).stdout == data


@pytest.mark.parametrize(
    ("flags", "out", "err"),
    [
        (["-a", "stdout"], b"out\n", b""),
        (["-a", "STDERR"], b"", b"err\n"),
        (["-a", "stdout", "-a", "stderr"], b"out\n", b"err\n"),
        (["-a", "stdin"], b"", b""),
    ],
)
def test_attach(cli_busybox: Cli, flags: list[str], out: bytes, err: bytes) -> None:
    done = cli_busybox("run", "--rm", *flags, "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, out, err)


def test_flags_reach_the_container(cli_busybox: Cli, tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("# comment\nFROM_FILE=1\n")
    script = "echo $A $B $FROM_FILE $(hostname) $(pwd) $(id -u)"
    flags = ["-e", "A=x y", "-eB", "--env-file", str(env_file), "-h", "box", "-w", "/tmp", "-u", "1000"]
    done = cli_busybox("run", "--rm", *flags, "busybox", "sh", "-c", script, env={"B": "caller"})
    assert done.stdout == b"x y caller 1 box /tmp 1000\n", done.stderr


def test_variable_that_the_caller_lacks_is_left_out(cli_busybox: Cli) -> None:
    done = cli_busybox("run", "--rm", "-e", "MD_NOT_SET_ANYWHERE", "busybox", "env")
    assert done.returncode == 0
    assert b"MD_NOT_SET" not in done.stdout


def test_cidfile(cli_busybox: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    cli_busybox.ok("run", "--cidfile", str(file), "busybox", "true")
    assert cli_busybox.ok("ps", "-aq", "--no-trunc") == file.read_text().strip() + "\n"
    again = cli_busybox("run", "--cidfile", str(file), "busybox", "true")
    assert again.returncode == 125
    cli_busybox.ok("rm", file.read_text().strip())


def test_name_in_use(cli_busybox: Cli) -> None:
    cli_busybox.ok("create", "--name", "one", "busybox")
    done = cli_busybox("run", "--name", "one", "busybox")
    assert done.returncode == 125
    assert b"one" in done.stderr
    assert done.stderr.count(b"\n") == 1
    cli_busybox.ok("rm", "one")


def test_create_then_start(cli_busybox: Cli) -> None:
    identity = cli_busybox.ok("create", "--name", "cc", "-i", "busybox", "sh", "-c", "cat; exit 4").strip()
    assert len(identity) == 64
    done = cli_busybox("start", "-a", "-i", "cc", input=b"hello")
    assert (done.returncode, done.stdout) == (4, b"hello")
    assert cli_busybox.ok("start", "cc") == "cc\n"
    # Its input stays open for who attaches.
    assert cli_busybox.ok("ps", "--format", "{{.State}}") == "running\n"
    assert cli_busybox("attach", "cc", input=b"again").stdout == b"again"
    wait_for(lambda: "exited" in cli_busybox.ok("ps", "-a", "--format", "{{.State}}"))
    done = cli_busybox("start", "cc", "missing")
    assert (done.returncode, done.stdout) == (1, b"cc\n")
    assert b"missing" in done.stderr
    cli_busybox.ok("rm", "--force", "cc")


def _until(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Read the process's stdout up to ``text``."""
    assert process.stdout is not None
    seen = b""
    while text not in seen:
        piece = os.read(process.stdout.fileno(), 1000)
        assert piece, f"ended after {seen!r}"
        seen += piece


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
)
def test_signals_are_passed_on(cli_busybox: Cli, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    process = cli_busybox.popen("run", "--rm", "busybox", "sh", "-c", script, stdout=subprocess.PIPE)
    _until(process, b"ready\n")
    process.send_signal(number)
    _until(process, f"got {name}\n".encode())
    assert process.wait(60) == 9
    assert process.stdout is not None
    process.stdout.close()


def test_third_interrupt_ends_the_command_only(cli_busybox: Cli) -> None:
    argv = ["run", "--name", "deaf", "busybox", "sh", "-c", "echo ready; exec sleep 300"]
    process = cli_busybox.popen(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _until(process, b"ready\n")
    for _ in range(3):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    while process.poll() is None:  # two of them may have been one to a process that had not run in between
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"got 3 SIGTERM/SIGINTs" in err
    assert cli_busybox.ok("ps", "--format", "{{.Names}}") == "deaf\n"
    assert cli_busybox.ok("rm", "-f", "deaf") == "deaf\n"


def test_without_proxy_a_signal_is_the_command_s(cli_busybox: Cli) -> None:
    argv = ["run", "--sig-proxy=false", "--name", "stays", "busybox", "sh", "-c", "echo ready; exec sleep 300"]
    process = cli_busybox.popen(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _until(process, b"ready\n")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, b"")
    assert cli_busybox.ok("ps", "-q") != ""
    cli_busybox.ok("rm", "-f", "stays")


@pytest.mark.parametrize("pause", [0, 0.5])
def test_a_reader_that_goes_away(cli_busybox: Cli, pause: float) -> None:
    """The container meets the broken pipe, also one that was full; the command says nothing about it."""
    process = cli_busybox.popen("run", "--rm", "busybox", "yes", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _until(process, b"y\n")
    assert process.stdout is not None
    assert process.stderr is not None
    time.sleep(pause)
    process.stdout.close()
    assert process.wait(30) != 0
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_terminal(cli_busybox: Cli) -> None:
    it = Terminal(cli_busybox, "run", "--rm", "-it", "busybox", "sh")
    it.write(b"tty; stty size; echo sum=$((40+2))\n")
    it.read_until(b"sum=42")
    assert b"/dev/pts/0" in it.seen
    assert it.is_raw()
    it.resize(33, 111)
    it.write(b"sleep 0.2; stty size\n")
    it.read_until(b"33 111")
    it.write(b"exit 5\n")
    assert it.end() == 5


def test_control_c_on_a_terminal_is_the_container_s(cli_busybox: Cli) -> None:
    it = Terminal(
        cli_busybox,
        "run",
        "--rm",
        "-it",
        "busybox",
        "sh",
        "-c",
        "trap 'echo int; exit 3' INT; echo up; while :; do sleep 0.1; done",
    )
    it.read_until(b"up")
    it.write(b"\x03")
    it.read_until(b"int")
    assert it.end() == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("proxy", ["true", "false"])
def test_terminal_is_restored_after_signals(cli_busybox: Cli, number: signal.Signals, proxy: str) -> None:
    argv = [
        "run",
        "--name",
        "term",
        f"--sig-proxy={proxy}",
        "-it",
        "--init",
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 300",
    ]
    it = Terminal(cli_busybox, *argv)
    it.read_until(b"up")
    wait_for(it.is_raw)
    it.process.send_signal(number)
    assert it.end() == 128 + number
    cli_busybox.ok("rm", "-f", "term")


def test_terminal_is_restored_when_the_command_fails(cli_busybox: Cli) -> None:
    it = Terminal(cli_busybox, "run", "--rm", "-it", "busybox", "no-such-command")
    it.read_until(b"minidock: ")
    assert it.end() == 127


def test_a_tty_needs_a_terminal_for_its_input(cli_busybox: Cli) -> None:
    done = cli_busybox("run", "--rm", "-it", "busybox", "true")
    assert (done.returncode, done.stderr) == (1, b"minidock: the input device is not a TTY\n")
    assert cli_busybox.ok("ps", "-aq") == ""
    done = cli_busybox("run", "--rm", "-t", "busybox", "tty")
    assert (done.returncode, done.stdout) == (0, b"/dev/pts/0\r\n")


def test_hello_needs_no_network(cli: Cli) -> None:
    assert "minidock" in cli.ok("run", "--rm", "minidock/hello")


def test_rootfs_of_the_host(cli: Cli) -> None:
    marker = Path("/var/tmp/minidock-rootfs-marker")
    assert not marker.exists()
    cli.ok("run", "--rm", "--rootfs", "/", "sh", "-c", f"test -e /usr/bin/env && touch {marker} && rm -rf /usr/bin")
    assert not marker.exists()
    assert Path("/usr/bin/env").exists()


def test_warnings_can_be_hidden(cli_busybox: Cli) -> None:
    shown = cli_busybox("run", "--rm", "--oom-kill-disable", "busybox", "true")
    hidden = cli_busybox("--log-level", "error", "run", "--rm", "--oom-kill-disable", "busybox", "true")
    assert hidden.returncode == shown.returncode == 0
    assert hidden.stderr == b""
    assert all(line.startswith(b"WARNING: ") for line in shown.stderr.splitlines())
