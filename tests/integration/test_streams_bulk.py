"""Much through every stream: nothing is lost, nothing comes twice, nothing hangs (1 GiB with ``MINIDOCK_SOAK``)."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

import minidock
from tests.conftest import Cli, wait_for

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
SIZE = 1 << 30 if SOAK else 24 << 20
CONTAINERS = 10_000 if SOAK else 60
UNLIMITED = ["--log-opt", "max-size=-1"]


class Digest:
    """The digest of what a pipe gives, taken in a thread of its own."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self.pipe = pipe
        self.hash = hashlib.sha256()
        self.size = 0
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        while chunk := self.pipe.read(1 << 18):
            self.hash.update(chunk)
            self.size += len(chunk)

    def result(self) -> tuple[int, str]:
        """Size and digest, at the end."""
        self.thread.join()
        return self.size, self.hash.hexdigest()


def make(path: Path, *, text: bool) -> tuple[int, str]:
    """Write ``SIZE`` bytes that never repeat, with lines of all lengths if they are text; their size and digest."""
    hashed = hashlib.sha256()
    with path.open("wb") as out:
        size = 0
        while size < SIZE:
            data = os.urandom(1 << 20)
            if text:
                # "A" ends a line: the 64th byte on average, and some are longer than a record.
                data = base64.b64encode(data[: 3 << 18]).replace(b"A", b"\n") + b"=" * (data[0] * 100) + b"\n"
            hashed.update(data)
            size += len(data)
            out.write(data)
    return size, hashed.hexdigest()


def started(cli: Cli, *argv: str, stdin: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    return cli.popen(*argv, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_all_that_a_container_copies(cli_busybox: Cli, tmp_path: Path, driver: str) -> None:
    """Into a container and out of it, to its caller, to one who attaches, into the log, read at once and later."""
    cli = cli_busybox
    # json-file cannot keep what is not UTF-8.
    expected = make(tmp_path / "data", text=driver == "json-file")
    # It begins when everybody is there.
    script = "while ! [ -e /go ]; do sleep 0.05; done; exec cat"
    flags = ["--log-driver", driver, *UNLIMITED]
    with (tmp_path / "data").open("rb") as data:
        caller = started(cli, "run", "-i", "--name", "copier", *flags, "busybox", "sh", "-c", script, stdin=data)
        wait_for(lambda: cli("ps", "-q", "--filter", "name=copier").stdout != b"", 60)
        attached = started(cli, "attach", "--no-stdin", "copier")
        following = started(cli, "logs", "-f", "copier")
        digests = [Digest(process.stdout) for process in (caller, attached, following)]
        told = ("events", "--since=1h", "--until=0s", "--filter=event=attach", "--filter=container=copier")
        wait_for(lambda: cli.ok(*told).count("container attach") == 2, 60, "the second attachment")
        cli.ok("exec", "copier", "touch", "/go")
        for process in (caller, attached, following):
            assert process.wait(timeout=3000) == 0
    results = [digest.result() for digest in digests]
    assert results[0] == expected
    assert results[2] == expected
    assert results[1] == expected
    later = started(cli, "logs", "copier")
    assert Digest(later.stdout).result() == expected
    assert later.wait(timeout=60) == 0
    cli.ok("rm", "copier")


@pytest.mark.timeout(3600)
def test_all_that_an_exec_copies(cli_busybox: Cli, tmp_path: Path) -> None:
    cli = cli_busybox
    expected = make(tmp_path / "data", text=False)
    cli.ok("run", "-d", "--name", "host", "busybox", "sleep", "3600")
    with (tmp_path / "data").open("rb") as data:
        process = started(cli, "exec", "-i", "host", "cat", stdin=data)
        digest = Digest(process.stdout)
        assert process.wait(timeout=3000) == 0
    assert digest.result() == expected
    cli.ok("rm", "-f", "host")


@pytest.mark.timeout(3600)
def test_all_that_python_captures(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    size, digest = make(tmp_path / "data", text=False)
    if size > 64 << 20:
        pytest.skip("a result in memory has a limit of its own")
    data = (tmp_path / "data").read_bytes()
    result = engine.containers.run(busybox, ["cat"], input=data, remove=True, output_limit=2 * size)
    assert hashlib.sha256(result.stdout).hexdigest() == digest


@pytest.mark.timeout(3600)
def test_both_streams_at_once(cli_busybox: Cli) -> None:
    """Each stream is whole, in the log and at its reader, while both are written as fast as can be."""
    cli = cli_busybox
    count = SIZE // 40
    script = f"seq 1 {count} & seq 1 {count} >&2; wait"
    expected = hashlib.sha256()
    for first in range(1, count + 1, 1 << 16):
        behind = min(first + (1 << 16), count + 1)
        expected.update(b"".join(b"%d\n" % number for number in range(first, behind)))
    argv = ["run", "--name", "both", *UNLIMITED, "busybox", "sh", "-c", script]
    for command in (argv, ["logs", "both"], ["logs", "-f", "both"]):
        process = cli.popen(*command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        digests = [Digest(process.stdout), Digest(process.stderr)]
        assert process.wait(timeout=3000) == 0
        assert [digest.result()[1] for digest in digests] == [expected.hexdigest()] * 2
    cli.ok("rm", "both")


@pytest.mark.timeout(7200)
def test_many_containers_of_one_line(engine: minidock.Engine, busybox: str) -> None:
    """Their line is in their log, and whoever follows from the start sees it, once."""

    def one(number: int) -> tuple[bytes, bytes]:
        container = engine.containers.run(busybox, ["echo", f"line {number}"], detach=True)
        seen = container.logs(follow=True, timeout=60)
        container.wait(timeout=60)
        kept = container.logs()
        container.remove()
        return seen, kept

    with ThreadPoolExecutor(8) as pool:
        for number, result in enumerate(pool.map(one, range(CONTAINERS))):
            assert result == (b"line %d\n" % number,) * 2
