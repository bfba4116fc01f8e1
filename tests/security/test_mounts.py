"""Rows of SECURITY.md section 3 about volumes and mounts: links and swaps on either side, /proc, hostile images."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import minidock
from minidock import Mount, errors
from tests.conftest import Roots
from tests.security.conftest import SECRET, Marker, folder, one_line, symlink


def mount_points() -> list[str]:
    """Where the host has something mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return sorted(line.split()[4] for line in file)


@contextmanager
def swapping(one: Path, two: Path) -> Iterator[None]:
    """Let two names change places again and again."""
    done = threading.Event()
    third = one.with_name(f"{one.name}.third")

    def swap() -> None:
        while not done.is_set():
            for first, second in ((one, two), (two, one)):
                os.rename(first, third)
                os.rename(second, first)
                os.rename(third, second)
                done.wait(0.0005)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def attempt(engine: minidock.Engine, image: str, script: str, **options: object) -> bytes:
    """Run a script; a refusal is fine as long as it is one line."""
    try:
        result = engine.containers.run(image, ["sh", "-c", script], network="none", remove=True, timeout=30, **options)  # type: ignore[arg-type]
    except errors.MinidockError as refused:
        one_line(refused)
        return b""
    return result.stdout + result.stderr


def test_cve_2021_30465_a_target_that_is_a_link(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, roots: Roots
) -> None:
    """Links of the image lead to its own files, for every kind of mount; nothing is made or mounted on the host."""
    up = "../../../../../../.." + str(marker.path)
    name = image(symlink("l", str(marker.path)), symlink("up", up), folder("d"), symlink("d/l", str(marker.path)))
    source = roots.data.parent / "source"
    source.mkdir()
    before = mount_points()
    for place in ("/l", "/d/l", "/up/new/er", f"/d/../../../..{marker.path}/x"):
        for kind in (
            {"volumes": [f"{source}:{place}"]},
            {"volumes": [f"named:{place}"]},
            {"volumes": [place]},
            {"tmpfs": [place]},
            {"mounts": [f"type=image,src={name},dst={place}"]},
            {"mounts": [f"type=overlay,src={source},dst={place}"]},
        ):
            assert SECRET not in attempt(engine, name, f"cat {marker.file} {place}/{marker.file.name}", **kind)
    assert mount_points() == before
    assert os.listdir(marker.path) == [marker.file.name]


def test_cve_2022_23648_volumes_of_an_image_stay_in_the_image(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    """``VOLUME /../..``, and one behind a link: what is copied into the volume is the image's."""
    changes = (f"VOLUME /../../../../../..{marker.path}", "VOLUME /l/sub", "VOLUME /l")
    name = image(symlink("l", str(marker.path)), changes=changes)
    assert SECRET not in attempt(engine, name, f"cat {marker.path}/* /l/* /l/sub/*")
    for volume in engine.volumes.list():
        for path in Path(volume.mountpoint).rglob("*"):
            assert not path.is_file() or SECRET not in path.read_bytes()
    for path in ("/proc", "/proc/self/attr", "/sys", "/sys/kernel", "/"):
        hostile = image(changes=(f"VOLUME {path}",))
        with pytest.raises(errors.InvalidArgument):
            engine.containers.create(hostile, "true", network="none")


def test_cve_2019_16884_nothing_covers_proc(engine: minidock.Engine, image: Callable[..., str]) -> None:
    """By its name, by a link of the image, or by a directory that takes its place."""
    name = image(symlink("p", "/proc"), symlink("q", "proc/self"))
    for place in ("/p", "/p/sys", "/q/attr", "/q"):
        for kind in ({"volumes": [f"named:{place}"]}, {"tmpfs": [place]}, {"volumes": [f"/etc:{place}"]}):
            seen = attempt(
                engine, name, "grep ' /proc' /proc/self/mountinfo | grep -v ' - proc ' | grep -c -v ' ro'", **kind
            )
            assert seen.strip() in (b"", b"0"), place


def test_cve_2021_30465_targets_and_volumes_swapped(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, roots: Roots
) -> None:
    """A directory of one volume turns into a link to the marker and back while others are mounted below it."""
    name = image()
    outer = Path(engine.volumes.create("outer").mountpoint)
    (outer / "in").mkdir()
    (outer / "swap").symlink_to(marker.path)
    before = mount_points()
    with swapping(outer / "in", outer / "swap"):
        for _ in range(12):
            seen = attempt(
                engine,
                name,
                f"cat /o/in/below/* /o/in/* /part/* {marker.file}; true",
                volumes=["outer:/o", "inner:/o/in/below"],
            )
            assert SECRET not in seen
            seen = attempt(engine, name, "cat /part/*", mounts=[Mount(target="/part", source="outer", subpath="in")])
            assert SECRET not in seen
    assert mount_points() == before
    assert os.listdir(marker.path) == [marker.file.name]


def test_cve_2024_23652_removal_follows_nothing(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    """Links in volumes, and places of mounts, are removed; what they lead to is not."""
    name = image()
    script = f"ln -s {marker.path} /v/link; mkdir /v/d; ln -s {marker.file} /v/d/file; rm -rf /b; ls /b"
    attempt(engine, name, script, volumes=["/v", "named:/v/d", f"{marker.path}:/b:ro"])
    engine.volumes.get("named").remove()
    assert engine.volumes.list() == []
    assert marker.file.read_bytes() == SECRET


def test_privileges_do_not_come_from_volumes(engine: minidock.Engine, image: Callable[..., str], roots: Roots) -> None:
    """A device node in a volume cannot be opened: the device cgroup does not know it."""
    name = image()
    where = Path(engine.volumes.create("dev").mountpoint)
    os.mknod(where / "mem", 0o20666, os.makedev(1, 1))
    seen = attempt(engine, name, "head -c 1 /v/mem | wc -c", volumes=["dev:/v"])
    assert seen.split()[-1] != b"1" or b"not permitted" in seen
    assert b"not permitted" in seen
