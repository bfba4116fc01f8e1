"""Ctrl-C while a build runs a command, fetches, copies or uploads: it ends at once, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.errors import Cancelled
from tests.conftest import Cli, Roots, wait_for
from tests.faults.build_state import check_cache, left
from tests.faults.build_zygote import DOCKERFILE, write_context
from tests.faults.lives import SOAK
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.registry import build_image

MOMENTS = 80 if SOAK else 3
CACHE = "RUN --network=none --mount=type=cache,target=/c,sharing=locked "
SLEEP = f"{CACHE}echo begun; echo x >> /c/x; trap '' INT TERM; sleep 1000\n"
BASE = "FROM busybox AS one\nRUN --network=none echo made > /made\n"


@pytest.fixture
def gate(hostile: HostileRegistry) -> Iterator[threading.Event]:
    """What stalls the registry, until the test is over."""
    made = threading.Event()
    yield made
    made.set()


class Case:
    """A build that does not end by itself: Dockerfile, arguments, and when it is in the middle."""

    def __init__(self, hostile: HostileRegistry, gate: threading.Event, folder: Path) -> None:
        self.hostile = hostile
        self.gate = gate
        self.folder = folder
        self.dockerfile = BASE
        self.arguments: list[str] = []
        self.log = folder.parent / "log"
        self.begun: Callable[[], object] = lambda: self.asked("/")

    def asked(self, part: str) -> bool:
        return bool(self.hostile.requests("", part))

    def said(self, text: bytes) -> bool:
        return text in self.log.read_bytes()

    # the cases

    def command(self) -> None:
        self.dockerfile += SLEEP
        self.begun = lambda: self.said(b" begun\n")

    def command_of_another_stage(self) -> None:
        self.dockerfile += f"{SLEEP}FROM busybox\nCOPY --from=one /made /\n"
        self.begun = lambda: self.said(b" begun\n")

    def fetch(self) -> None:
        self.hostile.serve("/file", b"x" * 100_000)
        self.hostile.rule("/file", stall_after=1000)
        self.dockerfile += f"ADD {self.hostile.url}/file /\n"

    def fetch_that_trickles_for_another_stage(self) -> None:
        self.hostile.serve("/file", b"x" * 100_000)
        self.hostile.rule("/file", rate=2000)
        self.dockerfile += f"ADD {self.hostile.url}/file /\nFROM busybox\nCOPY --from=one /made /\n"

    def fetch_of_a_context(self) -> None:
        self.hostile.rule("/x.tar", gate=self.gate)
        self.arguments = ["--build-context", f"more={self.hostile.url}/x.tar"]
        self.dockerfile += "COPY --from=more /f /\nFROM busybox\nCOPY --from=one /made /\n"

    def clone(self) -> None:
        self.hostile.rule(r"/x\.git", gate=self.gate)
        self.dockerfile += f"ADD {self.hostile.url}/x.git /src/\n"

    def pull(self) -> None:
        self.hostile.add("some/base", "latest", build_image([tar_of(("f", os.urandom(100_000)))]))
        self.hostile.rule("/blobs/", stall_after=1000)
        self.dockerfile = f"FROM {self.hostile.host}/some/base\nCOPY . /\n"
        self.begun = lambda: self.asked("/blobs/")

    def copy(self) -> None:
        os.truncate(self.folder / "big", 4 << 30)
        self.dockerfile += "COPY big /\n"
        self.begun = lambda: self.said(b"COPY big /\n")

    def upload(self) -> None:
        self.hostile.rule("/uploads/", gate=self.gate, method="PATCH|PUT")
        self.hostile.rule("/uploads/[0-9a-f]", gate=self.gate)
        self.arguments = ["--cache-to", f"type=registry,ref={self.hostile.host}/some/cache"]
        self.begun = lambda: self.asked("/uploads/")


CASES = [name for name, value in vars(Case).items() if callable(value) and name[0] != "_"]
CASES = [name for name in CASES if name not in ("asked", "said")]


@pytest.fixture
def case(request: pytest.FixtureRequest, hostile: HostileRegistry, gate: threading.Event, tmp_path: Path) -> Case:
    """The case that the test is parametrised with."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "big").write_bytes(b"x")
    made = Case(hostile, gate, folder)
    getattr(made, request.param)()
    (folder / "Dockerfile").write_text(made.dockerfile)
    return made


