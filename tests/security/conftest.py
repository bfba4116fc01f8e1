"""Fixtures of the security rows: a static probe in an image, hostile images, and a marker on the host."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import minidock
from tests import programs
from tests.conftest import Roots
from tests.rootfs import busybox_tar

Entry = tarfile.TarInfo | tuple[str, bytes]


def with_entries(*entries: Entry, without: tuple[str, ...] = ()) -> bytes:
    """The busybox root filesystem with the probe, less what is named (and all below), plus these entries."""
    out = io.BytesIO()
    with tarfile.open(busybox_tar()) as base, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in base:
            if any(member.name == name or member.name.startswith(f"{name}/") for name in without):
                continue
            tar.addfile(member, base.extractfile(member) if member.isreg() else None)
        info = tarfile.TarInfo("bin/probe")
        info.mode = 0o755
        data = programs.PROBE.made().read_bytes()
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.mode = 0o644
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()


def symlink(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info


def folder(name: str, mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info


def one_line(refused: BaseException) -> None:
    """Check that an error is told in one line."""
    assert "\n" not in str(refused), str(refused)


@dataclass(frozen=True)
class Marker:
    """A directory ``M`` of the host with a file ``file``, neither of which anything may touch."""

    path: Path

    @property
    def file(self) -> Path:
        return self.path / "file"

    def state(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in [self.path, *sorted(self.path.rglob("*"))]:
            s = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (s.st_ino, s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns, s.st_ctime_ns, content)
        return found


SECRET = b"host secret 4f1d"


@pytest.fixture
def marker(roots: Roots) -> Iterator[Marker]:
    """The marker; its content, modes, owners, times and entries are compared at the end of the test."""
    path = roots.data.parent / "M"
    path.mkdir(mode=0o755)
    made = Marker(path)
    made.file.write_bytes(SECRET)
    made.file.chmod(0o640)
    before = made.state()
    mounts = Path("/proc/self/mountinfo").read_text().count(str(path))
    yield made
    assert made.state() == before, "the host's marker was touched"
    assert Path("/proc/self/mountinfo").read_text().count(str(path)) == mounts == 0
    core_pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    assert "pwned" not in core_pattern


@pytest.fixture
def image(engine: minidock.Engine) -> Callable[..., str]:
    """Make an image out of busybox, the probe and more entries; returns its name."""
    made = 0

    def build(*entries: Entry, without: tuple[str, ...] = (), changes: tuple[str, ...] = ()) -> str:
        nonlocal made
        made += 1
        engine.images.import_(with_entries(*entries, without=without), repository=f"t{made}", changes=changes)
        return f"t{made}"

    return build


@pytest.fixture
def probe(engine: minidock.Engine, image: Callable[..., str]) -> Callable[..., str]:
    """Run the probe in a container with these options and return what it prints."""
    name = image()

    def run(*args: object, **options: object) -> str:
        command = ["probe", *(str(a) for a in args)]
        result = engine.containers.run(name, command, remove=True, timeout=30, **options)  # type: ignore[arg-type]
        assert result.exit_code == 0, result
        return result.stdout.decode().strip()

    return run
