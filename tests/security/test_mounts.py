"""Rows of SECURITY.md section 3 about mounts and volumes: targets, sources, parts, and what is removed with them."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock import Mount, errors
from tests.conftest import Roots
from tests.security.conftest import SECRET, Marker, folder, one_line, symlink

STARTS = 300 if os.environ.get("MINIDOCK_SOAK") == "1" else 12
"""Of containers, or copies, while somebody exchanges what they go by."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _exchange(one: Path, two: Path) -> None:
    if _LIBC.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2", str(one))


@contextlib.contextmanager
def _swapping(one: Path, two: Path) -> Iterator[None]:
    """Two names that another thread exchanges all the time."""
    done = threading.Event()

    def swap() -> None:
        while not done.wait(0.0003):
            with contextlib.suppress(FileNotFoundError):  # what is unpacked there has a directory in place of a link
                _exchange(one, two)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _layer(roots: Roots) -> Path:
    """The files of the newest image."""
    return max((roots.data / "layers").glob("*/fs"), key=lambda path: int(path.parent.name))


def _tries(engine: minidock.Engine, name: str, script: str, **options: Any) -> list[bytes]:
    """What the containers wrote that did start; the others were refused in one line."""
    said = []
    for _ in range(STARTS):
        try:
            result = engine.containers.run(
                name, ["sh", "-c", script], remove=True, timeout=30, network="none", **options
            )
        except errors.MinidockError as refused:
            one_line(refused)
        else:
            assert SECRET not in result.stdout
            said.append(result.stdout)
    return said


@pytest.mark.parametrize("what", ["volume", "file"])
def test_cve_2021_30465_2024_45310_image_s_target_is_exchanged(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, roots: Roots, what: str
) -> None:
    """It is a directory of the image, or a link to the host's, when the container starts."""
    name = image(folder("a"), folder("a/target"), symlink("a/swap", str(marker.path)))
    layer = _layer(roots)
    source = roots.data.parent / "source"
    source.write_text("source\n")
    target = {"volume": "data:/a/target/x/y", "file": f"{source}:/a/target/file"}[what]
    script = f"cat {marker.file} /a/target/file 2>/dev/null; echo > /a/target/new; touch /a/target/x/y/t; echo done"
    with _swapping(layer / "a/target", layer / "a/swap"):
        said = _tries(engine, name, script, volumes=[target])
    assert all(one.endswith(b"done\n") for one in said)
    assert source.read_text() == "source\n"


