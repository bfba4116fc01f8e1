"""``logs``: what a container has written, while it runs and afterwards, with every log driver."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.containers import liveness
from minidock.containers.container import Container
from minidock.containers.logs import Log
from minidock.errors import InvalidArgument, Timeout, Unsupported
from tests.conftest import Cli, Roots, wait_for

FILES = ("json-file", "local")
JOURNAL = Path("/run/systemd/journal/socket")


def run(engine: minidock.Engine, image: str, script: str, **options: Any) -> Container:
    """A container in the background."""
    return engine.containers.run(image, ["sh", "-c", script], detach=True, **options)


def ended(engine: minidock.Engine, image: str, script: str, **options: Any) -> Container:
    container = run(engine, image, script, **options)
    container.wait(timeout=60)
    return container


def numbers(first: int, behind: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(first, behind))


def log_file(roots: Roots, container: Container) -> Path:
    directory = roots.data / "containers" / container.id
    json_file = directory / f"{container.id}-json.log"
    return json_file if json_file.exists() else directory / "local-logs" / "container.log"


@pytest.mark.parametrize("driver", FILES)
def test_both_streams_in_order(engine: minidock.Engine, busybox: str, roots: Roots, driver: str) -> None:
    script = "for i in 1 2 3; do echo out$i; sleep 0.05; echo err$i >&2; sleep 0.05; done; printf end"
    c = ended(engine, busybox, script, log_driver=driver)
    expected = b"out1\nerr1\nout2\nerr2\nout3\nerr3\nend"
    assert c.logs() == expected
    assert c.logs(stderr=False) == b"out1\nout2\nout3\nend"
    assert c.logs(stdout=False) == b"err1\nerr2\nerr3\n"
    with c.logs(stream=True) as log:
        lines = list(log)
    assert [line.stream for line in lines] == ["stdout", "stderr"] * 3 + ["stdout"]
    assert b"".join(line.data for line in lines) == expected
    times = [line.time_ns for line in lines]
    assert times == sorted(times)
    assert abs(times[0] / 1e9 - time.time()) < 100
    assert all(line.attributes == {} for line in lines)
    file = log_file(roots, c)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    c.reload()
    assert c.attrs["LogPath"] == (str(file) if driver == "json-file" else "")
    assert c.attrs["HostConfig"]["LogConfig"] == {"Type": driver, "Config": {}}


def test_what_docker_prints(engine: minidock.Engine, busybox: str) -> None:
    c = ended(
        engine,
        busybox,
        "echo one; sleep 0.05; echo two >&2",
        labels={"a": "1", "b": "x y&é"},
        environment=["X=y"],
        log_options={"labels": "a,b", "env": "X", "tag": "{{.Name}}"},
        name="printed",
    )
    first, second = c.logs(timestamps=True, details=True).decode().splitlines()
    moment, details, text = first.split(" ")
    assert len(moment) == len("2026-11-26T11:54:43.985831485Z")
    assert datetime.datetime.fromisoformat(moment)
    assert (details, text) == ("X=y,a=1,b=x+y%26%C3%A9,tag=printed", "one")
    assert second.endswith(" two")
    assert first < second
    with c.logs(stream=True) as log:
        assert next(iter(log)).attributes == {"X": "y", "a": "1", "b": "x y&é", "tag": "printed"}


def test_the_file_is_dockers(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    c = ended(engine, busybox, r'printf "a\tb\001<&>\"\\ é \377 \r\n"; head -c 16390 /dev/zero | tr "\0" x; echo')
    text = log_file(roots, c).read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert text.startswith(
        '{"log":"a\\u0009b\\u0001\\u003c\\u0026\\u003e\\"\\\\ é \\ufffd \\r\\n","stream":"stdout","time":"'
    )
    assert [len(record["log"]) for record in records[1:]] == [16384, 7]
    assert records[1]["time"] == records[2]["time"]
    assert [list(record) for record in records] == [["log", "stream", "time"]] * 3


@pytest.mark.parametrize("driver", FILES)
def test_the_end_of_it(engine: minidock.Engine, busybox: str, driver: str) -> None:
    options = {"max-size": "20000", "max-file": "4", "compress": "false"}
    c = ended(engine, busybox, "seq 0 999", log_driver=driver, log_options=options)
    whole = c.logs()
    assert whole.endswith(numbers(900, 1000))
    for tail in (0, 1, 10, 333, 500, 100_000):
        lines = whole.splitlines(keepends=True)
        assert c.logs(tail=tail) == b"".join(lines[max(0, len(lines) - tail) :])
    assert c.logs(tail="all") == whole


def test_times(engine: minidock.Engine, busybox: str) -> None:
    c = ended(engine, busybox, "for i in 1 2 3; do echo $i; sleep 0.1; done")
    with c.logs(stream=True) as log:
        second = list(log)[1].time_ns
    text = f"{second // 10**9}.{second % 10**9:09}"
    stamp = c.logs(timestamps=True).decode().splitlines()[1].split(" ")[0]
    for since in (text, stamp, stamp.replace("Z", "+00:00")):
        assert c.logs(since=since) == b"2\n3\n"
        assert c.logs(until=since) == b"1\n2\n"
        assert c.logs(since=since, until=since) == b"2\n"
    assert c.logs(since=datetime.datetime.fromtimestamp(second // 10**9 - 10)) == b"1\n2\n3\n"
    assert c.logs(since="1h") == b"1\n2\n3\n"
    assert c.logs(until="1h") == b""
    assert c.logs(since="-1h") == b""
    assert c.logs(since=time.time() - 100) == b"1\n2\n3\n"
    assert c.logs(tail=1, until=text) == b""
    for bad in ("x", "1h2x", "2026-13-01", "", float("nan")):
        if bad == "":
            assert c.logs(since=bad) == b"1\n2\n3\n"
        else:
            with pytest.raises(InvalidArgument):
                c.logs(since=bad)
    for tail in (-1, "x", True, 1.5):
        with pytest.raises(InvalidArgument):
            c.logs(tail=tail)  # type: ignore[arg-type]


def test_a_terminal_writes_to_one_stream(engine: minidock.Engine, busybox: str) -> None:
    c = ended(engine, busybox, "echo out; echo err >&2", tty=True)
    assert c.logs(stderr=False) == b"out\r\nerr\r\n"
    assert c.logs(stdout=False) == b""


def test_runs_follow_each_other(engine: minidock.Engine, busybox: str) -> None:
    c = ended(engine, busybox, "echo run; printf half")
    c.start()
    c.wait(timeout=30)
    assert c.logs() == b"run\nhalfrun\nhalf"


@pytest.mark.parametrize("driver", FILES)
def test_following_to_the_end(engine: minidock.Engine, busybox: str, driver: str) -> None:
    c = run(engine, busybox, "for i in 0 1 2 3; do echo $i; sleep 0.1; done; echo last", log_driver=driver)
    with c.logs(stream=True, follow=True, timeout=60) as log:
        assert b"".join(line.data for line in log) == numbers(0, 4) + b"last\n"
    c.wait(timeout=30)
    assert c.logs(follow=True) == numbers(0, 4) + b"last\n"
    assert c.logs(follow=True, tail=0) == b""


def test_following_from_the_end(engine: minidock.Engine, busybox: str) -> None:
    c = run(engine, busybox, "echo before; read x; echo $x", stdin_open=True)
    wait_for(lambda: c.logs() == b"before\n")
    with c.logs(stream=True, follow=True, tail=0, timeout=60) as log:
        lines = iter(log)
        c.kill()
        assert list(lines) == []


def test_a_container_that_lived_a_moment(engine: minidock.Engine, busybox: str) -> None:
    for number in range(20):
        c = engine.containers.run(busybox, ["echo", str(number)], detach=True)
        assert c.logs(follow=True, timeout=60) == b"%d\n" % number


@pytest.mark.parametrize("driver", FILES)
@pytest.mark.parametrize("compress", ["true", "false"])
def test_following_across_rotations(engine: minidock.Engine, busybox: str, driver: str, compress: str) -> None:
    options = {"max-size": "50k", "max-file": "1000", "compress": compress}
    c = run(engine, busybox, "seq 0 29999", log_driver=driver, log_options=options)
    assert c.logs(follow=True, timeout=100) == numbers(0, 30_000)
    c.wait(timeout=30)
    assert c.logs() == numbers(0, 30_000)
    assert c.logs(tail=20_000) == numbers(10_000, 30_000)


def test_rotated_files(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    options = {"max-size": "100k", "max-file": "3", "compress": "true"}
    c = ended(engine, busybox, "seq 0 9999; sleep 0.5; echo end", log_options=options)
    file = log_file(roots, c)
    # The newest one may not have been compressed yet when the container ended: then that is given up.
    wait_for(lambda: not [*file.parent.glob("*.tmp")])
    names = sorted(path.name.removeprefix(file.name) for path in file.parent.glob(f"{file.name}*"))
    assert names in (["", ".1.gz", ".2.gz"], ["", ".1", ".2.gz"])
    with gzip.open(f"{file}.2.gz", "rt") as packed:
        records = [json.loads(line) for line in packed]
    assert records[0]["stream"] == "stdout"
    assert c.logs().endswith(b"9999\nend\n")
    assert c.logs().splitlines()[0] == records[0]["log"].strip().encode()


def test_rotation_is_on(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    script = "yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 21000000"
    c = ended(engine, busybox, script)
    file = log_file(roots, c)
    sizes = [path.stat().st_size for path in sorted(file.parent.glob(f"{file.name}*"))]
    assert len(sizes) == 3
    assert max(sizes) < 20_100_000
    c = ended(engine, busybox, script, log_options={"max-size": "-1"})
    assert log_file(roots, c).stat().st_size > 40_000_000


def test_without_a_log(engine: minidock.Engine, busybox: str) -> None:
    c = ended(engine, busybox, "echo hi", log_driver="none")
    with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
        c.logs()
    assert c.attrs["LogPath"] == ""


def test_never_started(engine: minidock.Engine, busybox: str) -> None:
    c = engine.containers.create(busybox, ["true"])
    assert c.logs() == b""
    assert c.logs(follow=True) == b""
    assert c.attrs["LogPath"] == ""


def test_a_deadline(engine: minidock.Engine, busybox: str) -> None:
    c = run(engine, busybox, "echo hi; sleep 1000", stop_timeout=0)
    wait_for(lambda: c.logs() == b"hi\n")
    with c.logs(stream=True, follow=True, timeout=1) as log:
        lines = iter(log)
        assert next(lines).data == b"hi\n"
        with pytest.raises(Timeout):
            next(lines)
    with pytest.raises(InvalidArgument):
        next(iter(log))


def test_closed_while_others_read(engine: minidock.Engine, busybox: str) -> None:
    """Each reader ends at once when its log is closed, though nothing is written, and stays closed."""
    c = run(engine, busybox, "echo begun; exec sleep 600", network_mode="none")
    logs = [c.logs(stream=True, follow=True, timeout=600) for _ in range(60)]
    begun, over = threading.Semaphore(0), threading.Semaphore(0)

    def read(log: Log) -> None:
        parts = iter(log)
        next(parts)
        begun.release()
        with pytest.raises(InvalidArgument, match="it is closed"):
            next(parts)
        over.release()

    threads = [threading.Thread(target=read, args=(log,), daemon=True) for log in logs]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=30)
    for log in logs:
        log.close()
    for _ in threads:
        assert over.acquire(timeout=30)
    c.remove(force=True)


def test_removed_while_it_is_followed(engine: minidock.Engine, busybox: str) -> None:
    c = run(engine, busybox, "echo hi; sleep 1000")
    with c.logs(stream=True, follow=True, timeout=60) as log:
        lines = iter(log)
        assert next(lines).data == b"hi\n"
        c.remove(force=True)
        assert list(lines) == []


def test_a_restart_ends_it(engine: minidock.Engine, busybox: str) -> None:
    c = run(engine, busybox, "echo start; sleep 0.5; echo end", restart="always")
    got = c.logs(follow=True, timeout=60)
    assert got.startswith(b"start\nend\n")
    wait_for(lambda: c.logs().count(b"start") > got.count(b"start"))


def _is_whole(data: bytes, driver: str) -> bool:
    """Whether a log ends with the end of a record; one of ``local`` is between its length and its length."""
    size = int.from_bytes(data[-4:], "big")
    return data.endswith(b"\n") if driver == "json-file" else data[-8 - size : -4 - size] == data[-4:]


def test_a_killed_supervisor(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    for driver in FILES:
        c = run(engine, busybox, "yes", log_driver=driver)
        path = log_file(roots, c)
        wait_for(lambda path=path: path.exists() and path.stat().st_size > 1 << 20)
        file = liveness.pid_file(engine.lifecycle.paths.run_container(c.id))
        assert file is not None
        with c.logs(stream=True, follow=True, tail=1, timeout=60) as log:
            os.kill(file.supervisor, signal.SIGKILL)
            assert all(line.data == b"y\n" for line in log)
        c.wait(timeout=30)
        if _is_whole(path.read_bytes(), driver):  # else the kill has torn a record already
            with path.open("ab") as damaged:
                damaged.write(b'{"log":"torn' if driver == "json-file" else b"\0\0\0\x20torn")
        before = c.logs()
        assert set(before.splitlines()) == {b"y"}
        c.start()
        c.kill()
        c.wait(timeout=30)
        assert set(c.logs().splitlines()) == {b"y"}
        c.remove()


@pytest.fixture
def small_disk(roots: Roots) -> Iterator[Path]:
    """The data root on a tmpfs of 40 MiB."""
    roots.data.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", str(roots.data)], check=True)
    yield roots.data
    subprocess.run(["umount", str(roots.data)], check=True)


@pytest.mark.parametrize("driver", FILES)
def test_a_full_disk(small_disk: Path, engine: minidock.Engine, busybox: str, driver: str) -> None:
    script = "seq 0 99999; echo full; while ! [ -e /go ]; do sleep 0.02; done; echo after"
    engine.containers.run(busybox, ["true"], remove=True)  # the helper is there
    ballast = small_disk / "ballast"
    with ballast.open("wb") as out, contextlib.suppress(OSError):
        while os.statvfs(small_disk).f_bavail > 256:  # 1 MiB
            out.write(b"x" * 65536)
            out.flush()
    c = run(engine, busybox, script, log_driver=driver)
    wait_for(lambda: os.statvfs(small_disk).f_bavail == 0, timeout=60)
    time.sleep(0.2)
    ballast.unlink()
    c.exec("touch /go")
    assert c.wait(timeout=60) == 0
    got = c.logs()
    # No half of a record, and it went on when there was room again.
    lines = got.splitlines()
    assert lines[-1] == b"after"
    known = [int(line) for line in lines if line.isdigit()]
    assert known[:1000] == list(range(1000))
    assert known == sorted(set(known))
    assert all(line.isdigit() or line in (b"full", b"after") for line in lines)


class Journal:
    """A journal that keeps the datagrams that it gets."""

    def __init__(self) -> None:
        JOURNAL.parent.mkdir(parents=True, exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(JOURNAL))
        self.socket.settimeout(30)

    def entry(self) -> dict[str, bytes]:
        """The next message's fields; those of a sealed file too."""
        data, files, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
        for fd in files:
            with open(fd, "rb") as file:
                file.seek(0)
                data += file.read()
        fields = {}
        while data:
            line, _, rest = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                size = int.from_bytes(rest[:8], "little")
                value, rest = rest[8 : 8 + size], rest[9 + size :]
            fields[name.decode()] = value
            data = rest
        return fields


