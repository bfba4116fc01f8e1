"""``--runtime``: other OCI runtimes make the container.

Two are tried: Debian's runc, and minidock's own helper by its path, as a runtime that knows nothing of the engine. (Not
crun: it refuses hosts that have both versions of cgroups, such as the ones these tests run on.)
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.errors import (
    CommandNotExecutable,
    CommandNotFound,
    InvalidArgument,
    MinidockError,
    NotFound,
    Unsupported,
)
from tests.conftest import Cli, Roots, wait_for


@pytest.fixture(params=["runc", "helper"])
def runtime(request: pytest.FixtureRequest, engine: minidock.Engine) -> str:
    """The path of a runtime that is not the engine's own way of making containers."""
    if request.param == "helper":
        from minidock.helper import installed

        return installed(engine.store.paths)
    found = shutil.which("runc")
    assert found, "run tools/system-packages"
    return found


@pytest.fixture
def scripts(roots: Roots) -> Iterator[Path]:
    """A directory for runtimes that are none."""
    folder = roots.config.parent / "scripts"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def script(folder: Path, text: str, mode: int = 0o755) -> str:
    path = folder / "runtime"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return str(path)


def nothing_left(engine: minidock.Engine, roots: Roots) -> None:
    """No container, no run directory, no cgroup."""
    assert engine.containers.list(all=True) == []
    run = roots.run / "containers"
    wait_for(lambda: not run.exists() or not list(run.iterdir()), what="the run directory to go")
    parents = [path for path in Path("/sys/fs/cgroup").glob(f"*/{roots.cgroup_parent[1:]}") if path.is_dir()]
    assert [group for parent in parents for group in parent.iterdir() if group.is_dir()] == []


def test_streams_codes_and_usage(engine: minidock.Engine, busybox: str, roots: Roots, runtime: str) -> None:
    result = engine.containers.run(
        busybox, ["sh", "-c", "echo out; echo err >&2; exit 3"], runtime=runtime, remove=True
    )
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 3)
    assert 0 < result.usage.wall_seconds < 30
    data = os.urandom(300_000)
    assert engine.containers.run(busybox, ["cat"], input=data, runtime=runtime, remove=True).stdout == data
    killed = engine.containers.run(busybox, ["sh", "-c", "kill -9 1; exec sleep 0"], runtime=runtime, remove=True)
    assert killed.exit_code == 0  # PID 1 does not get its own signals
    nothing_left(engine, roots)


def test_it_is_a_container_with_the_profile(engine: minidock.Engine, busybox: str, roots: Roots, runtime: str) -> None:
    def out(text: str, **options: Any) -> str:
        result = engine.containers.run(busybox, ["sh", "-c", text], runtime=runtime, remove=True, **options)
        assert result.exit_code == 0, result
        return result.stdout.decode()

    assert out("id", user="app:wheel").split(" groups=")[0].endswith("gid=10(wheel)")
    assert out("echo $HOME", user="app") == "/home/app\n"
    assert out("echo $$; hostname", hostname="box") == "1\nbox\n"
    status = out("grep -E 'Seccomp:|CapEff|NoNewPrivs' /proc/self/status").split()
    assert status == ["CapEff:", "00000000a80425fb", "NoNewPrivs:", "0", "Seccomp:", "2"]
    status = out("grep Seccomp: /proc/self/status", security_opt=["seccomp=unconfined"]).split()
    assert status == ["Seccomp:", "0"]
    assert out("touch /new && ls / | grep new") == "new\n"
    assert out("touch /new 2>/dev/null || echo refused", read_only=True) == "refused\n"
    assert out("cat /proc/1/limits | grep 'open files'", ulimits=["nofile=77:88"]).split()[3:5] == ["77", "88"]
    nothing_left(engine, roots)


def test_limits(engine: minidock.Engine, busybox: str, roots: Roots, runtime: str) -> None:
    script = "head -c 200000000 /dev/zero | tail -c 150000000 | wc -c"
    result = engine.containers.run(
        busybox, ["sh", "-c", script], runtime=runtime, mem_limit="32m", memswap_limit="32m", remove=True
    )
    assert b"150000000" not in result.stdout
    begin = time.monotonic()
    result = engine.containers.run(busybox, ["sleep", "60"], runtime=runtime, timeout=0.5, remove=True)
    assert (result.exit_code, result.timed_out) == (137, True)
    assert time.monotonic() - begin < 50
    nothing_left(engine, roots)


