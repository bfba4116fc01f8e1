"""A full disk, hostile processes, many at once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots
from tests.faults.state import assert_clean
from tests.rootfs import busybox_tar

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"


@pytest.fixture
def small_disk(roots: Roots, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The data root on a tmpfs of 24 MiB, or as many as the test's parameter says."""
    roots.data.mkdir(mode=0o700)
    size = getattr(request, "param", 24)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", str(roots.data)], check=True)
    yield roots.data
    subprocess.run(["umount", str(roots.data)], check=True)


def test_full_disk_is_one_line_and_leaves_nothing(cli: Cli, small_disk: Path) -> None:
    cli.ok("import", str(busybox_tar()), "one")
    files = {p for p in small_disk.rglob("*") if p.is_file()}
    big = small_disk.parent / "big.tar"
    with big.open("wb") as out:
        subprocess.run(["tar", "-c", "-C", "/", "usr/share/doc"], stdout=out, check=False)
    done = cli("import", str(big), "two")
    assert done.returncode != 0
    message = done.stderr.decode().strip()
    assert len(message.splitlines()) == 1
    assert "no space left" in message.lower()
    assert {p for p in small_disk.rglob("*") if p.is_file()} - files <= {
        p for p in small_disk.iterdir() if p.name.startswith("minidock.db")
    }
    assert cli.ok("images", "-q").split()
    done = cli(
        "run", "--rm", "--network", "none", "one", "sh", "-c", "dd if=/dev/zero of=/x bs=1M count=64 2>/dev/null"
    )
    assert done.returncode == 1
    assert cli.ok("run", "--rm", "--network", "none", "one", "echo", "still here") == "still here\n"


@pytest.mark.parametrize("small_disk", [40], indirect=True)
@pytest.mark.parametrize("command", [["rmi", "one"], ["image", "prune", "-af"]])
def test_full_disk_can_be_emptied(cli: Cli, small_disk: Path, command: list[str]) -> None:
    cli.ok("import", str(busybox_tar()), "one")
    with (small_disk / "others").open("wb") as out, contextlib.suppress(OSError):
        while True:
            out.write(b"x" * 65536)
            out.flush()
    assert os.statvfs(small_disk).f_bavail == 0
    assert cli.ok("images", "-q").split()
    cli.ok(*command)
    assert not [line for line in cli.ok("images").splitlines() if line.startswith("one ")]
    assert os.statvfs(small_disk).f_bavail


def test_two_hundred_at_the_same_time(engine: minidock.Engine, busybox: str, cli: Cli, roots: Roots) -> None:
    codes: list[int] = []

    def one(number: int) -> None:
        codes.append(engine.containers.run(busybox, ["sh", "-c", f"exit {number % 7}"], remove=True).exit_code)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == sorted(n % 7 for n in range(200))
    assert_clean(cli, roots)


def test_one_name_for_many_callers(engine: minidock.Engine, busybox: str) -> None:
    made: list[str] = []
    refused: list[errors.MinidockError] = []

    def one() -> None:
        try:
            made.append(engine.containers.create(busybox, ["true"], name="only-one").id)
        except errors.NameInUse as error:
            refused.append(error)

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(refused) == 15


def test_fork_bomb_is_held_by_the_pids_limit(engine: minidock.Engine, busybox: str) -> None:
    bomb = "b() { b | b & }; b; sleep 1; ls -d /proc/[0-9]* | wc -l"
    result = engine.containers.run(busybox, ["sh", "-c", bomb], pids_limit=40, timeout=10, remove=True)
    assert result.timed_out or result.exit_code != 0 or int(result.stdout.split()[-1]) <= 41


def test_container_that_ignores_every_signal_ends_at_its_timeout(engine: minidock.Engine, busybox: str) -> None:
    script = "trap '' TERM INT HUP QUIT; while :; do sleep 1; done"
    result = engine.containers.run(busybox, ["sh", "-c", script], timeout=0.5, remove=True)
    assert result.timed_out
    assert result.exit_code == 137


def test_memory_hog_is_killed_and_said_so(engine: minidock.Engine, busybox: str) -> None:
    eater = ["sh", "-c", "x=a; while :; do x=$x$x; done"]
    result = engine.containers.run(busybox, eater, memory="16m", memswap_limit="16m", timeout=60, remove=True)
    assert result.oom_killed
    assert result.exit_code == 137


def test_inode_exhaustion(cli_busybox: Cli, roots: Roots) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do : > /dev/shm/f$i || break; i=$((i+1)); done; echo made $i"
    done = cli_busybox("run", "--rm", "--network", "none", "--shm-size", "1m", "busybox", "sh", "-c", script)
    assert b"made" in done.stdout
    assert_clean(cli_busybox, roots)
