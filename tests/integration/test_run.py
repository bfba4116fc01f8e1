"""``containers.run``: a container from nothing to its result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.errors import (
    CommandNotExecutable,
    CommandNotFound,
    ContainerFailed,
    ImageNotFound,
    InvalidArgument,
    LimitExceeded,
)
from tests.conftest import Roots, wait_for


def out(engine: minidock.Engine, image: str, script: str, **options: Any) -> str:
    """What a shell script in a new container writes; it must succeed."""
    result = engine.containers.run(image, ["sh", "-c", script], remove=True, **options)
    assert result.exit_code == 0, result
    return result.stdout.decode()


def test_streams_and_exit_code(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(busybox, ["sh", "-c", "echo out; echo err >&2; exit 3"], remove=True)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 3)
    assert (result.signal, result.oom_killed, result.timed_out, result.warnings) == (None, False, False, ())
    assert len(result.container_id) == 64
    assert 0 < result.usage.wall_seconds < 30
    assert 0 < result.usage.cpu_seconds < 30
    assert result.usage.memory_peak > 0
    assert engine.containers.list(all=True) == []


def test_the_module_level_function(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in roots.env.items():
        if name.startswith("MINIDOCK_"):
            monkeypatch.setenv(name, value)
    result = minidock.run("minidock/hello")
    assert result.exit_code == 0
    assert result.stdout
    from minidock.engine import default_engine

    assert default_engine() is default_engine()
    assert default_engine().containers.list(all=True) == []
    default_engine().close()


def test_a_container_that_is_not_removed_is_listed(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(busybox, ["false"], name="kept")
    (container,) = engine.containers.list(all=True)
    assert (container.id, container.name, container.status) == (result.container_id, "kept", "exited")
    state = container.attrs["State"]
    assert state["ExitCode"] == 1
    assert not state["Running"]
    assert state["StartedAt"] < state["FinishedAt"]
    assert engine.containers.list() == []


def test_input(engine: minidock.Engine, busybox: str) -> None:
    data = os.urandom(1 << 20)
    result = engine.containers.run(busybox, ["cat"], input=data, remove=True)
    assert result.stdout == data
    assert engine.containers.run(busybox, ["cat"], remove=True).stdout == b""
    # The reader ends first: no broken pipe reaches the caller.
    assert engine.containers.run(busybox, ["true"], input=data, remove=True).exit_code == 0


def test_output_limit(engine: minidock.Engine, busybox: str) -> None:
    with pytest.raises(LimitExceeded, match="longer than 1000 bytes"):
        engine.containers.run(busybox, ["cat", "/dev/zero"], output_limit=1000, remove=True)
    assert engine.containers.list(all=True) == []
    assert len(engine.containers.run(busybox, ["head", "-c", "1000", "/dev/zero"], output_limit=1000).stdout) == 1000


def test_check(engine: minidock.Engine, busybox: str) -> None:
    with pytest.raises(ContainerFailed, match="exit code 4") as caught:
        engine.containers.run(busybox, ["sh", "-c", "echo x; exit 4"], check=True, remove=True)
    assert caught.value.result.stdout == b"x\n"
    assert caught.value.exit_code == 4


def test_timeout(engine: minidock.Engine, busybox: str) -> None:
    begin = time.monotonic()
    result = engine.containers.run(busybox, ["sleep", "60"], timeout=0.2, remove=True)
    assert (result.exit_code, result.timed_out) == (137, True)
    assert time.monotonic() - begin < 50


def test_death_by_signal(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(busybox, ["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], remove=True)
    assert result.exit_code == 143


def test_docker_exit_codes(engine: minidock.Engine, busybox: str) -> None:
    for command, error in (
        ("/nope", CommandNotFound),
        ("nope", CommandNotFound),
        ("/etc/passwd/x", CommandNotFound),
        ("/etc", CommandNotExecutable),
        ("/etc/passwd", CommandNotExecutable),
    ):
        with pytest.raises(error) as caught:
            engine.containers.run(busybox, [command], remove=True)
        assert caught.value.exit_code == (127 if error is CommandNotFound else 126)
        assert command.split("/")[-1] in str(caught.value) or "/" in str(caught.value)
    assert engine.containers.list(all=True) == []


def test_a_container_that_could_not_start_stays_created(engine: minidock.Engine, busybox: str) -> None:
    with pytest.raises(CommandNotFound):
        engine.containers.run(busybox, ["nope"], name="broken")
    state = engine.containers.get("broken").attrs["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 127)
    assert "nope" in state["Error"]


def test_environment(engine: minidock.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "yes")
    monkeypatch.setenv("SECRET", "no")
    text = out(engine, busybox, "env | sort", environment=["A=b c", "FROM_HERE", "ABSENT"], hostname="box")
    assert "A=b c\nFROM_HERE=yes\nHOME=/root\nHOSTNAME=box\nPATH=/usr/local/sbin" in text
    assert "SECRET" not in text
    assert "ABSENT" not in text
    assert "HOME=/home/app" in out(engine, busybox, "env", user="app")
    assert "HOME=/x" in out(engine, busybox, "env", environment={"HOME": "/x"})


def test_65_kib_of_environment_and_10000_arguments(engine: minidock.Engine, busybox: str) -> None:
    assert out(engine, busybox, "echo ${#A}", environment={"A": "x" * 65536}) == "65536\n"
    result = engine.containers.run(busybox, ["sh", "-c", "echo $#", "sh", *["a"] * 10000], remove=True)
    assert result.stdout == b"10000\n"


def test_users(engine: minidock.Engine, busybox: str) -> None:
    assert out(engine, busybox, "id") == "uid=0(root) gid=0(root) groups=0(root),10(wheel)\n"
    assert (
        out(engine, busybox, "id", user="app") == "uid=1000(app) gid=1000(app) groups=10(wheel),29(audio),1000(app)\n"
    )
    assert out(engine, busybox, "id", user="1000:29") == "uid=1000(app) gid=29(audio) groups=29(audio)\n"
    assert out(engine, busybox, "id -u; id -g", user="4242") == "4242\n0\n"
    assert "29(audio)" in out(engine, busybox, "id", user="4242", group_add=["audio", 77])
    for bad in ("nosuch", "0:nosuch"):
        with pytest.raises(minidock.MinidockError, match="nosuch"):
            engine.containers.run(busybox, ["true"], user=bad, remove=True)


def test_working_directory(engine: minidock.Engine, busybox: str) -> None:
    assert out(engine, busybox, "pwd; stat -c %a .", working_dir="/new/one") == "/new/one\n755\n"


def test_names_in_files(engine: minidock.Engine, busybox: str) -> None:
    text = out(engine, busybox, "cat /etc/hosts", extra_hosts={"db": "10.1.2.3", "six": "fd00::1"})
    assert "127.0.0.1\tlocalhost\n" in text
    assert "10.1.2.3\tdb\nfd00::1\tsix\n" in text
    text = out(engine, busybox, "cat /etc/resolv.conf", dns=["1.2.3.4"], dns_search=["a.b"], dns_opt=["ndots:3"])
    assert "nameserver 1.2.3.4\nsearch a.b\noptions ndots:3\n" in text
    assert out(engine, busybox, "hostname; cat /etc/hostname", hostname="box") == "box\nbox\n"
    text = out(engine, busybox, "hostname; cat /etc/hosts", network="host")
    assert text == f"{os.uname().nodename}\n{Path('/etc/hosts').read_text()}"


def test_terminal(engine: minidock.Engine, busybox: str) -> None:
    result = engine.containers.run(busybox, ["sh", "-c", "tty; echo $TERM; ls -l /dev/console"], tty=True, remove=True)
    lines = result.stdout.decode().split("\r\n")
    assert lines[:2] == ["/dev/pts/0", "xterm"]
    assert "/dev/console" in lines[2]
    assert result.stderr == b""


def test_init_reaps(engine: minidock.Engine, busybox: str) -> None:
    # The subshell ends before its child, which becomes a child of PID 1 and then a zombie unless that reaps it.
    script = "(sleep 0.05 & echo $! > /o); while [ -e /proc/$(cat /o) ]; do sleep 0.02; done;"
    script += " ps -o stat | grep -c Z; echo $$"
    assert out(engine, busybox, f"exec 2>&1; {script}").split()[-1] == "1"
    zombies, pid = out(engine, busybox, script, init=True).split()
    assert zombies == "0"
    assert pid != "1"


def test_read_only(engine: minidock.Engine, busybox: str) -> None:
    script = "touch /x 2>/dev/null || echo refused; touch /dev/shm/y && echo shm"
    assert out(engine, busybox, script, read_only=True) == "refused\nshm\n"


def test_rootfs_directory(engine: minidock.Engine, tmp_path: Path) -> None:
    from tests.rootfs import busybox_tar

    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "xf", str(busybox_tar()), "-C", str(root)], check=True)
    result = engine.containers.run(None, ["sh", "-c", "rm -rf /bin/ls /etc; touch /made; ls /"], rootfs=str(root))
    assert result.exit_code == 127 or b"made" in result.stdout
    assert (root / "bin" / "ls").samefile(root / "bin" / "busybox")
    assert (root / "etc" / "passwd").exists()
    assert not (root / "made").exists()


def test_the_hosts_files_are_not_changed(engine: minidock.Engine, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    marker.write_text("here")
    result = engine.containers.run(
        None,
        ["sh", "-c", f"cat {marker}; rm -rf {tmp_path} /usr; ls {engine.data_root} | wc -l"],
        rootfs="/",
        remove=True,
    )
    assert result.stdout.startswith(b"here")
    assert [one for one in result.warnings if "/var/tmp" in one] == [], (
        "the mount that has the data root is no exception"
    )
    assert marker.read_text() == "here"
    assert Path("/usr/bin").is_dir()


def test_the_whole_host_can_be_walked(engine: minidock.Engine) -> None:
    """`find / -xdev` of the copy-on-write host meets no error, and sees neither data root nor run root."""
    script = "find / -xdev > /dev/null; ls -A $0 $1"
    result = engine.containers.run(
        None, ["sh", "-c", script, engine.data_root, engine.run_root], rootfs="/", remove=True, timeout=100
    )
    # A file that another process of the host removes meanwhile is no error of ours.
    errors_met = [line for line in result.stderr.splitlines() if not line.endswith(b"No such file or directory")]
    assert errors_met == []
    assert result.stdout.decode().split() == [f"{engine.data_root}:", f"{engine.run_root}:"]


def test_50_at_once(engine: minidock.Engine, busybox: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        results = list(
            pool.map(lambda n: engine.containers.run(busybox, ["echo", str(n)], remove=True).stdout, range(50))
        )
    assert results == [f"{n}\n".encode() for n in range(50)]
    assert engine.containers.list(all=True) == []


def test_several_engines_in_one_process(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    with minidock.Engine(engine.data_root, engine.run_root, str(roots.config)) as other:
        created = other.containers.create(busybox, ["true"], name="shared")
        assert engine.containers.get("shared").id == created.id
        engine.containers.get("shared").remove()
        assert other.containers.list(all=True) == []
    assert engine.containers.run(busybox, ["true"], remove=True).exit_code == 0


def test_an_engine_opens_again_after_close(engine: minidock.Engine, busybox: str) -> None:
    engine.close()
    assert engine.containers.run(busybox, ["true"], remove=True).exit_code == 0


def test_interrupt_leaves_nothing(engine: minidock.Engine, busybox: str) -> None:
    def interrupt() -> None:
        wait_for(engine.containers.list, what="a running container")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        engine.containers.run(busybox, ["sleep", "60"], remove=True)
    thread.join()
    assert engine.containers.list(all=True) == []


def test_the_container_dies_with_its_process(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    program = "import minidock; minidock.run('busybox', ['sleep', '100'], name='orphan')"
    with subprocess.Popen([sys.executable, "-c", program], env=roots.env) as process:
        wait_for(engine.containers.list, what="a running container")
        process.kill()
    wait_for(lambda: not engine.containers.list(all=True), what="the end and the removal of the container")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"input": "text"}, InvalidArgument),
        ({"output_limit": -1}, InvalidArgument),
        ({"runtime": "nope"}, minidock.MinidockError),
    ],
)
def test_what_run_refuses(engine: minidock.Engine, busybox: str, options: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        engine.containers.run(busybox, ["true"], **options)
    assert engine.containers.list(all=True) == []


def test_no_such_image(engine: minidock.Engine) -> None:
    with pytest.raises(ImageNotFound, match="nosuch"):
        engine.containers.run("nosuch", ["true"], pull="never")
    with pytest.raises(InvalidArgument):
        engine.containers.run("Not A Reference", ["true"])
    with pytest.raises(InvalidArgument):
        engine.containers.run(None, ["true"])
