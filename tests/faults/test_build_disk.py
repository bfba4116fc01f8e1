"""A full disk in every phase of a build: it says so, gives back what it took, and passes when there is room again."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.errors import MinidockError
from minidock.store.cleaner import cleaner
from tests.conftest import Cli, Roots, wait_for
from tests.faults.build_state import check_cache, left
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.registry import build_image
from tests.rootfs import busybox_tar

BIG = 8 << 20
DD = f"bs=64k count={BIG >> 16}"
ROOM = 2 << 20
RUN = "RUN --network=none "


@contextlib.contextmanager
def tmpfs(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own at ``path``."""
    path.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def small(roots: Roots) -> Iterator[minidock.Engine]:
    """An engine, with busybox, whose data root is a file system of 80 MiB."""
    with (
        tmpfs(roots.data, "80m"),
        minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine,
    ):
        engine.images.import_(str(busybox_tar()), repository="busybox")
        # From now on what a command needs is there.
        engine.images.build(roots.data, dockerfile=f"FROM busybox\n{RUN}echo x > /x\n".encode())
        yield engine


def free(engine: minidock.Engine) -> int:
    """Bytes that are left in the data root."""
    cleaner.flush()
    status = os.statvfs(engine.data_root)
    return status.f_bavail * status.f_frsize


@contextlib.contextmanager
def filled(engine: minidock.Engine, room: int = ROOM) -> Iterator[None]:
    """Leave only so much room in the data root for the time of the block."""
    filler = Path(engine.data_root, "filler")
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(engine) - room)
    yield
    filler.unlink()


def _copy(folder: Path, _hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    (folder / "big").write_bytes(os.urandom(BIG))
    return "COPY big /\n", {}


def _unpack(folder: Path, _hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    (folder / "big.tar").write_bytes(tar_of(("big", os.urandom(BIG))))
    return "ADD big.tar /\n", {}


def _many(folder: Path, _hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    for number in range(1500):
        (folder / f"f{number}").write_bytes(os.urandom(4000))
    return "COPY . /\n", {}


def _fetch(_folder: Path, hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    hostile.serve("/big", os.urandom(BIG))
    return f"ADD {hostile.url}/big /\n", {}


def _command(_folder: Path, _hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    return f"{RUN}dd if=/dev/urandom of=/big {DD}\n", {}


def _commit(_folder: Path, _hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    """What the command writes has room, another copy of it has not."""
    return f"{RUN}dd if=/dev/urandom of=/big bs=64k count=23\n{RUN}rm /big; cp /bin/busybox /b\n", {}


def _mount(_folder: Path, _hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    return (
        f"COPY <<EOF /f\nx\nEOF\n{RUN}--mount=type=cache,target=/c dd if=/dev/zero of=/c/big {DD} && rm /c/big\n",
        {},
    )


def _mount_from(_folder: Path, _hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    return (
        f"{RUN}--mount=type=cache,target=/c,from=busybox,id=1 --mount=type=cache,target=/d,from=busybox,id=2 ls /d\n",
        {},
    )


def _pull(_folder: Path, hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    hostile.add("some/base", "latest", build_image([tar_of(("big", os.urandom(BIG)))]))
    return f"FROM {hostile.host}/some/base\nLABEL a=b\n", {}


def _heredocs(_folder: Path, _hostile: HostileRegistry) -> tuple[str, dict[str, Any]]:
    return (
        f"COPY <<EOF /f\n{'x' * 60000}\n{'y' * 60000}\nEOF\n" * 12 + f"{RUN}dd if=/dev/zero of=/f {DD}\n",
        {},
    )


CASES = [_copy, _unpack, _many, _fetch, _command, _commit, _mount, _mount_from, _pull, _heredocs]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.timeout(300)
def test_a_build(
    small: minidock.Engine,
    roots: Roots,
    hostile: HostileRegistry,
    tmp_path: Path,
    case: Callable[[Path, HostileRegistry], tuple[str, dict[str, Any]]],
) -> None:
    text, options = case(tmp_path, hostile)
    dockerfile = (text if text.startswith("FROM") else f"FROM busybox\n{text}").encode()
    tries = 0
    for room in (ROOM, 300_000, 20_000):
        _next(roots)  # with what it keeps for bad times
        with filled(small, room):
            before = free(small)
            try:
                small.images.build(tmp_path, dockerfile=dockerfile, **options)
                break
            except MinidockError as error:
                tries += 1
                said = str(error) + getattr(error, "output", "")
                assert "no space left" in said.lower(), said
            _next(roots)
            cleaner.flush()
            assert free(small) > before - (100 << 10)  # of the database's log
    assert tries
    image = small.images.build(tmp_path, dockerfile=dockerfile, **options)
    for _ in small.images.save(image.id):
        pass
    assert small.store.database.rows("PRAGMA integrity_check") == [("ok",)]
    _next(roots)


def _next(roots: Roots) -> None:
    """What another engine repairs, when the database could not even note what goes; then nothing is left."""
    cleaner.flush()
    with minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config)) as engine:
        assert engine.containers.list(all=True) == []
        engine.builder.prune(all=True)
        cleaner.flush()
    wait_for(lambda: not left(roots), 5, f"the end of {left(roots)}")


@pytest.mark.parametrize(
    "output", ["type=tar,dest={}/out", "type=oci,dest={}/out", "type=docker,dest={}/out", "{}/dir", "cache"]
)
def test_an_output(small: minidock.Engine, cli: Cli, roots: Roots, tmp_path: Path, output: str) -> None:
    """That has no room: the error says which, nothing half is left, and what was there before stays."""
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\n{RUN}dd if=/dev/urandom of=/big {DD}\n")
    words = ["build", "--progress=plain", str(tmp_path)]
    with tmpfs(tmp_path / "small", "4m") as place:
        (place / "out").write_text("before")
        words += ["--cache-to", f"type=local,dest={place}/cache"] if output == "cache" else ["-o", output.format(place)]
        done = cli(*words)
        assert done.returncode == 1
        last = done.stderr.decode().splitlines()[-1]
        assert "no space left on device" in last
        assert f"{place}/cache" in last or output != "cache"
        assert (place / "out").read_text() == "before"
        found = sorted(str(path.relative_to(place)) for path in place.rglob("*"))
        assert [path for path in found if not path.startswith("dir")] == (
            ["cache", "cache/blobs", "cache/blobs/sha256", "out"] if output == "cache" else ["out"]
        )
        subprocess.run(["mount", "-o", "remount,size=40m", str(place)], check=True)
        done = cli(*words)
        assert done.returncode == 0, done.stderr
        assert b"CACHED" in done.stderr
        if output == "cache":
            check_cache(place / "cache", mounts=0)
    assert left(roots) == []


def test_standard_output(small: minidock.Engine, cli: Cli) -> None:
    with open("/dev/full", "wb") as full:
        process = cli.popen("build", "-q", "-o", "-", "-", stdin=subprocess.PIPE, stdout=full, stderr=subprocess.PIPE)
        _, said = process.communicate(b"FROM busybox\n", timeout=60)
    assert process.returncode == 1
    assert said.count(b"\n") == 1
    assert b"no space left on device" in said
