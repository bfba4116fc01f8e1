"""Hostile layers: bombs against memory and disk (CVE-2017-14992, R6)."""

from __future__ import annotations

import contextlib
import gzip
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from minidock import _native
from tests.integration.test_unpack import kind, memory, small_tar, unpack

GIB = 1 << 30


def header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(format=tarfile.GNU_FORMAT)


def zeros_gzip(path: Path, head: bytes, size: int) -> None:
    """A gzip file of ``head`` and ``size`` bytes of zeros, written in a moment: one member again and again."""
    part = 64 << 20
    member = gzip.compress(bytes(part), 9)
    with path.open("wb") as file:
        file.write(gzip.compress(head))
        for _ in range(size // part):
            file.write(member)
        file.write(gzip.compress(bytes(1024)))


def zeros_zstd(path: Path, head: bytes, size: int) -> None:
    part = 64 << 20

    def frame(data: bytes) -> bytes:
        with memory(data) as source, memory() as out:
            _native.compress_layer(source.fileno(), out.fileno(), "zstd", 19)
            out.seek(0)
            return out.read()

    member = frame(bytes(part))
    with path.open("wb") as file:
        file.write(frame(head))
        for _ in range(size // part):
            file.write(member)
        file.write(frame(bytes(1024)))


PROGRAM = """
import os, sys
from minidock import _native
split = sys.argv[3] or None
try:
    _native.unpack_layer(os.open(sys.argv[1], os.O_RDONLY), sys.argv[2], tar_split=split)
    print("unpacked")
except _native.NativeError as error:
    print(error.args[1])
# Not getrusage: its number survives execve, so it would be this test's own.
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


def unpack_apart(archive: Path, target: Path, split: str = "") -> tuple[str, int]:
    """The error's kind, and the highest memory of the process in MiB."""
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, archive, target, split], capture_output=True, text=True, check=True
    )
    word, memory_used = done.stdout.split()
    return word, int(memory_used)


@pytest.mark.parametrize("make", [zeros_gzip, zeros_zstd])
def test_ten_gib_of_zeros(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "bomb", header("zeros", 10 * GIB), 10 * GIB)
    assert (tmp_path / "bomb").stat().st_size < 20 << 20
    word, used = unpack_apart(tmp_path / "bomb", tmp_path / "out")
    assert word == "limit"
    assert used < 250
    assert sum(path.stat().st_blocks for path in (tmp_path / "out").rglob("*")) * 512 < 3 * GIB


def test_endless_zeros_after_the_end(tmp_path: Path) -> None:
    """CVE-2017-14992: padding was kept in memory; here with the record that must keep it."""
    zeros_gzip(tmp_path / "bomb", header("f", 0) + bytes(1024), 10 * GIB)
    word, used = unpack_apart(tmp_path / "bomb", tmp_path / "out", str(tmp_path / "split"))
    assert word == "limit"
    assert used < 250


def test_long_header_of_zeros(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 4 * GIB
    zeros_gzip(tmp_path / "bomb", info.tobuf(format=tarfile.GNU_FORMAT), 4 * GIB)
    word, used = unpack_apart(tmp_path / "bomb", tmp_path / "out")
    assert word == "limit"
    assert used < 100


def test_a_claim_without_data_costs_nothing(tmp_path: Path) -> None:
    data = gzip.compress(header("huge", 900 * GIB) + bytes(512))
    (tmp_path / "claim").write_bytes(data)
    word, used = unpack_apart(tmp_path / "claim", tmp_path / "out")
    assert word == "corrupt"
    assert used < 100
    with pytest.raises(_native.NativeError) as error:
        unpack(gzip.compress(header("huge", 2000 * GIB) + bytes(512)), tmp_path / "over")
    assert kind(error) == "limit"


def test_ordinary_compression_is_no_bomb(tmp_path: Path) -> None:
    """A layer of log files, forty times smaller compressed, and a small one of zeros."""
    log = b"".join(b"2026-11-24T00:00:%02d GET /index.html 200\n" % (number % 60) for number in range(200_000))
    unpack(gzip.compress(header("log", len(log)) + log + bytes(-len(log) % 512 + 1024)), tmp_path / "log")
    zeros_gzip(tmp_path / "zeros", header("zeros", 256 << 20), 256 << 20)
    assert unpack_apart(tmp_path / "zeros", tmp_path / "out")[0] == "unpacked"


def test_many_entries(tmp_path: Path) -> None:
    tar = b"".join(header(f"f{number}", 0) for number in range(2000)) + bytes(1024)
    with pytest.raises(_native.NativeError) as error:
        unpack(tar, tmp_path / "out", limits={"entries": 1999})
    assert kind(error) == "limit"
    assert unpack(tar, tmp_path / "all", limits={"entries": 2000}).entries == 2000


def test_few_descriptors(tmp_path: Path) -> None:
    """EMFILE is an error, not a crash; deep trees need few."""
    path = "/".join(["d"] * 300)
    info = tarfile.TarInfo(f"{path}/f")
    tar = info.tobuf(format=tarfile.PAX_FORMAT) + bytes(1024)
    (tmp_path / "deep.tar").write_bytes(tar)
    (tmp_path / "out").mkdir()
    program = (
        "import os, sys, resource; from minidock import _native\n"
        "limit = int(sys.argv[3])\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))\n"
        "try: print(_native.unpack_layer(fd, sys.argv[2]).entries, _native.remove_tree(sys.argv[2]))\n"
        "except _native.NativeError as error: print(error.args[4])"
    )
    run = [sys.executable, "-c", program, tmp_path / "deep.tar", tmp_path / "out"]
    done = subprocess.run([*run, "64"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "302"]
    (tmp_path / "out").mkdir()
    done = subprocess.run([*run, "20"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["24"]


def test_descriptors_and_threads_stay_flat(tmp_path: Path) -> None:
    """Failures in the middle leave nothing open."""
    tar = small_tar(300_000)

    def once(number: int) -> None:
        for at, data in enumerate((tar, tar[:-20_000], gzip.compress(tar)[:-9], b"")):
            split = tmp_path / f"{number}-{at}.split"
            with contextlib.nullcontext() if at == 0 else pytest.raises(_native.NativeError):
                unpack(data, tmp_path / f"{number}-{at}", tar_split=split)

    once(0)
    before = (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
    for number in range(1, 25):
        once(number)
    assert (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))) == before
