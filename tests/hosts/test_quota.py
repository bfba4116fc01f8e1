"""Size limits of containers and volumes, where the file system has project quotas (ext4 and xfs with ``prjquota``)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots, wait_for

if TYPE_CHECKING:
    from minidock.containers.options import CreateOptions as Options

WHERE = "/var/tmp"
MIB = 1 << 20
SIZE: Options = {"network": "none", "storage_opt": {"size": "16m"}}
FULL = (b"No space left", b"uota exceeded")

_GET_ATTRIBUTES = 0x801C581F
_SET_ATTRIBUTES = 0x401C5820
_INHERIT = 0x200
_GET_QUOTA = 0x800007 << 8 | 2
_GET_NEXT_QUOTA = 0x800009 << 8 | 2
_OURS = 0x40000000


def has_quotas() -> bool:
    """Whether the tests' files are on a file system with project quotas."""
    device = os.stat(WHERE).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[2] == number:
            return "prjquota" in words[-1].split(",")
    return False


pytestmark = pytest.mark.skipif(not has_quotas(), reason=f"the file system of {WHERE} has no project quotas")


def project(path: str | Path) -> int:
    """The number of a directory's project."""
    fd = os.open(path, os.O_RDONLY)
    try:
        found = fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(28))
    finally:
        os.close(fd)
    return int(struct.unpack_from("=4I", found)[3])


def used() -> dict[int, int]:
    """The bytes of all projects of ours that something is of."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(WHERE, os.O_RDONLY)
    found = {}
    following = _OURS
    try:
        while True:
            block = ctypes.create_string_buffer(80)
            if libc.syscall(443, fd, _GET_NEXT_QUOTA, following, block):
                return found
            _, _, space, _, _, inodes, _, _, _, number = struct.unpack_from("=8QII", block)
            if space or inodes:
                found[number] = space
            following = number + 1
    finally:
        os.close(fd)


def fill(container: minidock.Container, path: str, mib: int) -> bool:
    """Whether so much fits into a file."""
    done = container.exec(["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={mib}"])
    if done.exit_code:
        assert any(words in done.stderr for words in FULL), done.stderr
    return done.exit_code == 0


def test_containers_get_no_more(engine: minidock.Engine, busybox: str, roots: Roots) -> None:
    """Each has its own limit, sees it, and keeps it when it starts again; what it deletes is room for it."""
    one, two = (engine.containers.run(busybox, "sleep 1000", detach=True, **SIZE) for _ in range(2))
    assert fill(one, "/a", 8)
    assert not fill(one, "/b", 16)
    upper = f"{roots.data}/containers/{one.id}/rw/upper"
    assert sum(os.stat(f"{upper}/{name}").st_size for name in "ab") <= 16 * MIB
    assert fill(two, "/a", 12)
    size = two.exec(["df", "-k", "/"]).stdout.split(b"\n")[1].split()
    assert int(size[1]) == 16384
    one.restart(timeout=0)
    assert not fill(one, "/c", 8)
    one.exec(["rm", "/a", "/b", "/c"])
    assert fill(one, "/d", 12)
    numbers = {project(f"{roots.data}/containers/{container.id}/rw") for container in (one, two)}
    assert len(numbers) == 2
    assert min(numbers) >= _OURS


def test_numbers_are_free_again(engine: minidock.Engine, busybox: str) -> None:
    """Nothing is of a removed container's project, and who gets its number has all of the room."""
    before = used()
    for _ in range(3):
        container = engine.containers.run(busybox, "sleep 1000", detach=True, **SIZE)
        assert fill(container, "/a", 12)
        container.remove(force=True)
        wait_for(lambda: used() == before, 30, "the end of the project")


def test_what_goes_in_and_out(cli_busybox: Cli, engine: minidock.Engine, tmp_path: Path) -> None:
    """What is copied in counts, and fails at the limit; out of it goes everything, and an image of it has no limit."""
    (tmp_path / "small").write_bytes(os.urandom(4 * MIB))
    (tmp_path / "large").write_bytes(os.urandom(32 * MIB))
    container = engine.containers.run("busybox", "sleep 1000", detach=True, name="full", **SIZE)
    cli_busybox.ok("cp", str(tmp_path / "small"), "full:/small")
    refused = cli_busybox("cp", str(tmp_path / "large"), "full:/large")
    assert refused.returncode == 1
    assert refused.stderr.count(b"\n") == 1
    assert b"no space left" in refused.stderr.lower() or b"quota" in refused.stderr.lower()
    container.exec(["rm", "-f", "/large"])
    assert not fill(container, "/more", 16)
    cli_busybox.ok("cp", "full:/small", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "small").read_bytes()
    cli_busybox.ok("commit", "full", "fuller")
    free = engine.containers.run("fuller", "sleep 1000", detach=True, network="none")
    assert fill(free, "/b", 24)


