"""Rows of SECURITY.md section 3 about commands that join a running container."""

from __future__ import annotations

import gc
import os
import pty
import select
import subprocess
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock import errors
from minidock.containers.container import Container
from tests.conftest import Cli, Roots, wait_for
from tests.security.conftest import Marker, one_line, with_entries

Start = Callable[..., Container]


@pytest.fixture
def start(engine: minidock.Engine, image: Callable[..., str]) -> Start:
    """Start a container of the image with the probe that does nothing."""
    name = image()

    def run(**options: object) -> Container:
        container = engine.containers.create(name, ["sleep", "1000"], **options)  # type: ignore[arg-type]
        container.start()
        return container

    return run


def probe(container: Container, *args: object, **options: object) -> str:
    result = container.exec(["probe", *(str(a) for a in args)], timeout=30, **options)  # type: ignore[call-overload]
    assert result.exit_code == 0, result
    return str(result.stdout.decode().strip())


def status(container: Container, **options: object) -> dict[str, str]:
    text = probe(container, "status", **options)
    return {line.split(":")[0]: line.split(":")[1].strip() for line in text.splitlines()}


def test_cve_2016_8867_2022_24769_2022_29162_no_ambient_or_inheritable(start: Start) -> None:
    container = start()
    for user, effective in (("0", 0xA80425FB), ("1000", 0)):
        found = status(container, user=user)
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert int(found["CapPrm"], 16) == int(found["CapEff"], 16) == effective
        assert int(found["CapBnd"], 16) == 0xA80425FB
        assert found["Seccomp"] == "2"
    found = status(container, user="1000", privileged=True)
    assert {int(found[key], 16) for key in ("CapInh", "CapAmb", "CapPrm", "CapEff")} == {0}


def test_an_exec_has_no_more_than_the_container(start: Start) -> None:
    container = start(cap_drop=["ALL"], cap_add=["CHOWN"], security_opt=["no-new-privileges"], user="1000:1000")
    found = status(container)
    assert (found["Uid"].split()[0], found["Gid"].split()[0], found["Groups"]) == ("1000", "1000", "1000")
    assert int(found["CapBnd"], 16) == 1
    assert found["NoNewPrivs"] == "1"
    # Even as root.
    assert int(status(container, user="0")["CapEff"], 16) == 1


def test_cve_2016_9962_2024_21626_no_descriptor_of_the_host(start: Start) -> None:
    inheritable, other = os.pipe()
    os.set_inheritable(inheritable, True)
    try:
        container = start()
        for options in ({}, {"user": "1000"}, {"tty": True}, {"privileged": True}):
            assert probe(container, "fds", **options) == ""
    finally:
        os.close(inheritable)
        os.close(other)


def test_cve_2016_9962_nothing_of_a_joining_process_can_be_reached(start: Start) -> None:
    container = start()
    said: list[bytes] = []

    def spy() -> None:
        said.append(container.exec(["probe", "spy", "4000"], timeout=60).stdout)

    thread = threading.Thread(target=spy)
    thread.start()
    for _ in range(100):
        container.exec(["true"])
        if not thread.is_alive():
            break
    thread.join(60)
    assert said == [b"ready\nseen 1\n"]


def test_cve_2024_21626_working_directory_by_descriptor(start: Start, marker: Marker) -> None:
    container = start()
    climb = "../" * 12
    script = f"cat {climb}{str(marker.file).lstrip('/')}; cd {climb} && cat {str(marker.file).lstrip('/')}; pwd"
    for number in range(3, 21):
        for path in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../..", f"/proc/1/fd/{number}"):
            try:
                result = container.exec(["sh", "-c", script], workdir=path)
            except errors.MinidockError as refused:
                one_line(refused)
                continue
            assert b"host secret" not in result.stdout, path
    with pytest.raises(errors.MinidockError):
        container.exec(["pwd"], workdir="/proc/self/cwd/../../../../nope")


def test_a_working_directory_that_is_a_link_stays_inside(start: Start, marker: Marker) -> None:
    container = start()
    container.exec(["ln", "-s", str(marker.path), "/way-out"], check=True)
    container.exec(["ln", "-s", "/proc/1/root", "/other"], check=True)
    with pytest.raises(errors.NotFound):
        container.exec(["ls"], workdir="/way-out")
    try:
        assert container.exec(["cat", "etc/hostname"], workdir="/other").stdout.strip() == container.short_id.encode()
    except errors.MinidockError as refused:
        one_line(refused)


