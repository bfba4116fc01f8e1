"""The files of the corpus: a context and a base image with what files can be, and layers in the form of the record.

An entry of a layer is a line: kind (as ``find -type``; ``h`` is a hard link), mode, owner, then what the kind has
(bytes and digest, ``-> target``, device number), extended attributes, and at last the path. Of a whiteout (``w``) there
is the path alone: what mode its entry has is each engine's affair.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

from tests.rootfs import busybox_tar

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service=ep."""
_ARCHIVES = Path(__file__).parent / "dockerfiles" / "archives"
"""As they are, whoever compresses: ``t.tar`` in four ways, and ``cut.gz``, which ends too early and is no tar."""
_ATTRIBUTE = "SCHILY.xattr."
_KINDS = {
    tarfile.REGTYPE: "f",
    tarfile.AREGTYPE: "f",
    tarfile.DIRTYPE: "d",
    tarfile.SYMTYPE: "l",
    tarfile.LNKTYPE: "h",
    tarfile.CHRTYPE: "c",
    tarfile.BLKTYPE: "b",
    tarfile.FIFOTYPE: "p",
}

FILES: dict[str, tuple[int, bytes]] = {
    ".dockerignore": (0o644, b"*.log\nignored\n!ignored/keep\nd/skip\n"),
    "a.txt": (0o644, b"a\n"),
    "b.txt": (0o2640, b"b\n"),
    "exe": (0o755, b"#!/bin/sh\n"),
    "suid": (0o4755, b"suid\n"),
    "sgid": (0o2755, b"sgid\n"),
    "ro": (0o444, b"ro\n"),
    "zero": (0, b"nobody may\n"),
    "empty": (0o644, b""),
    "big": (0o644, bytes(range(256)) * 1000),
    "with space": (0o644, b"space\n"),
    "n\u00efx/\u65e5\u672c \u8a9e": (0o600, b"unicode\n"),
    "d/.hidden": (0o644, b"hidden\n"),
    "d/f": (0o644, b"f\n"),
    "d/skip": (0o644, b"skip\n"),
    "d/one.log": (0o644, b"only at the top\n"),
    "d/sub/s": (0o600, b"s\n"),
    "d/sub2/deep/x": (0o755, b"x\n"),
    "d700/x": (0o644, b"x\n"),
    "two.log": (0o644, b"ignored\n"),
    "ignored/keep": (0o644, b"kept\n"),
    "ignored/other": (0o644, b"ignored\n"),
    "p/h.md": (0o644, b"h\n"),
    "p/one/g.txt": (0o644, b"g\n"),
    "p/one/two/f.txt": (0o644, b"f\n"),
    "p/one/two/f.md": (0o644, b"f\n"),
    "p/three/g.txt": (0o640, b"g3\n"),
    "e/x.md": (0o644, b"x\n"),
    "e/y.txt": (0o644, b"y\n"),
    "e/sub/z.md": (0o644, b"z\n"),
    "e/sub/z.txt": (0o644, b"z\n"),
    "text.tar.gz": (0o644, b"no archive at all\n"),
    "h/one": (0o644, b"hard\n"),
    "capable": (0o755, b"capable\n"),
    "owned": (0o644, b"owned\n"),
    "v/var/run/f": (0o644, b"f\n"),
    "v/real/sub/f": (0o644, b"f\n"),
    "w/flink": (0o644, b"no link\n"),
    "w/dangling": (0o600, b"no link\n"),
    "w/pipe": (0o644, b"no pipe\n"),
    "w/suid": (0o644, b"new\n"),
    "x[1].txt": (0o644, b"bracket\n"),
}


