"""Tars made in memory, and what a data root holds."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

from minidock.store.cleaner import cleaner
from tests.conftest import Roots


def tar(*entries: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    """A tar of files given as ``(name, contents)`` and of other entries."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                archive.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()


def link(name: str, target: str, *, hard: bool = False) -> tarfile.TarInfo:
    """A symbolic or hard link."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
    info.linkname = target
    return info


def folder(name: str, mode: int = 0o755) -> tarfile.TarInfo:
    """A directory."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    info.mode = mode
    return info


def held(data: Path) -> dict[str, list[str]]:
    """What a data root holds of images and of work in progress; this process's own is over before."""
    cleaner.flush()
    return {
        name: sorted(os.listdir(data / name)) if (data / name).is_dir() else []
        for name in ("layers", "content/sha256", "containers", "tmp")
    }


def disk_usage(data: Path | Roots) -> int:
    """Bytes of all files of images in a data root, each hard link once."""
    root = data if isinstance(data, Path) else data.data
    found: dict[tuple[int, int], int] = {}
    for part in ("layers", "content", "downloads"):
        for folder, _, names in os.walk(root / part):
            for name in names:
                status = os.lstat(os.path.join(folder, name))
                if stat.S_ISREG(status.st_mode):
                    found[status.st_dev, status.st_ino] = status.st_size
    return sum(found.values())


def assert_clean(data: Path) -> None:
    """Nothing but the built-in image's layer, and no work in progress."""
    found = held(data)
    assert found["tmp"] == []
    assert found["containers"] == []
