"""``exec``: one more command in a running container, from the API and the command line."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock import _native, errors
from minidock.containers import exec_records
from minidock.containers.container import Container
from minidock.containers.runtime_spec import cgroups_path
from tests.conftest import Cli, Roots, wait_for


@pytest.fixture
def container(engine: minidock.Engine, busybox: str) -> Container:
    """A container that runs and does nothing."""
    made = engine.containers.create(
        busybox, ["sleep", "1000"], name="box", environment=["A=1", "B=2", "TERM=dumb"], working_dir="/tmp"
    )
    made.start()
    return made


@pytest.fixture
def box(cli_busybox: Cli) -> Iterator[Cli]:
    """The command, with a running container ``box``."""
    cli_busybox.ok("run", "-d", "--name", "box", "-e", "A=1", "-e", "B=2", "-w", "/tmp", "busybox", "sleep", "1000")
    yield cli_busybox
    cli_busybox("rm", "-f", "box")


def groups() -> list[str]:
    """Every cgroup of an exec that is there."""
    return [
        os.path.join(top, name)
        for top, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith("exec-") and "/mdt-" in top
    ]


def processes(container: Container) -> list[str]:
    """Command lines of what runs in a container, PID 1 excepted."""
    found = []
    for pid in _native.cgroup_processes(cgroups_path(container.record)):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
    return sorted(line for line in found if line != "sleep 1000")


# The API


def test_streams_code_and_usage(container: Container) -> None:
    result = container.exec(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (result.stdout, result.stderr, result.exit_code, result.signal) == (b"out\n", b"err\n", 7, None)
    assert not result.timed_out
    assert result.usage.wall_seconds > 0
    assert result.usage.memory_peak > 0
    killed = container.exec("sh -c 'kill -9 $$'")
    assert (killed.exit_code, killed.signal) == (137, 9)
    wait_for(lambda: groups() == [])


def test_input_and_much_output(container: Container) -> None:
    assert container.exec(["cat"]).stdout == b""
    data = os.urandom(1 << 20) * 8
    result = container.exec(["tee", "/dev/stderr"], input=data)
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()
    assert result.stderr == result.stdout
    # A command that does not read all of it is no error.
    assert container.exec(["head", "-c", "3"], input=data).stdout == data[:3]


def test_output_over_the_limit_kills_all_of_it(container: Container) -> None:
    with pytest.raises(errors.LimitExceeded, match="longer than 1000 bytes"):
        container.exec(["sh", "-c", "sleep 500 & yes"], output_limit=1000)
    wait_for(lambda: processes(container) == [])


def test_check(container: Container) -> None:
    with pytest.raises(errors.ContainerFailed, match="exit code 3") as failed:
        container.exec(["sh", "-c", "echo why; exit 3"], check=True)
    assert failed.value.result.stdout == b"why\n"
    assert failed.value.exit_code == 3


@pytest.mark.parametrize(
    ("command", "options", "error", "code"),
    [
        (["nope"], {}, errors.CommandNotFound, 127),
        (["/no/such"], {}, errors.CommandNotFound, 127),
        ([""], {}, errors.CommandNotFound, 127),
        (["/etc/passwd"], {}, errors.CommandNotExecutable, 126),
        (["/etc"], {}, errors.CommandNotExecutable, 126),
        (["true"], {"workdir": "/no/such"}, errors.NotFound, 127),
        (["true"], {"workdir": "/etc/passwd"}, errors.NotFound, 127),
        (["true"], {"workdir": "relative"}, errors.InvalidArgument, 128),
        (["true"], {"user": "nobody-here"}, errors.NotFound, 125),
        (["true"], {"user": ":"}, errors.InvalidArgument, 125),
        (["true"], {"user": "2147483648"}, errors.InvalidArgument, 125),
        ([], {}, errors.InvalidArgument, 125),
        (["a\0b"], {}, errors.InvalidArgument, 125),
        (b"true", {}, errors.InvalidArgument, 125),
        (["true"], {"environment": ["=x"]}, errors.InvalidArgument, 125),
        (["true"], {"env_file": "/no/such/file"}, errors.InvalidArgument, 125),
        (["true"], {"timeout": 0}, errors.InvalidArgument, 125),
        (["true"], {"timeout": "soon"}, errors.InvalidArgument, 125),
        (["true"], {"input": "text"}, errors.InvalidArgument, 125),
        (["true"], {"output_limit": -1}, errors.InvalidArgument, 125),
    ],
)
def test_mistakes(
    container: Container, command: object, options: dict[str, object], error: type[errors.MinidockError], code: int
) -> None:
    with pytest.raises(error) as raised:
        container.exec(command, **options)  # type: ignore[call-overload]
    assert raised.value.exit_code == code
    assert "\n" not in str(raised.value)
    wait_for(lambda: groups() == [])
    assert processes(container) == []


def test_states(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "1000"])
    with pytest.raises(errors.Conflict, match=f"container {container.id} is not running"):
        container.exec(["true"])
    container.start()
    container.pause()
    with pytest.raises(errors.Conflict, match="is paused, unpause the container before exec"):
        container.exec(["true"])
    container.unpause()
    assert container.exec(["true"]).exit_code == 0
    container.kill()
    container.wait()
    with pytest.raises(errors.Conflict, match="is not running"):
        container.exec(["true"])
    container.remove()
    with pytest.raises(errors.ContainerNotFound):
        container.exec(["true"])


def env(container: Container, **options: object) -> dict[str, str]:
    text = container.exec(["env"], **options).stdout.decode()  # type: ignore[call-overload]
    return dict(line.rstrip("\r").split("=", 1) for line in text.splitlines())


def test_environment(container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "here")
    monkeypatch.delenv("B", raising=False)
    file = tmp_path / "env"
    file.write_text("# comment\nA=file\nC=file\nFROM_HERE\n")
    plain = env(container)
    assert plain == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": container.short_id,
        "A": "1",
        "B": "2",
        "TERM": "dumb",
        "HOME": "/root",
    }
    # What is nearer wins; a name alone takes the caller's variable, or the container's away.
    found = env(container, environment=["C=option", "B", "D="], env_file=str(file))
    assert {key: found.get(key) for key in "ABCD"} == {"A": "file", "B": None, "C": "option", "D": ""}
    assert found["FROM_HERE"] == "here"
    assert env(container, environment={"A": "mapped"})["A"] == "mapped"
    # The container's own TERM counts for a terminal, too.
    assert env(container, tty=True)["TERM"] == "dumb"


def test_a_large_environment(container: Container) -> None:
    many = {f"V{number}": "x" * 1000 for number in range(300)}
    assert container.exec(["sh", "-c", "echo $V299"], environment=many).stdout == b"x" * 1000 + b"\n"
    with pytest.raises(errors.MinidockError, match="argument list too long"):
        container.exec(["true"], environment={"V": "x" * (1 << 18)})


def test_term_with_a_terminal_only(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "1000"], tty=True)
    container.start()
    assert "TERM" not in env(container)
    assert env(container, tty=True)["TERM"] == "xterm"
    assert env(container, tty=True, environment=["TERM=vt100"])["TERM"] == "vt100"


@pytest.mark.parametrize(
    ("user", "ids", "home"),
    [
        (None, "uid=0 gid=0 groups=0,10", "/root"),
        ("app", "uid=1000 gid=1000 groups=1000,10,29", "/home/app"),
        ("1000:audio", "uid=1000 gid=29 groups=29", "/home/app"),
        (4242, "uid=4242 gid=0 groups=0", "/"),
        ("4242:4343", "uid=4242 gid=4343 groups=4343", "/"),
    ],
)
def test_users(container: Container, user: str | int | None, ids: str, home: str) -> None:
    script = 'echo "uid=$(id -u) gid=$(id -g) groups=$(id -G | tr " " ,)"; echo $HOME'
    lines = container.exec(["sh", "-c", script], user=user).stdout.decode().split("\n")
    assert (lines[0], lines[1]) == (ids, home)


def test_the_containers_user_and_groups_are_the_default(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "1000"], user="app", group_add=["4711"])
    container.start()
    assert b"4711" in container.exec(["id", "-G"]).stdout.split()
    assert container.exec(["id", "-u"]).stdout == b"1000\n"
    assert b"4711" in container.exec(["id", "-G"], user="root").stdout.split()


def test_workdir(container: Container) -> None:
    assert container.exec(["pwd"]).stdout == b"/tmp\n"
    assert container.exec(["pwd"], workdir="/etc/../usr/bin/").stdout == b"/usr/bin\n"
    with pytest.raises(errors.NotFound, match="change directory /made"):
        container.exec(["pwd"], workdir="/made")
    assert container.exec(["ls", "/made"]).exit_code == 1


def status(container: Container, **options: object) -> dict[str, str]:
    text = container.exec(["cat", "/proc/self/status"], **options).stdout.decode()  # type: ignore[call-overload]
    return {line.split(":")[0]: line.split(":")[1].strip() for line in text.splitlines()}


def test_privileged_has_all_capabilities_and_the_containers_filter(container: Container) -> None:
    own = int(Path("/proc/self/status").read_text().split("CapBnd:")[1].split()[0], 16)
    plain, privileged = status(container), status(container, privileged=True)
    assert int(plain["CapEff"], 16) == 0xA80425FB & own
    assert int(privileged["CapEff"], 16) == int(privileged["CapBnd"], 16) == own
    assert int(privileged["CapInh"], 16) == int(privileged["CapAmb"], 16) == 0
    assert plain["Seccomp"] == privileged["Seccomp"] == "2"


def test_what_is_the_containers_holds(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(
        busybox,
        ["sleep", "1000"],
        security_opt=["no-new-privileges"],
        ulimits=["nofile=77:99"],
        oom_score_adj=321,
        pids_limit=12,
        read_only=True,
        cap_drop=["ALL"],
        hostname="inside",
    )
    container.start()
    found = status(container)
    assert (found["NoNewPrivs"], int(found["CapBnd"], 16)) == ("1", 0)
    script = "ulimit -n; cat /proc/self/oom_score_adj; hostname; touch /x || echo read-only; ls /proc/1/exe"
    assert container.exec(["sh", "-c", script]).stdout.split()[:4] == [b"77", b"321", b"inside", b"read-only"]
    bomb = container.exec(["sh", "-c", "for i in $(seq 30); do sleep 20 & done; wait"], timeout=2)
    assert b"fork" in bomb.stderr


def test_a_time_limit_kills_all_of_it(container: Container) -> None:
    script = "setsid sleep 501 & trap '' TERM; sleep 502"
    result = container.exec(["sh", "-c", script], timeout=2)
    assert (result.exit_code, result.signal, result.timed_out) == (137, 9, True)
    assert processes(container) == []
    wait_for(lambda: groups() == [])


def test_what_is_left_in_the_background_lives_on(container: Container) -> None:
    # As Docker: the end of the output is waited for, not that of what has none of it.
    started = container.exec(["sh", "-c", "(sleep 0.5; echo late) & echo hi"])
    assert started.stdout == b"hi\nlate\n"
    assert container.exec(["sh", "-c", "sleep 503 >/dev/null 2>&1 </dev/null & echo up"]).stdout == b"up\n"
    wait_for(lambda: groups() == [])
    assert processes(container) == ["sleep 503"]


def test_the_end_of_the_container_is_the_end_of_the_exec(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "2"])
    container.start()
    result = container.exec(["sleep", "1000"])
    assert (result.exit_code, result.signal) == (137, 9)
    container.wait(30)
    container.remove()


def test_in_the_hosts_pid_namespace(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "1000"], pid_mode="host")
    container.start()
    assert int(container.exec(["sh", "-c", "echo $$"]).stdout) > 2
    left = container.exec(["sh", "-c", "sleep 504 >/dev/null 2>&1 </dev/null & echo $!"])
    assert int(left.stdout)
    container.remove(force=True)
    wait_for(lambda: not Path(f"/proc/{int(left.stdout)}").exists())


def test_with_remapped_ids(engine: minidock.Engine, busybox: str) -> None:
    try:
        container = engine.containers.create(busybox, ["sleep", "1000"], userns_mode="remap")
    except errors.MinidockError as error:
        pytest.skip(f"no subordinate ids: {error}")
    container.start()
    result = container.exec(["sh", "-c", "id -u; cat /proc/self/uid_map; touch /root/x"])
    assert result.exit_code == 0
    assert result.stdout.split()[0] == b"0"
    assert result.stdout.split()[2] != b"0"
    assert int(status(container, privileged=True)["CapEff"], 16) & (1 << 21)


def test_in_a_container_of_another_runtime(engine: minidock.Engine, busybox: str) -> None:
    helper = str(Path(minidock.__file__).with_name("_bin") / "minidock-runtime")
    container = engine.containers.create(busybox, ["sleep", "1000"], runtime=helper, environment=["A=1"], user="app")
    container.start()
    result = container.exec(["sh", "-c", "echo $A $HOME; id -u; exit 4"])
    assert (result.stdout, result.exit_code) == (b"1 /home/app\n1000\n", 4)
    assert status(container)["Seccomp"] == "2"
    assert container.exec(["sh", "-c", "echo $HOME"], user="root").stdout == b"/root\n"
    assert container.exec(["sleep", "100"], timeout=2).timed_out


def test_many_at_once(container: Container) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: container.exec(["sh", "-c", f"echo {n}"]).stdout, range(60)))
    assert results == [f"{n}\n".encode() for n in range(60)]
    wait_for(lambda: groups() == [])


# In the background, and by id


def test_detached_lives_on_and_can_be_asked_for(engine: minidock.Engine, container: Container) -> None:
    script = "until [ -e /tmp/go ]; do sleep 0.05; done; exit 5"
    started = container.exec(["sh", "-c", script], detach=True, user="app", privileged=True)
    found = engine.execs.get(started.id).inspect()
    assert (found.running, found.exit_code, found.container_id) == (True, None, container.id)
    process = found.process_config
    assert (process.entrypoint, process.arguments, process.user) == ("sh", ["-c", script], "app")
    assert process.privileged
    assert not process.tty
    assert os.path.exists(f"/proc/{found.pid}")
    assert exec_records.ids(engine.lifecycle, container.id) == [started.id]
    with pytest.raises(errors.Timeout):
        engine.execs.get(started.id).wait(0.01)
    Path(f"/proc/{container.state.pid}/root/tmp/go").touch()
    assert started.wait(30) == 5
    ended = started.inspect()
    assert (ended.running, ended.exit_code, ended.pid) == (False, 5, found.pid)
    assert exec_records.ids(engine.lifecycle, container.id) is None
    with pytest.raises(errors.CommandNotFound):
        container.exec(["nope"], detach=True)
    container.remove(force=True)
    engine.execs.create  # noqa: B018 - what is left of the record goes with the next exec
    wait_for(lambda: groups() == [])


def test_detached_survives_its_caller(container: Container, roots: Roots) -> None:
    code = (
        "import minidock, sys\n"
        f"e = minidock.Engine(config={str(roots.config)!r})\n"
        f"e.containers.get({container.id!r}).exec(['sleep', '505'], detach=True)\n"
    )
    subprocess.run([sys.executable, "-c", code], env=roots.env, check=True, timeout=60)
    assert processes(container) == ["sleep 505"]


def test_created_then_started(engine: minidock.Engine, container: Container) -> None:
    made = engine.execs.create(
        "box", ["sh", "-c", "cat; stty size; exit 6"], stdin=True, stdout=True, detach_keys="ctrl-a,b", tty=False
    )
    before = made.inspect()
    assert (before.running, before.exit_code, before.pid) == (False, None, 0)
    assert (before.open_stdin, before.open_stdout, before.open_stderr) == (True, True, False)
    assert before.detach_keys == "AWI="
    assert exec_records.ids(engine.lifecycle, container.id) == [made.id]
    read, write = os.pipe()
    out_read, out_write = os.pipe()
    again = engine.execs.get(made.id)
    again.start(stdin=read, stdout=out_write, stderr=out_write)
    os.close(read)
    os.close(out_write)
    with pytest.raises(errors.Conflict, match="has already run"):
        engine.execs.get(made.id).start()
    os.write(write, b"typed\n")
    os.close(write)
    assert again.wait(30) == 6
    with os.fdopen(out_read, "rb") as file:
        assert file.read() == b"typed\n"  # stderr was not asked for
    assert made.inspect().exit_code == 6
    with pytest.raises(errors.Conflict, match="has already run"):
        made.start()


def test_an_exec_with_a_terminal_is_resized(engine: minidock.Engine, container: Container) -> None:
    made = engine.execs.create("box", ["sh", "-c", "read x; stty size"], stdin=True, stdout=True, tty=True)
    master, slave = pty.openpty()
    read, write = os.pipe()
    made.start(stdin=read, stdout=slave, size=(11, 22))
    made.resize(33, 44)
    os.write(write, b"\n")
    assert made.wait(30) == 0
    assert b"33 44" in os.read(master, 4096)
    for fd in (master, slave, read, write):
        os.close(fd)
    with pytest.raises(errors.Conflict):
        engine.execs.get(made.id).resize(1, 2)


def test_execs_that_are_none(engine: minidock.Engine, container: Container) -> None:
    for name in ("", "nope", "../../etc", "0" * 64):
        with pytest.raises(errors.NotFound, match="no such exec instance"):
            engine.execs.get(name)
    with pytest.raises(errors.ContainerNotFound):
        engine.execs.create("nobody", ["true"])
    made = engine.execs.create("box", ["true"])
    container.kill()
    container.wait()
    with pytest.raises(errors.Conflict, match="is not running"):
        made.start()
    with pytest.raises(errors.Conflict, match="is not running"):
        engine.execs.create("box", ["true"])


def test_a_failed_start_is_its_exit_code(engine: minidock.Engine, container: Container) -> None:
    made = engine.execs.create("box", ["nope"])
    with pytest.raises(errors.CommandNotFound):
        made.start()
    found = made.inspect()
    assert (found.running, found.exit_code) == (False, 127)


# The command line


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
        ([""], 127),
    ],
)
def test_exit_codes(box: Cli, argv: list[str], code: int) -> None:
    done = box("exec", "box", *argv)
    assert (done.returncode, done.stdout) == (code, b"")
    if code in (126, 127):
        assert done.stderr.startswith(b"minidock: ")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["nobody", "true"], 1, b"no such container: nobody"),
        (["box"], 1, b"'minidock exec' requires at least 2 arguments"),
        ([], 1, b"'minidock exec' requires at least 2 arguments"),
        (["-it", "box", "true"], 1, b"the input device is not a TTY"),
        (["-w", "/nope", "box", "true"], 127, b"change directory /nope: no such file or directory"),
        (["-w", "nope", "box", "true"], 128, b"needs to be an absolute path"),
        (["-u", "nobody-here", "box", "true"], 1, b"find user nobody-here"),
        (["-e", "=x", "box", "true"], 125, b'invalid argument "=x" for "-e, --env" flag'),
        (["-e", "", "box", "true"], 125, b'invalid argument "" for "-e, --env" flag'),
        (["--env-file", "/nope", "box", "true"], 1, b"open /nope: no such file or directory"),
        (["--detach-keys", "ctrl-aa", "box", "true"], 125, b"ctrl-aa"),
        (["--timeout", "x", "box", "true"], 125, b'invalid argument "x" for "--timeout" flag'),
        (["--timeout", "0", "box", "true"], 1, b"timeout"),
        (["--no-such", "box", "true"], 125, b"unknown flag: --no-such"),
    ],
)
def test_command_lines_that_make_no_sense(box: Cli, argv: list[str], code: int, text: bytes) -> None:
    done = box("exec", *argv)
    assert (done.returncode, done.stdout) == (code, b"")
    assert text in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_flags_after_the_container_are_the_commands(box: Cli) -> None:
    assert box.ok("exec", "box", "echo", "-d", "--privileged") == "-d --privileged\n"
    assert box.ok("container", "exec", "-eA=2", "-w/", "-u", "app", "box", "sh", "-c", "echo $A $PWD $(id -un)") == (
        "2 / app\n"
    )


def test_standard_input_only_with_interactive(box: Cli) -> None:
    assert box.ok("exec", "box", "cat", input=b"unheard") == ""
    data = os.urandom(1 << 20) * 4
    done = box("exec", "-i", "box", "cat", input=data)
    assert (done.returncode, done.stdout == data) == (0, True)
    # The end of one direction is not the end of the other.
    assert box.ok("exec", "-i", "box", "sh", "-c", "cat >/dev/null; echo after", input=b"x") == "after\n"
    assert box.ok("exec", "-i", "box", "sh", "-c", "exec <&-; sleep 0.2; echo unread", input=data) == "unread\n"


def test_a_reader_that_goes_is_a_broken_pipe(box: Cli) -> None:
    process = box.popen("exec", "box", "yes", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(30) in (1, 128 + signal.SIGPIPE)


def test_standard_error_is_apart(box: Cli) -> None:
    done = box("exec", "box", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_detach(box: Cli, roots: Roots) -> None:
    assert box.ok("exec", "-d", "box", "sh", "-c", "sleep 0.3; touch /tmp/done") == ""
    wait_for(lambda: box("exec", "box", "test", "-e", "/tmp/done").returncode == 0)
    assert box.ok("exec", "-dit", "box", "sleep", "0") == ""
    done = box("exec", "-d", "box", "nope")
    assert (done.returncode, done.stdout) == (127, b"")


def test_timeout_is_said(box: Cli) -> None:
    done = box("exec", "--timeout", "2s", "box", "sleep", "100")
    assert done.returncode == 137
    assert b"--timeout" in done.stderr


def test_states_in_dockers_words(box: Cli) -> None:
    box.ok("create", "--name", "made", "busybox", "true")
    for argv, text in ((["made"], b"is not running"), (["box"], b"is paused, unpause the container before exec")):
        if argv == ["box"]:
            box.ok("pause", "box")
        done = box("exec", *argv, "true")
        assert (done.returncode, done.stdout) == (1, b"")
        assert text in done.stderr
    box.ok("unpause", "box")
    box.ok("rm", "made")


def lives(roots: Roots, text: str) -> bool:
    """Whether a process with these words runs in a cgroup of the test's."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            if line == text and roots.cgroup_parent in (path / "cgroup").read_text():
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_dead_client_is_the_end_of_the_command(box: Cli, roots: Roots, number: int) -> None:
    process = box.popen("exec", "box", "sh", "-c", "setsid sleep 506 & sleep 507", stderr=subprocess.DEVNULL)
    wait_for(lambda: lives(roots, "sleep 506") and lives(roots, "sleep 507"))
    process.send_signal(number)
    process.wait(30)
    wait_for(lambda: not lives(roots, "sleep 506") and not lives(roots, "sleep 507"))
    wait_for(lambda: groups() == [])
    assert box.ok("exec", "box", "echo", "still", "here") == "still here\n"


