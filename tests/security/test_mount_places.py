"""Rows of SECURITY.md section 3 about where each kind of mount may be, and what it brings along."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import minidock
from minidock import errors
from tests.conftest import Roots
from tests.security.conftest import SECRET, Marker, folder, one_line, symlink


def mount_points() -> list[str]:
    """Where the host has something mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return sorted(line.split()[4] for line in file)


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


def test_privileges_do_not_come_from_volumes(engine: minidock.Engine, image: Callable[..., str], roots: Roots) -> None:
    """A device node in a volume cannot be opened: the device cgroup does not know it."""
    name = image()
    where = Path(engine.volumes.create("dev").mountpoint)
    os.mknod(where / "mem", 0o20666, os.makedev(1, 1))
    seen = attempt(engine, name, "head -c 1 /v/mem | wc -c", volumes=["dev:/v"])
    assert seen.split()[-1] != b"1" or b"not permitted" in seen
    assert b"not permitted" in seen