@pytest.fixture
def journal() -> Iterator[Journal]:
    if JOURNAL.exists():
        pytest.skip("this host has a journal of its own")
    existed = [path for path in (JOURNAL.parent.parent, JOURNAL.parent) if path.exists()]
    it = Journal()
    yield it
    it.socket.close()
    JOURNAL.unlink()
    for path in (JOURNAL.parent, JOURNAL.parent.parent):
        if path not in existed:
            path.rmdir()


def test_journald(engine: minidock.Engine, busybox: str, journal: Journal) -> None:
    script = "echo out; sleep 0.1; echo err >&2; sleep 0.1; head -c 20000 /dev/zero | tr '\\0' x"
    options = {"labels": "com.x-y", "tag": "{{.Name}}/{{.ImageName}}"}
    c = ended(
        engine, busybox, script, log_driver="journald", log_options=options, labels={"com.x-y": "a\nb"}, name="written"
    )
    out, err, first, last = (journal.entry() for _ in range(4))
    assert (out["MESSAGE"], out["PRIORITY"], err["MESSAGE"], err["PRIORITY"]) == (b"out", b"6", b"err", b"3")
    assert out["CONTAINER_ID_FULL"].decode() == c.id
    assert out["CONTAINER_ID"].decode() == c.short_id
    assert (out["CONTAINER_NAME"], out["IMAGE_NAME"]) == (b"written", b"busybox")
    assert out["CONTAINER_TAG"] == out["SYSLOG_IDENTIFIER"] == b"written/busybox"
    assert out["COM_X_Y"] == b"a\nb"
    assert "CONTAINER_PARTIAL_ID" not in out
    assert (len(first["MESSAGE"]), len(last["MESSAGE"])) == (16384, 3616)
    assert (first["CONTAINER_PARTIAL_MESSAGE"], first["CONTAINER_PARTIAL_ORDINAL"]) == (b"true", b"1")
    assert first["CONTAINER_PARTIAL_ID"] == last["CONTAINER_PARTIAL_ID"]
    # The copy is what `logs` reads.
    assert c.logs() == b"out\nerr\n" + b"x" * 20000
    assert c.attrs["LogPath"] == ""


