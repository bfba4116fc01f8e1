"""Copies into and out of containers that do not run reach their volumes and binds, as those of running ones do."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

import minidock
from minidock import Mount, errors


def _tar(name: str, content: bytes = b"copied\n") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _read(container: minidock.Container, path: str) -> bytes:
    chunks, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        file = tar.extractfile(tar.getmembers()[0])
        assert file is not None
        return file.read()


@pytest.fixture
def source(source: Path) -> Path:
    """It has a directory, too."""
    (source / "sub").mkdir()
    (source / "sub" / "part").write_text("part\n")
    return source


def test_all_kinds(engine: minidock.Engine, busybox: str, source: Path) -> None:
    """None of the destinations is in the image; a look at them leaves none there."""
    engine.images.import_(_tar("deep/of-image"), repository="other")
    container = engine.containers.create(
        busybox,
        mounts=[
            Mount(type="volume", source="data", target="/mounts/data"),
            Mount(type="bind", source=source, target="/mounts/ro", read_only=True),
            Mount(type="bind", source=source / "file", target="/mounts/file"),
            Mount(type="image", source="other", target="/mounts/image"),
            Mount(type="overlay", source=source, target="/mounts/over"),
        ],
    )
    upper = next((Path(engine.data_root) / "containers" / container.id).rglob("upper"))
    data = Path(engine.volumes.get("data").mountpoint)
    (data / "kept").mkdir()
    (data / "kept" / "x").write_text("volume\n")
    assert _read(container, "/mounts/data/kept/x") == b"volume\n"
    assert _read(container, "/mounts/ro/file") == _read(container, "/mounts/file") == b"host\n"
    assert _read(container, "/mounts/image/deep/of-image") == b"copied\n"
    assert _read(container, "/mounts/over/sub/part") == b"part\n"
    assert container.diff() == []
    part = engine.containers.create(
        busybox, mounts=[Mount(type="volume", source="data", target="/part", subpath="kept")]
    )
    assert _read(part, "/part/x") == b"volume\n"
    for path in ("/mounts/data", "/mounts/over"):
        container.put_archive(path, _tar("new"))
        assert _read(container, f"{path}/new") == b"copied\n"
    assert (data / "new").exists()
    assert not (source / "new").exists()
    assert upper.exists()
    for path in ("/mounts/ro", "/mounts/ro/sub", "/mounts/image"):
        with pytest.raises(errors.InvalidArgument, match="mounted volume is marked read-only"):
            container.put_archive(path, _tar("new"))
    assert sorted(path.name for path in source.iterdir()) == ["file", "sub"]


def test_a_volume_with_a_file_system_of_its_own(engine: minidock.Engine, busybox: str, source: Path) -> None:
    """It is mounted for the copy only."""
    bound = engine.volumes.create("bound", driver_opts={"type": "none", "o": "bind", "device": str(source)})
    container = engine.containers.create(busybox, volumes=["bound:/v"])
    assert _read(container, "/v/file") == b"host\n"
    container.put_archive("/v", _tar("new"))
    assert (source / "new").read_text() == "copied\n"
    assert bound.mountpoint not in Path("/proc/self/mountinfo").read_text()
    assert list(Path(bound.mountpoint).iterdir()) == []


def test_looking_for_a_user_leaves_a_file_system_mounted(engine: minidock.Engine, busybox: str, source: Path) -> None:
    """Before a start the container's own passwd file is read; what it holds by then stays where it is."""
    bound = engine.volumes.create("bound", driver_opts={"type": "none", "o": "bind", "device": str(source)})
    passwd = source.parent / "passwd"
    passwd.write_text("root:x:0:0:root:/:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/sh\n")
    done = engine.containers.run(
        busybox,
        ["sh", "-c", "cat /v/file; echo a >/v/new"],
        user="daemon",
        network="none",
        remove=True,
        volumes=["bound:/v:idmap", f"{passwd}:/etc/passwd"],
    )
    assert (done.exit_code, done.stdout) == (0, b"host\n")
    assert (source / "new").stat().st_uid == source.stat().st_uid
    assert bound.mountpoint not in Path("/proc/self/mountinfo").read_text()
    assert list(Path(bound.mountpoint).iterdir()) == []


def test_sources_that_have_vanished(engine: minidock.Engine, busybox: str, source: Path) -> None:
    container = engine.containers.create(busybox, volumes=[f"{source}/sub:/s"])
    (source / "sub" / "part").unlink()
    (source / "sub").rmdir()
    assert b"root" in _read(container, "/etc/passwd")
    with pytest.raises(errors.NotFound):
        _read(container, "/s/part")


def test_ids_are_those_that_the_container_sees(engine: minidock.Engine, busybox: str, source: Path) -> None:
    for path in (source, source / "file"):
        path.chmod(0o700)
        os.chown(path, 1234, 1234)
    container = engine.containers.create(busybox, mounts=[Mount(type="bind", source=source, target="/s", idmap=True)])
    chunks, _ = container.get_archive("/s/file")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        assert tar.getmembers()[0].uid == 0
    container.put_archive("/s", _tar("new"))
    assert (source / "new").stat().st_uid == 1234