def test_cve_2021_30465_target_in_a_shared_volume_is_exchanged(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    """One container exchanges a directory of a volume, in which another one has a mount."""
    name = image()
    volume = Path(engine.volumes.create("shared").mountpoint)
    (volume / "target").mkdir()
    (volume / "link").symlink_to(marker.path)
    volumes = ["shared:/shared", "other:/shared/target"]
    script = f"ls {marker.path} 2>/dev/null; grep -c ' /proc ' /proc/self/mountinfo"
    with _swapping(volume / "target", volume / "link"):
        assert set(_tries(engine, name, script, volumes=volumes)) <= {b"1\n"}


def test_cve_2026_41568_2026_42306_copies_while_a_target_is_exchanged(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, tmp_path: Path
) -> None:
    container = engine.containers.create(image(), ["true"], volumes=["shared:/shared", "other:/shared/target"])
    volume = Path(engine.volumes.get("shared").mountpoint)
    (volume / "target").mkdir(exist_ok=True)
    (volume / "link").symlink_to(marker.path)
    (tmp_path / "new").write_text("x")
    with _swapping(volume / "target", volume / "link"):
        for number in range(STARTS):
            out = tmp_path / f"out{number}"
            for copy in (
                lambda: container.copy_to(tmp_path / "new", "/shared/target/"),
                lambda out=out: container.copy_from("/shared/target/file", out),
            ):
                with contextlib.suppress(errors.MinidockError):
                    copy()
            assert not out.exists() or SECRET not in out.read_bytes()


def test_cve_2019_16884_volumes_of_an_image_on_proc_and_sys(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    for path in ("/proc", "/proc/self", "/sys", "/../proc", "//proc/"):
        name = image(changes=(f"VOLUME {path}",))
        with pytest.raises(errors.MinidockError) as refused:
            engine.containers.run(name, ["true"], remove=True)
        one_line(refused.value)
    assert engine.volumes.list() == []


def test_cve_2019_16884_2025_52881_volumes_and_binds_that_lead_to_proc(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    name = image(symlink("link", "/proc"), symlink("up", "../../proc/sys"))
    for target in ("/link", "/link/sys", "/up", "/proc", "/proc/self/attr", "/proc/sys/kernel"):
        for source in ("data", str(marker.path)):
            with pytest.raises(errors.MinidockError) as refused:
                engine.containers.run(name, ["true"], volumes=[f"{source}:{target}"], remove=True)
            one_line(refused.value)


def test_cve_2019_16884_what_may_be_on_proc(engine: minidock.Engine, image: Callable[..., str], roots: Roots) -> None:
    """Files as lxcfs gives them; they cannot be other things there."""
    file = roots.data.parent / "meminfo"
    file.write_text("lxcfs\n")
    command = ["cat", "/proc/meminfo"]
    name = image()
    result = engine.containers.run(name, command, volumes=[f"{file}:/proc/meminfo"], remove=True)
    assert result.stdout == b"lxcfs\n"


def test_cve_2025_52881_a_volume_races_with_proc(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, roots: Roots
) -> None:
    """A directory with a volume becomes a link to /proc and back: what is masked stays so, whichever it was."""
    name = image(folder("v"), symlink("swap", "/proc"))
    layer = _layer(roots)
    script = """grep -q ' /proc/sys ro,' /proc/self/mountinfo || echo writable
        echo pwned > /proc/sys/kernel/core_pattern; grep -c ' /proc ' /proc/self/mountinfo"""
    with _swapping(layer / "v", layer / "swap"):
        assert set(_tries(engine, name, script, volumes=["data:/v"])) <= {b"1\n"}


def test_cve_2022_23648_volumes_of_an_image_are_paths_inside(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    """They are not filled with, and not mounted over, what the host has at that path."""
    for path in (f"/../../..{marker.path}", "/l", "/l/new", f"/l/../../..{marker.path}"):
        name = image(symlink("l", str(marker.path)), changes=(f"VOLUME {path}",))
        script = f"cat {marker.file} /l/file; find / -xdev -name file; ls -A {path}; touch {path}/new"
        try:
            result = engine.containers.run(name, ["sh", "-c", script], network="none")
        except errors.MinidockError as refused:
            one_line(refused)
        else:
            assert SECRET not in result.stdout
            assert b"/file" not in result.stdout
    for volume in engine.volumes.list():
        files = [found for found in Path(volume.mountpoint).rglob("*") if found.is_file()]
        assert not any(SECRET in file.read_bytes() for file in files)


def test_cve_2021_43816_system_directories_are_not_relabelled(
    engine: minidock.Engine, image: Callable[..., str], tmp_path: Path
) -> None:
    name = image()
    (tmp_path / "etc").symlink_to("/etc")
    (tmp_path / "far").symlink_to("etc/../usr/../etc")
    (tmp_path / "top").symlink_to("/")
    links = [f"{tmp_path}/{link}" for link in ("etc", "far", "top", "top/usr", "top/proc/self/root")]
    for source in ("/etc", "/", "/usr/bin/..", "/etc/../etc/", *links):
        for mode in ("Z", "z", "ro,Z"):
            with pytest.raises(errors.MinidockError) as refused:
                engine.containers.run(name, ["true"], volumes=[f"{source}:/e:{mode}"], remove=True)
            one_line(refused.value)


def test_parts_of_volumes_do_not_leave_them(engine: minidock.Engine, image: Callable[..., str], marker: Marker) -> None:
    volume = Path(engine.volumes.create("data").mountpoint)
    (volume / "up").symlink_to("../../..")
    (volume / "absolute").symlink_to(marker.path)
    (volume / "proc").symlink_to("/proc")
    name = image()
    for subpath in ("..", "../..", "a/../../x", "/etc", "up", "absolute", "up/etc", "proc/1/root"):
        mount = Mount(type="volume", source="data", target="/x", subpath=subpath)
        with pytest.raises(errors.MinidockError) as refused:
            engine.containers.run(name, ["ls", "/x"], mounts=[mount], remove=True)
        one_line(refused.value)


@pytest.mark.parametrize("last", ["", "/in"])
def test_parts_of_volumes_that_are_exchanged(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, last: str
) -> None:
    """A container that has the volume makes its part a link while others start with it."""
    volume = Path(engine.volumes.create("data").mountpoint)
    (volume / "part" / "in").mkdir(parents=True)
    (volume / "link").symlink_to(marker.path)
    mount = Mount(type="volume", source="data", target="/x", subpath=f"part{last}")
    script = "cat /x/file /x/../x/file 2>/dev/null; touch /x/new; echo done"
    with _swapping(volume / "part", volume / "link"):
        assert set(_tries(engine, image(), script, mounts=[mount])) <= {b"done\n"}


def test_parts_of_images_do_not_leave_them(engine: minidock.Engine, image: Callable[..., str], marker: Marker) -> None:
    name = image()
    other = image(symlink("absolute", str(marker.path)), symlink("up", "../../../../../.." + str(marker.path)))
    for subpath in ("absolute", "up", "up/x", "../etc"):
        mount = Mount(type="image", source=other, target="/x", subpath=subpath)
        with pytest.raises(errors.MinidockError) as refused:
            engine.containers.run(name, ["ls", "/x"], mounts=[mount], remove=True)
        one_line(refused.value)


def test_cve_2025_31133_dev_that_is_a_link_with_mounts_in_it(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    name = image(symlink("dev", str(marker.path)), without=("dev",))
    for volumes in (["data:/dev/data"], ["data:/dev/null"], ["data:/dev/pts"], ["data:/dev/shm"]):
        script = f"stat -c %t:%T /dev/null; cat {marker.file} /dev/file; touch /dev/data/new /dev/new"
        try:
            result = engine.containers.run(name, ["sh", "-c", script], volumes=volumes, remove=True, timeout=20)
        except errors.MinidockError as refused:
            one_line(refused)
        else:
            assert SECRET not in result.stdout


def test_volumes_are_filled_from_the_image_only(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    """Links in the filled directory stay links; one on the way is followed inside the image."""
    name = image(
        symlink("way", "/../../../data"),
        folder("data"),
        symlink("data/absolute", str(marker.path)),
        symlink("data/up", "../../../../../.." + str(marker.path)),
        ("data/own", b"own"),
    )
    engine.containers.run(name, ["true"], volumes=["data:/way"], network="none", remove=True)
    volume = Path(engine.volumes.get("data").mountpoint)
    assert sorted(path.name for path in volume.iterdir()) == ["absolute", "own", "up"]
    assert (volume / "absolute").is_symlink()
    assert os.readlink(volume / "up").endswith(str(marker.path))


def test_removal_does_not_cross_mounts_nor_follow_links(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    """Of a volume, of a container, and of the volumes without a name of a container."""
    name = image()
    named = engine.volumes.create("named")
    container = engine.containers.create(name, ["true"], volumes=["/anonymous"])
    anonymous = next(volume for volume in engine.volumes.list() if volume.anonymous)
    for volume in (named, anonymous):
        data = Path(volume.mountpoint)
        (data / "link").symlink_to(marker.path)
        (data / "mounted").mkdir()
        subprocess.run(["mount", "--bind", str(marker.path), str(data / "mounted")], check=True)
    try:
        for remove in (named.remove, lambda: container.remove(volumes=True)):
            with contextlib.suppress(errors.MinidockError):
                remove()
        engine.prune(volumes=True)
        assert marker.file.read_bytes() == SECRET
    finally:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[3].endswith(f"/{marker.path.name}") and fields[4].endswith("/mounted"):
                subprocess.run(["umount", fields[4]], check=True)
    engine.prune(volumes=True)


def test_cve_2018_15664_export_while_directories_are_exchanged(engine: minidock.Engine, marker: Marker) -> None:
    """No file of the host in archives of a volume, nor by an import in the host."""
    volume = engine.volumes.create("data")
    data = Path(volume.mountpoint)
    (data / "d").mkdir()
    (data / "d" / "file").write_text("own")
    (data / "link").symlink_to(marker.path)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo("d/new")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"new"))
    with _swapping(data / "d", data / "link"):
        for _ in range(STARTS):
            with contextlib.suppress(errors.MinidockError):
                chunks = volume.export()
                assert chunks is not None
                assert SECRET not in b"".join(chunks)
            with contextlib.suppress(errors.MinidockError):
                volume.import_(made.getvalue())


def test_cve_2021_41091_volumes_are_closed_to_others(engine: minidock.Engine, roots: Roots) -> None:
    volume = engine.volumes.create("data")
    Path(volume.mountpoint, "suid").write_text("x")
    for path in (roots.data, roots.data / "volumes"):
        assert path.stat().st_mode & 0o077 == 0, path