def test_missing_and_not_executable_commands(engine: minidock.Engine, busybox: str, roots: Roots, runtime: str) -> None:
    for command, error in (
        ("nope", CommandNotFound),
        ("/nope", CommandNotFound),
        ("/etc", CommandNotExecutable),
        ("/etc/passwd", CommandNotExecutable),
    ):
        with pytest.raises(error, match=command.rpartition("/")[2]) as caught:
            engine.containers.run(busybox, [command], runtime=runtime, remove=True)
        assert "\n" not in str(caught.value)
    with pytest.raises(NotFound, match="nobody-here"):
        engine.containers.run(busybox, ["true"], user="nobody-here", runtime=runtime, remove=True)
    nothing_left(engine, roots)


def test_terminal_from_the_command_line(busybox: str, roots: Roots, runtime: str) -> None:
    cli = Cli(roots)
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [
            *cli.argv,
            "run",
            "--rm",
            "-it",
            "--runtime",
            runtime,
            busybox,
            "sh",
            "-c",
            "tty; read x; echo got $x; exit 4",
        ],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=cli.env,
    )
    os.close(slave)
    seen = b""
    while b"/dev/pts" not in seen and b"/dev/console" not in seen:
        seen += os.read(master, 4096)
    os.write(master, b"word\r")
    while b"got word" not in seen:
        seen += os.read(master, 4096)
    assert child.wait(30) == 4
    os.close(master)


def test_signals_are_forwarded(busybox: str, roots: Roots, runtime: str) -> None:
    child = Cli(roots).popen(
        "run", "--rm", "--runtime", runtime, busybox, "sh", "-c",
        "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 9
    assert child.stdout.read() == b"caught\n"
    child.stdout.close()


def test_start_inspect_restart_remove(engine: minidock.Engine, busybox: str, roots: Roots, runtime: str) -> None:
    made = engine.containers.create(busybox, ["sh", "-c", "echo x >> /f; wc -l < /f"], name="kept", runtime=runtime)
    assert made.attrs["HostConfig"]["Runtime"] == runtime
    cli = Cli(roots)
    assert [cli.ok("start", "-a", "kept") for _ in range(2)] == ["1\n", "2\n"]
    made.remove()
    nothing_left(engine, roots)


def test_a_killed_supervisor(engine: minidock.Engine, busybox: str, roots: Roots, runtime: str) -> None:
    child = Cli(roots).popen(
        "run", "--name", "orphan", "--runtime", runtime, busybox, "sh", "-c", "echo ready; sleep 600",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    container = engine.containers.get("orphan")
    pid = container.attrs["State"]["Pid"]
    (file,) = (roots.run / "containers").glob("*/pid")
    os.kill(json.loads(file.read_text())["supervisor"], signal.SIGKILL)
    child.wait(30)
    child.stdout.close()
    assert engine.containers.get("orphan").status == "exited"
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="the end of PID 1")
    container.remove()
    nothing_left(engine, roots)


def test_the_configuration(roots: Roots, scripts: Path) -> None:
    runc = shutil.which("runc")
    assert runc
    log = scripts / "calls"
    logging = script(scripts, f'echo "$@" >> {log}\nexec {runc} "$@"')
    config = {"bridge": "none", "cgroup-parent": roots.cgroup_parent, "default-runtime": "other"}
    config["runtimes"] = {"other": {"path": logging, "runtimeArgs": ["--debug"]}, "named": {"path": "runc"}}  # type: ignore[assignment]
    roots.config.write_text(json.dumps(config))
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        created = engine.containers.create("minidock/hello")
        assert created.attrs["HostConfig"]["Runtime"] == "other"
        created.remove()
        assert engine.containers.run("minidock/hello", remove=True).exit_code == 0
        nothing_left(engine, roots)
        calls = log.read_text().splitlines()
        assert [line.split(" --log-format json ")[1].split()[0] for line in calls] == ["create", "start", "delete"]
        assert all(line.startswith("--debug --root ") for line in calls)
        for name in ("named", "minidock"):
            assert engine.containers.run("minidock/hello", runtime=name, remove=True).exit_code == 0
        assert log.read_text().splitlines() == calls
        nothing_left(engine, roots)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crun", "unknown or invalid runtime name: crun"),
        ("nowhere/runc", "unknown or invalid runtime name"),
        ("/nonexistent/runc", "no such file"),
        ("/etc/passwd", "not executable"),
        ("/etc", "not a regular file"),
    ],
)
def test_no_such_runtime(engine: minidock.Engine, busybox: str, roots: Roots, name: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        engine.containers.create(busybox, ["true"], runtime=name)
    assert caught.value.exit_code == 125
    nothing_left(engine, roots)


PIDFILE = 'while [ "$1" != --pid-file ]; do shift; done; echo garbage > "$2"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit 3", "it ended with 3: it says nothing"),
        ("echo first >&2; printf 'the \\033[31mcause\\n' >&2; exit 1", "it ended with 1: the  .31mcause"),
        ("head -c 3000000 /dev/urandom; head -c 3000000 /dev/urandom >&2; exit 1", "it ended with 1"),
        ("kill -9 $$", "killed by signal 9"),
        ("exit 0", "pid file"),
        (PIDFILE, "holds no process id"),
        (PIDFILE.replace("garbage", "$PPID"), "not left to us"),
        (PIDFILE.replace("garbage", "1"), "holds no process id"),
        (PIDFILE.replace("garbage", "2"), "not left to us"),
    ],
)
def test_a_runtime_that_fails(
    engine: minidock.Engine, busybox: str, roots: Roots, scripts: Path, text: str, message: str
) -> None:
    path = script(scripts, f'case "$*" in *delete*) exit 0;; esac\n{text}')
    with pytest.raises(MinidockError, match=message) as caught:
        engine.containers.run(busybox, ["true"], runtime=path, remove=True)
    assert caught.value.exit_code == 125
    assert "\n" not in str(caught.value)
    nothing_left(engine, roots)