def test_a_journal_that_is_not_there(engine: minidock.Engine, busybox: str) -> None:
    if JOURNAL.exists():
        pytest.skip("this host has a journal of its own")
    with pytest.raises(Unsupported, match="journald is not enabled on this host"):
        run(engine, busybox, "true", log_driver="journald")


def test_a_journal_that_reads_slowly(engine: minidock.Engine, busybox: str, journal: Journal) -> None:
    # Once the container has ended, what is left has ten seconds.
    c = run(engine, busybox, "seq 0 4999; until [ -e /go ]; do sleep 0.05; done", log_driver="journald")
    got = [journal.entry()["MESSAGE"] for _ in range(5000)]
    assert b"\n".join(got) + b"\n" == numbers(0, 5000)
    c.exec("touch /go")  # which its end may kill
    c.wait(timeout=60)
    assert c.logs() == numbers(0, 5000)


@pytest.mark.parametrize("kind", ["udp", "tcp", "unixgram", "unix"])
def test_syslog(engine: minidock.Engine, busybox: str, tmp_path: Path, kind: str) -> None:
    stream = kind in ("tcp", "unix")
    family = socket.AF_UNIX if kind.startswith("unix") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as server:
        # A datagram goes to the first address of a name, a connection to the first that takes it.
        host = "localhost" if stream else "127.0.0.1"
        server.bind(str(tmp_path / "log") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        server.settimeout(30)
        if stream:
            server.listen()
        name = server.getsockname()
        address = f"{kind}://{name}" if family == socket.AF_UNIX else f"{kind}://{host}:{name[1]}"
        options = {"syslog-address": address, "syslog-facility": "local1", "syslog-format": "rfc5424", "tag": "me"}
        c = ended(engine, busybox, "echo one; sleep 0.1; echo two >&2", log_driver="syslog", log_options=options)
        received = b""
        if stream:
            with server.accept()[0] as connection:
                while data := connection.recv(65536):
                    received += data
        else:
            received = server.recv(65536) + server.recv(65536)
    first, second = received.decode().splitlines()
    assert first.startswith("<142>1 ")
    assert first.endswith(" me - one")
    assert second.startswith("<139>1 ")
    assert second.endswith(" me - two")
    assert c.logs() == b"one\ntwo\n"


def test_a_copy_that_is_not_wanted(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        options = {"syslog-address": f"udp://127.0.0.1:{server.getsockname()[1]}", "cache-disabled": "true"}
        c = ended(engine, busybox, "echo hi", log_driver="syslog", log_options=options)
        assert server.recv(1000).endswith(b": hi\n")
    with pytest.raises(Unsupported):
        c.logs()
    assert not list((roots.data / "containers" / c.id).glob("*log*"))


def test_a_server_that_reads_nothing(engine: minidock.Engine, busybox: str) -> None:
    """``mode=blocking`` holds the container back; with ``non-blocking`` it goes on, and what is newest is lost."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = {"syslog-address": f"tcp://127.0.0.1:{server.getsockname()[1]}", "cache-max-file": "10000"}
        c = run(engine, busybox, "seq 0 999999", log_driver="syslog", log_options=options)
        with server.accept()[0] as connection:
            time.sleep(1)
            c.reload()
            assert c.status == "running"
            # It can be stopped nevertheless, and its supervisor ends.
            reader = threading.Thread(target=lambda: [None for _ in iter(lambda: connection.recv(1 << 16), b"")])
            reader.start()
            assert c.wait(timeout=100) == 0
            reader.join()
        options |= {"mode": "non-blocking", "max-buffer-size": "100k"}
        c = run(engine, busybox, "seq 0 999999", log_driver="syslog", log_options=options)
        with server.accept()[0]:
            assert c.wait(timeout=60) == 0


def test_the_command(cli_busybox: Cli) -> None:
    cli = cli_busybox
    name = "written"
    cli(
        "run",
        "--name",
        name,
        "--label",
        "a=b",
        "--log-opt",
        "labels=a",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2",
    )
    done = cli("logs", name)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 0)
    done = cli("container", "logs", "--tail", "1", "--details", name)
    assert (done.stdout + done.stderr) in (b"a=b out\n", b"a=b err\n")
    assert cli("logs", "-n", "nonsense", name).stdout == b"out\n"
    assert cli("logs", "--tail=-1", name).stdout == b"out\n"
    assert cli("logs", "-n0", "-f", name).stdout == b""
    assert b"Z out\n" in cli("logs", "-t", name).stdout
    assert cli("logs", "--since", "1h", "--until", "0s", name).stdout == b"out\n"
    assert cli("logs", "--since", "2100-01-01", name).stdout == b""
    done = cli("logs", "--since", "x", name)
    assert done.returncode == 1
    assert b'invalid value for "since": failed to parse value as time or duration: "x"' in done.stderr
    assert cli("logs", "nosuch").returncode == 1
    assert b"requires 1 argument" in cli("logs").stderr
    done = cli("run", "--log-driver", "none", "--log-opt", "a=b", "busybox", "true")
    assert b"invalid logging opts for driver none" in done.stderr
    cli.ok("run", "--log-driver", "none", "--name", "silent", "busybox", "true")
    assert b"configured logging driver does not support reading" in cli("logs", "silent").stderr
    cli.ok("rm", name, "silent")


def test_the_command_follows(cli_busybox: Cli) -> None:
    cli = cli_busybox
    cli.ok("run", "-d", "--name", "it", "busybox", "sh", "-c", "echo 1; sleep 0.3; echo 2 >&2; sleep 0.3; echo 3")
    done = cli("logs", "-f", "it")
    assert (done.stdout, done.stderr, done.returncode) == (b"1\n3\n", b"2\n", 0)
    cli.ok("rm", "it")


def test_nobody_reads_what_is_followed(cli_busybox: Cli) -> None:
    cli = cli_busybox
    cli.ok("run", "-d", "--name", "it", "busybox", "yes")
    process = cli.popen("logs", "-f", "it", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(100_000)
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    cli.ok("rm", "-f", "it")


def test_ctrl_c_ends_a_command_that_follows(cli_busybox: Cli) -> None:
    cli = cli_busybox
    cli.ok("run", "-d", "--name", "it", "busybox", "sh", "-c", "echo hi; sleep 1000")
    process = cli.popen("logs", "-f", "it", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"hi\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    cli.ok("rm", "-f", "it")