def test_a_dead_python_process_is_the_end_of_the_command(container: Container, roots: Roots) -> None:
    code = (
        "import minidock\n"
        f"e = minidock.Engine(config={str(roots.config)!r})\n"
        f"e.containers.get({container.id!r}).exec(['sh', '-c', 'sleep 508 & sleep 509'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=roots.env)
    wait_for(lambda: processes(container) != [] and lives(roots, "sleep 508"))
    process.kill()
    process.wait(30)
    wait_for(lambda: processes(container) == [])


def test_a_signal_handler_that_raises_ends_the_command(container: Container) -> None:
    class Raised(Exception):  # noqa: N818 - of this test
        pass

    def handler(_number: int, _frame: object) -> None:
        raise Raised

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        with pytest.raises(Raised):
            container.exec(["sleep", "510"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    wait_for(lambda: processes(container) == [])


# Terminals


class Terminal:
    """The command on a terminal of 31 rows and 97 columns."""

    def __init__(self, cli: Cli, *argv: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(31, 97)
        self.before = termios.tcgetattr(self.slave)
        self.process = cli.popen(*argv, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def expect(self, text: bytes, timeout: float = 30) -> None:
        end = time.monotonic() + timeout
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)

    def close(self) -> int:
        code = self.process.wait(30)
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return code


def test_terminal_size_before_the_first_look_and_after(box: Cli) -> None:
    script = "stty size; until stty size | grep -v '31 97'; do sleep 0.05; done; tty"
    terminal = Terminal(box, "exec", "-it", "box", "sh", "-c", script)
    terminal.expect(b"31 97")
    terminal.resize(12, 34)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.expect(b"12 34")
    terminal.expect(b"/dev/pts/")
    assert terminal.close() == 0


def test_interrupts_go_to_the_command(box: Cli) -> None:
    terminal = Terminal(
        box, "exec", "-it", "box", "sh", "-c", "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    )
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    terminal.expect(b"got it")
    assert terminal.close() == 9


@pytest.mark.parametrize(("flags", "keys"), [([], b"\x10\x11"), (["--detach-keys", "a,ctrl-b"], b"a\x02")])
def test_detach_keys_let_it_live_on(box: Cli, roots: Roots, flags: list[str], keys: bytes) -> None:
    terminal = Terminal(box, "exec", "-it", *flags, "box", "sh", "-c", "echo ready; exec sleep 511")
    terminal.expect(b"ready")
    terminal.type(keys)
    terminal.expect(b"read escape sequence")
    assert terminal.close() == 1
    wait_for(lambda: lives(roots, "sleep 511"))


def test_a_killed_client_with_a_terminal(box: Cli, roots: Roots) -> None:
    terminal = Terminal(box, "exec", "-it", "box", "sh", "-c", "echo ready; exec sleep 512")
    terminal.expect(b"ready")
    terminal.process.terminate()
    assert terminal.close() == 143
    wait_for(lambda: not lives(roots, "sleep 512"))


def test_a_hung_up_terminal_ends_it(box: Cli, roots: Roots) -> None:
    terminal = Terminal(box, "exec", "-it", "box", "sh", "-c", "echo ready; exec sleep 513")
    terminal.expect(b"ready")
    os.close(terminal.slave)
    os.close(terminal.master)
    terminal.process.send_signal(signal.SIGHUP)
    terminal.process.wait(30)
    wait_for(lambda: not lives(roots, "sleep 513"))


def test_a_terminal_without_input(box: Cli) -> None:
    done = box("exec", "-t", "box", "sh", "-c", "tty; echo err >&2")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith(b"/dev/pts/")
    assert done.stdout.splitlines()[1] == b"err"
    assert done.stderr == b""


def test_few_modules_are_imported(box: Cli) -> None:
    code = (
        "import sys; from minidock.cli import main; main.run(['exec', 'box', 'true'])\n"
        "print(*sorted(set(sys.modules) & {'click', 'rich', 'urllib3', 'asyncio', 'subprocess', 'json', 'http',"
        " 'minidock.registry.client', 'minidock.images.pulling', 'minidock.containers.collection',"
        " 'minidock.containers.container', 'minidock.images.collection', 'minidock.spec.docker_exec'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=box.env, capture_output=True, timeout=60, check=True)
    assert done.stdout.split() == []