def test_a_text_that_is_no_program(engine: minidock.Engine, busybox: str, roots: Roots, scripts: Path) -> None:
    path = scripts / "text"
    path.write_text("no program")
    path.chmod(0o755)
    with pytest.raises(MinidockError, match="execute runtime") as caught:
        engine.containers.run(busybox, ["true"], runtime=str(path), remove=True)
    assert caught.value.exit_code == 125
    nothing_left(engine, roots)


@pytest.mark.parametrize(
    "options",
    [{"init": True}, {"rootfs": "/"}, {"userns_mode": "remap"}],
)
def test_what_needs_our_own_runtime(
    engine: minidock.Engine, busybox: str, runtime: str, options: dict[str, Any]
) -> None:
    image = None if "rootfs" in options else busybox
    with pytest.raises((Unsupported, InvalidArgument), match=r"needs minidock's own runtime|subordinate"):
        engine.containers.create(image, ["true"], runtime=runtime, **options)
    assert engine.containers.list(all=True) == []


def test_another_containers_ipc_needs_our_own_runtime(engine: minidock.Engine, busybox: str, runtime: str) -> None:
    donor = engine.containers.create(busybox, ["true"], name="donor")
    with pytest.raises(Unsupported, match="--ipc container:donor needs"):
        engine.containers.create(busybox, ["true"], runtime=runtime, ipc_mode="container:donor")
    assert [one.id for one in engine.containers.list(all=True)] == [donor.id]


def test_orphans_in_the_hosts_pid_namespace_end_with_the_container(
    engine: minidock.Engine, busybox: str, roots: Roots, runtime: str
) -> None:
    command = ["sh", "-c", "(sleep 600 >/dev/null 2>&1 &) ; exit 5"]
    assert engine.containers.run(busybox, command, pid_mode="host", runtime=runtime, remove=True).exit_code == 5
    nothing_left(engine, roots)


def test_mounts_that_are_no_plain_paths(engine: minidock.Engine, busybox: str, roots: Roots, runtime: str) -> None:
    volume = Path(engine.volumes.create("data").mountpoint)
    (volume / "part").mkdir()
    (volume / "part" / "file").write_text("part\n")
    mounts = [
        minidock.Mount(source="data", target="/part", subpath="part"),
        minidock.Mount(source="data", target="/one/file", subpath="part/file", read_only=True),
        minidock.Mount(type="image", source=busybox, target="/image"),
    ]
    script = "cat /part/file /one/file; ls /image/etc/passwd; echo > /image/x || echo > /one/file || echo > /part/new"
    result = engine.containers.run(busybox, ["sh", "-c", script], mounts=mounts, runtime=runtime, remove=True)
    assert result.stdout == b"part\npart\n/image/etc/passwd\n"
    assert (volume / "part" / "new").exists()