def test_cve_2017_5226_nothing_is_typed_on_the_callers_terminal(cli: Cli, roots: Roots) -> None:
    cli.ok("import", "-", "t", input=with_entries())
    cli.ok("run", "-d", "--name", "box", "t", "sleep", "1000")
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        process = cli.popen("exec", "-it", "box", "probe", "type", "pwned", stdin=slave, stdout=slave, stderr=slave)
        said = b""
        while process.poll() is None:
            if select.select([master], [], [], 0.05)[0]:
                said += os.read(master, 65536)
        while select.select([master], [], [], 0.2)[0]:
            said += os.read(master, 65536)
        assert process.returncode == 0, said
        assert b"TIOCSTI" in said
        assert termios.tcgetattr(slave) == before
        settings = termios.tcgetattr(slave)
        settings[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        assert not select.select([slave], [], [], 0.2)[0], "something was typed on the host"
    finally:
        os.close(master)
        os.close(slave)
        cli.ok("rm", "-f", "box")


def test_a_terminal_is_the_containers_whatever_its_dev_says(start: Start) -> None:
    container = start()
    spoil = "rm -f /dev/ptmx /dev/tty /dev/console; ln -s /proc/1/fd/0 /dev/ptmx; ln -s /dev/zero /dev/tty"
    container.exec(["sh", "-c", spoil], check=True)
    try:
        result = container.exec(["sh", "-c", "tty; echo $?"], tty=True, timeout=10)
        assert result.stdout.startswith(b"/dev/pts/"), result
    except errors.MinidockError as refused:
        one_line(refused)


@pytest.mark.parametrize(
    "spoil",
    [
        "rm /etc/passwd; mkfifo /etc/passwd",
        "rm /etc/passwd; ln -s /dev/zero /etc/passwd",
        "rm /etc/passwd; ln -s /proc/self/fd/0 /etc/passwd",
        "rm /etc/passwd; ln -s passwd /etc/passwd",
        "rm -r /etc/passwd; mkdir /etc/passwd",
        "rm -r /etc; ln -s /proc/1/root/etc /etc",
        "head -c 11000000 /dev/zero > /etc/passwd",
    ],
)
def test_class_hostile_passwd_files_neither_hang_nor_lead_out(start: Start, spoil: str) -> None:
    """The files that names are looked up in are the container's at this moment, not the image's."""
    container = start()
    container.exec(["sh", "-c", spoil], check=True)
    try:
        result = container.exec(["id", "-u"], user="app", timeout=20)
        assert result.stdout in (b"1000\n", b""), result
    except errors.Timeout:
        raise
    except errors.MinidockError as refused:
        one_line(refused)


def test_cve_2022_31030_2022_23471_2025_64329_aborted_execs_leave_nothing(start: Start) -> None:
    container = start(init=True)  # which reaps what loses its parent
    lifecycle = container._lifecycle

    def size() -> tuple[int, int]:
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        return len(os.listdir("/proc/self/fd")), resident

    from minidock import _native
    from minidock.containers import exec_options, exec_records, execs

    exec_records.prepare(lifecycle)

    def aborted(tty: bool) -> None:
        wanted = exec_options.config(["sh", "-c", "yes; yes >&2"], tty=tty)
        wanted.stdin = wanted.stdout = wanted.stderr = True
        record, file = execs._running(lifecycle, container.id)
        request = execs._request(lifecycle, record, file, os.urandom(32).hex(), wanted, bound=True)
        client = _native.exec_spawn(lifecycle.helper, lifecycle.paths.container(record.id), request, stdin_pipe=True)
        execs._check(client.wait_started())
        for number in range(50):
            client.resize(number, number)
        client.close()

    for _ in range(5):
        aborted(True)
        aborted(False)
    before = size()
    for _ in range(60):
        aborted(True)
        aborted(False)
    after = size()
    assert after[0] <= before[0]
    assert after[1] - before[1] < 2048, "pages"
    mark = str(lifecycle.paths.container(container.id))

    def left() -> bytes:
        pattern = f"supervise-exec --bundle {mark}"
        return subprocess.run(["pgrep", "-f", pattern], capture_output=True, check=False).stdout

    wait_for(lambda: not left(), 30)
    # Those that were killed last may not have been reaped yet.
    count = ["sh", "-c", "ls /proc | grep -c '^[0-9]'"]
    wait_for(lambda: container.exec(count).stdout.strip() in (b"4", b"5", b"6"), 30)


def test_r6_a_command_that_writes_for_ever_is_bounded(start: Start) -> None:
    container = start()
    before = int(Path("/proc/self/statm").read_text().split()[1])
    with pytest.raises(errors.LimitExceeded):
        container.exec(["sh", "-c", "yes"], output_limit=1 << 20)
    assert int(Path("/proc/self/statm").read_text().split()[1]) - before < 4096


def test_the_request_is_not_in_the_process_list(start: Start) -> None:
    """Secrets in the environment of an exec are for nobody's eyes but the command's."""
    container = start()
    started = container.exec(["sleep", "30"], detach=True, environment={"SECRET": "hunter2-4f1d"})
    mark = b"supervise-exec"
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes()
            if mark in line and container.id.encode() in line:
                assert b"hunter2" not in line
                assert b"hunter2" not in (path / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    record = Path(f"{container._lifecycle.paths.run}/execs/{container.id}.{started.id}.json")
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o777 == 0o700