def test_volumes_hold_no_more(engine: minidock.Engine, busybox: str) -> None:
    for name in ("v1", "v2"):
        engine.volumes.create(name, driver_opts={"size": "8m"})
    options = {"network": "none", "volumes": ["v1:/v1", "v2:/v2"]}
    container = engine.containers.run(busybox, "sleep 1000", detach=True, **options)
    assert not fill(container, "/v1/a", 12)
    assert fill(container, "/v2/a", 6)
    size = container.exec(["df", "-k", "/v2"]).stdout.split(b"\n")[1].split()
    assert int(size[1]) == 8192
    assert fill(container, "/a", 24)
    container.remove(force=True)


def limit(path: str | Path) -> int:
    """The most bytes that a directory's project may take."""
    libc = ctypes.CDLL(None, use_errno=True)
    block = ctypes.create_string_buffer(72)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert libc.syscall(443, fd, _GET_QUOTA, project(path), block) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(fd)
    return int(struct.unpack_from("=Q", block)[0]) * 1024


def set_project(path: Path, number: int) -> None:
    """Put a directory into a project, and what is made in it later."""
    fd = os.open(path, os.O_RDONLY)
    try:
        found = bytearray(fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(28)))
        struct.pack_into("=I", found, 0, struct.unpack_from("=I", found)[0] | _INHERIT)
        struct.pack_into("=I", found, 12, number)
        fcntl.ioctl(fd, _SET_ATTRIBUTES, bytes(found))
    finally:
        os.close(fd)


def test_an_engine_in_a_limited_volume(engine: minidock.Engine, roots: Roots) -> None:
    """It has no limits of its own to give: the number that its directories have is the outer volume's."""
    outer = engine.volumes.create("outer", driver_opts={"size": "64m"})
    kept = project(outer.mountpoint), limit(outer.mountpoint)
    assert kept[1] == 64 * MIB
    with minidock.Engine(
        data_root=f"{outer.mountpoint}/data", run_root=f"{roots.run}-inner", config=roots.config
    ) as inner:
        inner.volumes.create("free")  # its data root is made with what comes first
        assert project(f"{outer.mountpoint}/data") == kept[0]
        with pytest.raises(errors.Unsupported, match=r"create limited: .*whose size is limited already"):
            inner.volumes.create("limited", driver_opts={"size": "8m"})
        with pytest.raises(errors.Unsupported, match=r"storage option size: .*whose size is limited already"):
            inner.containers.create("minidock/hello", **SIZE)
        assert [volume.name for volume in inner.volumes.list()] == ["free"]
    assert (project(outer.mountpoint), limit(outer.mountpoint)) == kept


def test_a_data_root_of_an_administrator_s_project(engine: minidock.Engine, roots: Roots) -> None:
    """A limited volume could not be moved to its place there, which is said; what a container writes is not moved."""
    data = roots.data.parent / "data-of-a-project"
    data.mkdir()
    set_project(data, 4711)
    with minidock.Engine(data_root=data, run_root=f"{roots.run}-inner", config=roots.config) as inner:
        with pytest.raises(errors.Unsupported, match=r"create limited: .*a directory of project 4711"):
            inner.volumes.create("limited", driver_opts={"size": "8m"})
        inner.volumes.create("free")
        container = inner.containers.create("minidock/hello", **SIZE)
        assert project(f"{data}/containers/{container.id}/rw") >= _OURS
        container.start()
        assert container.wait() == 0
        container.remove()


def test_killed_while_it_is_made(cli_busybox: Cli, engine: minidock.Engine, roots: Roots) -> None:
    """Wherever ``create`` is killed: there is a container with its limit, or nothing."""
    before = used()
    begin = time.monotonic()
    words = ("create", "--network", "none", "--storage-opt", "size=16m", "busybox", "true")
    cli_busybox.ok(*words)
    whole = time.monotonic() - begin
    for part in range(1, 9):
        with cli_busybox.popen(*words, stdout=subprocess.DEVNULL) as process:
            time.sleep(whole * (0.6 + part / 20))
            process.send_signal(signal.SIGKILL)
    for container in engine.containers.list(all=True):
        assert project(f"{roots.data}/containers/{container.id}/rw") >= _OURS
        container.start()
        container.remove(force=True)
    engine.containers.run("busybox", "true", remove=True, network="none")
    wait_for(lambda: used() == before, 30, "the end of the projects")
    assert os.listdir(roots.data / "containers") == []
