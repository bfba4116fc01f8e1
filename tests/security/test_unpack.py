"""Rows of SECURITY.md section 3 about archives: whatever a tar says, the host's files stay as they are."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots
from tests.images import docker_archive
from tests.integration.archives import tar
from tests.registry import build_image
from tests.security.conftest import Entry, Marker, folder, one_line, symlink

GIB = 1 << 30
MAX_RSS = 300 << 20


def take(engine: minidock.Engine, *entries: Entry | bytes) -> None:
    """Import and load; hostile archives may fail, by one of minidock's errors, or land inside the layer."""
    data = entries[0] if isinstance(entries[0], bytes) else tar(*entries)  # type: ignore[arg-type]
    try:
        engine.images.import_(data, repository="hostile")
    except errors.MinidockError as refused:
        one_line(refused)
    # As a layer of an archive, and as the archive.
    for archive in (docker_archive([(build_image([data], compress="none"), ["loaded"])]), data):
        try:
            engine.images.load(archive)
        except errors.MinidockError as refused:
            one_line(refused)


def hardlink(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.LNKTYPE, target
    return info


def test_cve_2021_32760_2021_41089_2026_33056_2025_47290_2025_11395_through_a_link(
    engine: minidock.Engine, marker: Marker
) -> None:
    path = str(marker.path)
    relative = "../" * 20 + path.lstrip("/")
    for target in (path, relative):
        take(engine, symlink("a", target), folder("a", 0o777), ("a/M", b"pwned"), ("a/file", b"pwned"))
        take(engine, symlink("a", target), ("a/file", b"pwned"))
        take(engine, symlink("a", f"{target}/file"), ("a", b"pwned"))
        take(engine, symlink("a", f"{target}/file"), hardlink("b", "a"), ("b", b"pwned"))
        take(engine, folder("d"), symlink("d/a", target), symlink("e", "d/a"), folder("e/x"), ("e/x/y", b"pwned"))
    for name in (f"{path}/file", f"{relative}/file", f"a/../../../../../../../..{path}/file", f"/{path}/new"):
        take(engine, (name, b"pwned"))


def test_cve_2021_32760_device_and_fifo_through_a_link(engine: minidock.Engine, marker: Marker) -> None:
    for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE):
        node = tarfile.TarInfo("a/file")
        node.type, node.devmajor, node.devminor = kind, 1, 3
        take(engine, symlink("a", str(marker.path)), node)


def test_cve_2025_62518_2026_33055_pax_and_ustar_sizes_disagree(
    engine: minidock.Engine, image: Callable[..., str], roots: Roots
) -> None:
    """An archive whose PAX record gives the outer file 0 bytes would show the inner tar's entry."""
    inner = tar(("hidden", b"smuggled"))
    for pax_size, ustar_size in ((len(inner), 0), (0, len(inner)), (1024, len(inner)), (len(inner), 512)):
        outer = _with_pax_size(("outer", inner), pax_size, ustar_size)
        take(engine, outer)
        assert not list(roots.data.glob("layers/*/fs/hidden")), f"{pax_size} {ustar_size}"
        if "hostile:latest" in [t for i in engine.images.list() for t in i.tags]:
            engine.images.remove("hostile", force=True)


def _with_pax_size(entry: tuple[str, bytes], pax_size: int, ustar_size: int) -> bytes:
    name, data = entry
    header = tarfile.TarInfo(name)
    header.size = ustar_size
    body = data + b"\0" * (-len(data) % 512)
    record = f"size={pax_size}\n"
    record = f"{len(record) + 3} {record}"
    pax = tarfile.TarInfo("pax")
    pax.type, pax.size = tarfile.XHDTYPE, len(record)
    padded = record.encode() + b"\0" * (512 - len(record))
    return pax.tobuf(tarfile.USTAR_FORMAT) + padded + header.tobuf(tarfile.USTAR_FORMAT) + body + b"\0" * 1024


def test_cve_2025_4517_2025_4330_path_max_link_chain(engine: minidock.Engine, marker: Marker) -> None:
    """The chain that made os.path.realpath give up: 16 levels of 247-byte names behind one-letter links."""
    long, entries = "d" * 247, []
    prefix = ""
    for step in "abcdefghijklmnop":
        entries += [folder(f"{prefix}{long}"), symlink(f"{prefix}{step}", long)]
        prefix += f"{long}/"
    chain = "/".join("abcdefghijklmnop")
    entries += [
        symlink(f"{chain}/l", "../" * 16),
        symlink("escape", f"{chain}/l/{'../' * 12}{str(marker.path).lstrip('/')}"),
        hardlink("flag", "escape/file"),
    ]
    take(engine, *entries, ("escape/file", b"pwned"), ("flag", b"pwned"), ("escape/new", b"pwned"))


def test_class_whiteouts_delete_nothing_of_the_host(engine: minidock.Engine, marker: Marker, roots: Roots) -> None:
    layers = roots.data / "layers"
    for name in (".wh..", ".wh...", ".wh.", "a/.wh..", "a/.wh...", ".wh..wh..opq", "a/.wh..wh..opq", ".wh..wh.plnk/1"):
        before = sorted(os.listdir(layers)) if layers.is_dir() else []
        take(engine, folder("a"), symlink("l", str(marker.path)), (name, b""), ("l/.wh.file", b""), (".wh.l", b""))
        assert set(before) - set(os.listdir(layers)) <= set(before)
        assert roots.data.is_dir()
        assert layers.is_dir()