def begun(cli: Cli, case: Case) -> subprocess.Popen[bytes]:
    """The build, in the middle."""
    with case.log.open("wb") as log:
        process = cli.popen("build", "--progress=plain", *case.arguments, str(case.folder), stderr=log)
    wait_for(lambda: case.begun() or process.poll() is not None, 30, case.log.read_text())
    assert process.poll() is None, case.log.read_text()
    return process


def _goes_on(cli: Cli, roots: Roots, case: Case) -> None:
    """Nothing is left, and the next build finds what was done, and the cache mount free."""
    cli.ok("ps", "-aq")
    wait_for(lambda: not left(roots), 10, f"the end of {left(roots)}")
    (case.folder / "Dockerfile").write_text(f"{BASE}{CACHE}true\n")
    done = cli("build", "--progress=plain", str(case.folder))
    assert done.returncode == 0, done.stderr
    if case.dockerfile.startswith(BASE):
        assert b" CACHED" in done.stderr
    assert cli.ok("ps", "-aq") == ""


@pytest.mark.parametrize("case", CASES, indirect=True)
@pytest.mark.timeout(300)
def test_interrupted(cli_busybox: Cli, roots: Roots, case: Case) -> None:
    process = begun(cli_busybox, case)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    log = case.log.read_text()
    assert "Traceback" not in log
    assert log.endswith("minidock: the build was interrupted; what was done stays in the build cache\n")
    wait_for(lambda: not _programs(case.hostile), what="the end of the programs")
    _goes_on(cli_busybox, roots, case)


def _programs(hostile: HostileRegistry) -> list[str]:
    """Programs of git's that still talk to the registry."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if hostile.host in line and "git" in line:
            found.append(line)
    return found


@pytest.mark.parametrize("case", ["command_of_another_stage", "fetch_that_trickles_for_another_stage"], indirect=True)
@pytest.mark.timeout(300)
def test_interrupted_again_and_again(cli_busybox: Cli, roots: Roots, case: Case) -> None:
    """Who cannot wait makes it no worse."""
    process = begun(cli_busybox, case)
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        threading.Event().wait(0.05)
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in case.log.read_text()
    _goes_on(cli_busybox, roots, case)


@pytest.mark.timeout(3600 if SOAK else 300)
def test_interrupted_at_any_moment(cli_busybox: Cli, roots: Roots, tmp_path: Path) -> None:
    """130, or it was done; and what it was goes on to the same image."""
    cli, log, context = cli_busybox, tmp_path / "log", tmp_path / "context"
    write_context(context, 4 << 20)
    (context / "Dockerfile").write_text(DOCKERFILE.replace("RUN ", "RUN --network=none "))
    (context / ".dockerignore").write_text("Dockerfile")
    (tmp_path / "secret").write_text("secret")
    cache = f"type=local,dest={tmp_path}/cache,mode=max,mounts=true"
    words = ["build", "--secret", f"id=s,src={tmp_path}/secret", "--cache-to", cache]
    begin = time.monotonic()
    image = cli.ok(*words, "-q", str(context))
    whole = time.monotonic() - begin
    for number in range(MOMENTS):
        cli.ok("rmi", "-f", image.strip())
        cli.ok("builder", "prune", "-af")
        with log.open("wb") as file:
            process = cli.popen(*words, "--progress=plain", str(context), stderr=file)
        wait_for(lambda: log.read_bytes().startswith(b"#1"), 30)
        time.sleep(whole * (number + 0.5) / MOMENTS)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
        assert code in (0, 130), log.read_text()
        assert "Traceback" not in log.read_text()
        cli.ok("ps", "-aq")
        wait_for(lambda: not left(roots), 10, f"the end of {left(roots)}")
        assert cli.ok(*words, "-q", str(context)) == image
        check_cache(tmp_path / "cache", mounts=1)


def test_a_copy_that_is_cancelled(tmp_path: Path) -> None:
    """In a stage that no interrupt reaches, too: in the middle of one large file."""
    from minidock.build.copying import Placing
    from minidock.build.merged import Merged
    from minidock.build.sources import Source

    (tmp_path / "c").mkdir()
    (tmp_path / "c/big").touch()
    os.truncate(tmp_path / "c/big", 8 << 30)
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 4:
            raise Cancelled("the build was cancelled")

    tree = Source(Merged([str(tmp_path / "c")]), "the context")
    placing = Placing(Merged([]), owner=None, mode="", date=0, now=0, check=check)
    [match] = tree.match("big")
    placing.copy(tree, match, "/")
    with (tmp_path / "tar").open("wb") as out:
        with pytest.raises(Cancelled):
            placing.write_tar(out.fileno())
        assert out.seek(0, os.SEEK_END) < 1 << 30
