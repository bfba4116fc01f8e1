"""Copies that share their blocks with what they are of, where the file system can (xfs, btrfs)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile
from pathlib import Path

import pytest

import minidock

WHERE = "/var/tmp"
MIB = 1 << 20

_CLONE = 0x40049409
_MAP = 0xC020660B
_SHARED = 0x2000


def has_reflinks() -> bool:
    with tempfile.TemporaryFile(dir=WHERE) as one, tempfile.TemporaryFile(dir=WHERE) as other:
        one.write(bytes(4096))
        one.flush()
        with contextlib.suppress(OSError):
            fcntl.ioctl(other.fileno(), _CLONE, one.fileno())
            return True
    return False


pytestmark = pytest.mark.skipif(not has_reflinks(), reason=f"the file system of {WHERE} has no reflinks")


def extents(path: str | Path) -> list[tuple[int, bool]]:
    """The lengths of a file's extents, and whether they are shared."""
    head = struct.pack("=QQIIII", 0, 1 << 62, 1, 0, 256, 0)
    buffer = bytearray(head + bytes(256 * 56))
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _MAP, buffer)
    finally:
        os.close(fd)
    count = struct.unpack_from("=I", buffer, 20)[0]
    found = []
    for at in range(32, 32 + count * 56, 56):
        length, flags = struct.unpack_from("=16xQ16xI", buffer, at)
        found.append((length, bool(flags & _SHARED)))
    return found


def shared(path: str | Path) -> int:
    """The bytes of a file that it shares with others."""
    return sum(length for length, is_shared in extents(path) if is_shared)


def free() -> int:
    """The free bytes of the file system."""
    os.sync()
    found = os.statvfs(WHERE)
    return found.f_bfree * found.f_frsize


def test_a_volumes_clone(engine: minidock.Engine) -> None:
    """It takes no space until one of the two is written to."""
    volume = engine.volumes.create("source")
    data = os.urandom(16 * MIB)
    with open(f"{volume.mountpoint}/file", "wb") as file:
        file.write(data)
    before = free()
    copy = volume.clone("copy")
    assert before - free() < 4 * MIB
    assert shared(f"{copy.mountpoint}/file") == 16 * MIB
    with open(f"{copy.mountpoint}/file", "r+b") as file:
        file.write(bytes(MIB))
    os.sync()
    assert Path(f"{volume.mountpoint}/file").read_bytes() == data
    assert shared(f"{copy.mountpoint}/file") == 15 * MIB


def test_an_images_files_in_a_new_volume(engine: minidock.Engine, busybox: str) -> None:
    """What a volume gets of an image at first shares the image's blocks."""
    script = "mkdir /data && dd if=/dev/urandom of=/data/file bs=1M count=8 && sync"
    made = engine.containers.run(busybox, ["sh", "-c", script], detach=True, network="none")
    assert made.wait() == 0
    made.commit("with-data")
    before = free()
    engine.containers.run("with-data", "true", network="none", volumes=["new:/data"])
    path = f"{engine.volumes.get('new').mountpoint}/file"
    assert os.stat(path).st_size == shared(path) == 8 * MIB
    assert before - free() < 4 * MIB