def test_class_hardlinks_to_the_host(engine: minidock.Engine, marker: Marker, roots: Roots) -> None:
    targets = [marker.file, Path("/etc/passwd")]
    inodes = {(os.stat(t).st_dev, os.stat(t).st_ino): os.stat(t).st_nlink for t in targets}
    for target in targets:
        for text in (str(target), "../" * 20 + str(target).lstrip("/")):
            take(engine, hardlink("h", text), ("h", b"pwned"))
            take(engine, symlink("up", str(target.parent)), hardlink("h", f"up/{target.name}"), ("h", b"pwned"))
    for target in targets:
        stat = os.stat(target)
        assert stat.st_nlink == inodes[stat.st_dev, stat.st_ino]


def _zeros(start: bytes, size: int, member: Callable[[bytes], bytes]) -> bytes:
    """A compressed stream of ``start`` and ``size`` zeros, made of repeated members."""
    block = 64 << 20
    return member(start) + member(b"\0" * block) * (size // block)


def _file_of(size: int) -> bytes:
    info = tarfile.TarInfo("zeros")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def _sparse(size: int) -> bytes:
    """A PAX 1.0 sparse file: one byte of data, then a hole to ``size``."""
    table = b"1\n0\n512\n"
    table += b"\0" * (512 - len(table))
    info = tarfile.TarInfo("GNUSparseFile.0/zeros")
    info.size = len(table) + 512
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "zeros",
        "GNU.sparse.realsize": str(size),
    }
    return info.tobuf(tarfile.PAX_FORMAT) + table + b"x" * 512 + b"\0" * 1024


def _zstd(start: bytes, size: int) -> bytes:
    """A zstd frame (RFC 8878) of one raw block and of blocks that repeat a zero byte 128 KiB times."""
    block = 128 << 10

    def head(last: bool, kind: int, length: int) -> bytes:
        return (int(last) | kind << 1 | length << 3).to_bytes(3, "little")

    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x38"  # no content size; a window of 128 KiB
    repeated = head(False, 1, block) + b"\0"
    return frame + head(False, 0, len(start)) + start + repeated * (size // block) + head(True, 0, 0)


BOMBS = {
    "gzip": lambda: _zeros(_file_of(10 * GIB), 10 * GIB, lambda b: gzip.compress(b, 6)),
    "zstd": lambda: _zstd(_file_of(10 * GIB), 10 * GIB),
    "sparse": lambda: _sparse(10 * GIB),
    "gzip of a header that lies": lambda: gzip.compress(_file_of(10 * GIB)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_cve_2017_14992_2018_20699_2021_21285_bombs(cli: Cli, roots: Roots, kind: str) -> None:
    bomb = BOMBS[kind]()
    done, rss = _measured(cli, "import", "-", "bomb", input=bomb)
    assert done.returncode == 1, done
    assert done.stderr.count(b"\n") == 1, done.stderr
    assert (b"truncated" if "lies" in kind else b"limit ratio") in done.stderr
    assert rss < MAX_RSS
    assert _disk(roots.data) < 64 << 20, "nothing of it is left"


def _disk(path: Path) -> int:
    return sum(p.lstat().st_blocks * 512 for p in path.rglob("*"))


def _measured(cli: Cli, *args: str, input: bytes) -> tuple[subprocess.CompletedProcess[bytes], int]:
    """Run the command; also return its peak resident memory in bytes."""
    # A small process in between: the kernel counts the parent's own size into a child's peak until it executes.
    middle = (
        "import json, resource, subprocess, sys; "
        "r = subprocess.run(sys.argv[2:]).returncode; "
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss; "
        "open(sys.argv[1], 'w').write(json.dumps([r, peak * 1024]))"
    )
    with tempfile.NamedTemporaryFile() as report, tempfile.TemporaryFile() as source:
        source.write(input)
        source.seek(0)
        argv = [sys.executable, "-c", middle, report.name, *cli.argv, *args]
        done = subprocess.run(argv, stdin=source, capture_output=True, env=cli.env, timeout=100, check=True)
        code, peak = json.loads(report.read())
        return subprocess.CompletedProcess(args, code, done.stdout, done.stderr), peak


def test_cve_2017_14992_truncated_and_damaged_archives(engine: minidock.Engine, roots: Roots) -> None:
    good = tar(("a", b"x" * 5000), folder("d"), ("d/b", b"y"))
    packed = gzip.compress(good)
    for data in (
        good[:700],
        good[:5000],
        packed[:-9],
        packed[:40],
        packed[:-4] + b"\1\2\3\4",
        zlib.compress(good),
        b"\0",
    ):
        with pytest.raises(errors.MinidockError) as refused:
            engine.images.import_(io.BytesIO(data), repository="bad")
        assert "\n" not in str(refused.value)
    assert not [i for i in engine.images.list() if "bad:latest" in i.tags]