def context(directory: Path) -> Path:
    """Make the context ``files`` in an empty directory."""
    for name, (mode, data) in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
    for name, mode in (("edir", 0o755), ("sticky", 0o1777), ("setgid", 0o2775), ("d700/no", 0o500)):
        (directory / name).mkdir()
        (directory / name).chmod(mode)
    (directory / "d700").chmod(0o700)
    for name, target in (
        ("link", "a.txt"),
        ("dlink", "d"),
        ("dangling", "nowhere"),
        ("absolute", "/etc/passwd"),
        ("d/up", "../a.txt"),
        ("d/dirlink", "sub"),
        ("linklink", "link"),
    ):
        (directory / name).symlink_to(target)
    for name in ("h/two", "h/three", "hard"):
        (directory / name).hardlink_to(directory / "h/one")
    with (directory / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    (directory / "sparse").chmod(0o644)
    os.mkfifo(directory / "special", 0o640)
    (directory / "special").chmod(0o640)
    os.chown(directory / "owned", 1000, 1001)
    os.chown(directory / "setgid", 5, 6)
    (directory / "setgid").chmod(0o2775)
    os.setxattr(directory / "capable", "security.capability", CAPABILITY)
    compressed = {path.name: path.read_bytes() for path in _ARCHIVES.iterdir()}
    packed = compressed["t.tar.gz"]
    plain = {"t.tar": gzip.decompress(packed), "odd.tar": odd_archive(), "flat.tar": flat_archive()}
    plain |= {"through.tar": through_archive(), "replacing.tar": replacing_archive()}
    for name, data in {**compressed, **plain, "noext": packed}.items():
        (directory / name).write_bytes(data)
        (directory / name).chmod(0o644)
    directory.chmod(0o755)
    return directory


def add_context(tar: tarfile.TarFile) -> None:
    """Put a part of the context into a tar, where files have owners."""
    _member(tar, "a.txt", 0o640, 1000, 1001, b"a\n")
    _member(tar, "own", 0o2750, 5, 6, kind=tarfile.DIRTYPE)
    _member(tar, "own/suid", 0o4755, 7, 8, b"s\n")
    _member(tar, "own/link", 0o777, 9, 10, kind=tarfile.SYMTYPE, link="suid")
    _member(tar, "own/hard", 0o4755, 7, 8, kind=tarfile.LNKTYPE, link="own/suid")
    _member(tar, "own/pipe", 0o640, 1, 2, kind=tarfile.FIFOTYPE)
    _member(tar, "own/node", 0o660, 1, 2, kind=tarfile.CHRTYPE, device=(1, 3))
    _member(tar, "own/capable", 0o755, data=b"c\n", attributes={"security.capability": CAPABILITY})
    _member(tar, "t.tar", 0o644, 1000, 1001, flat_archive())
    _member(tar, ".dockerignore", 0o644, data=b"a.txt\n")


def _member(
    tar: tarfile.TarFile,
    name: str,
    mode: int,
    uid: int = 0,
    gid: int = 0,
    data: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
    device: tuple[int, int] = (0, 0),
    attributes: dict[str, bytes] | None = None,
) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.type, info.linkname = mode, uid, gid, kind, link
    info.devmajor, info.devminor = device
    info.size = len(data)
    for key, value in (attributes or {}).items():
        info.pax_headers[_ATTRIBUTE + key] = value.decode("utf-8", "surrogateescape")
    tar.addfile(info, io.BytesIO(data))


@functools.cache
def flat_archive() -> bytes:
    """A tar of one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _member(tar, "./", 0o711, 5, 6, kind=tarfile.DIRTYPE)
        _member(tar, "./side", 0o600, 1, 2, b"side")
    return out.getvalue()


@functools.cache
def through_archive() -> bytes:
    """A tar of files only, below directories and a link to one that ``corpus-tree`` has."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _member(tar, "var/run/through", 0o644, 1, 2, b"t")
        _member(tar, "real/sub/through", 0o644, 1, 2, b"t")
        _member(tar, "real/new/through", 0o644, 1, 2, b"t")
    return out.getvalue()


@functools.cache
def replacing_archive() -> bytes:
    """A tar whose entries are of another kind than what ``corpus-tree`` has there."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _member(tar, "var/run", 0o711, 3, 4, kind=tarfile.DIRTYPE)
        _member(tar, "var/run/f", 0o644, 1, 2, b"f")
        _member(tar, "full", 0o600, 1, 2, b"a file")
        _member(tar, "real/sub/old", 0o711, 1, 2, kind=tarfile.DIRTYPE)
        _member(tar, "real/sub/old/x", 0o644, 1, 2, b"x")
        _member(tar, "real/one", 0o777, kind=tarfile.SYMTYPE, link="two")
        _member(tar, "real/flink", 0o644, data=b"no link")
    return out.getvalue()


@functools.cache
def odd_archive() -> bytes:
    """A tar with a pipe, an absolute path, and one file twice."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _member(tar, "o/pipe", 0o640, 1, 2, kind=tarfile.FIFOTYPE)
        _member(tar, "/o/absolute", 0o644, data=b"a")
        _member(tar, "o/twice", 0o644, data=b"first")
        _member(tar, "o/twice", 0o600, 5, 5, data=b"second")
    return out.getvalue()


@functools.cache
def base_tar() -> bytes:
    """The base image ``corpus-tree``: busybox's files, and links, odd modes and directories to be changed."""
    out = io.BytesIO(busybox_tar("symbolic").read_bytes())
    with tarfile.open(fileobj=out, mode="a", format=tarfile.PAX_FORMAT) as tar:
        _member(tar, "run", 0o755, kind=tarfile.DIRTYPE)
        _member(tar, "var/run", 0o777, kind=tarfile.SYMTYPE, link="/run")
        _member(tar, "var/rel", 0o777, kind=tarfile.SYMTYPE, link="../real/sub")
        _member(tar, "real", 0o2750, 20, 21, kind=tarfile.DIRTYPE)
        _member(tar, "real/sub", 0o700, 22, 23, kind=tarfile.DIRTYPE)
        _member(tar, "real/sub/old", 0o640, 24, 25, b"old\n")
        _member(tar, "real/suid", 0o4755, data=b"suid\n")
        _member(tar, "real/capable", 0o755, data=b"c\n", attributes={"security.capability": CAPABILITY})
        _member(tar, "real/one", 0o644, data=b"1\n")
        _member(tar, "real/two", 0o644, kind=tarfile.LNKTYPE, link="real/one")
        _member(tar, "real/flink", 0o777, kind=tarfile.SYMTYPE, link="one")
        _member(tar, "real/dangling", 0o777, kind=tarfile.SYMTYPE, link="/made/by/copy")
        _member(tar, "real/pipe", 0o600, kind=tarfile.FIFOTYPE)
        _member(tar, "full", 0o755, kind=tarfile.DIRTYPE)
        for name in ("a", "b", "sub/c", "sub/d"):
            _member(tar, f"full/{name}", 0o644, data=name.encode())
        _member(tar, "usr/here", 0o755, kind=tarfile.SYMTYPE, link="../home/app")
    return out.getvalue()


def layers(archive: bytes, below: int) -> list[list[str]]:
    """The entries of each layer of a saved image, without the ``below`` lowest layers; sorted by path."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:

        def read(name: str) -> bytes:
            file = outer.extractfile(name)
            assert file is not None
            return file.read()

        manifest = json.loads(read("manifest.json"))[0]
        return [_entries(read(name)) for name in manifest["Layers"][below:]]


def _entries(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name: _entry(tar, member) for member in tar}
    return [found[name] for name in sorted(found)]


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    kind = _KINDS[member.type]
    if member.name.rpartition("/")[2].startswith(".wh."):
        return f"w {json.dumps(member.name)}"
    words = [kind, f"{member.mode:o}", f"{member.uid}:{member.gid}"]
    if kind == "f":
        file = tar.extractfile(member)
        assert file is not None
        data = file.read()
        words += [str(len(data)), hashlib.sha256(data).hexdigest()[:12]]
    elif kind in "lh":
        words += ["->", json.dumps(member.linkname)]
    elif kind in "cb":
        words.append(f"{member.devmajor},{member.devminor}")
    for key, value in sorted(member.pax_headers.items()):
        if key.startswith(_ATTRIBUTE):
            words.append(f"{key.removeprefix(_ATTRIBUTE)}={value.encode('utf-8', 'surrogateescape').hex()}")
    return " ".join([*words, json.dumps(member.name)])
