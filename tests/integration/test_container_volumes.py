"""Volumes of containers: what they get of an image, what stays and what goes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from minidock import Engine, Mount
from minidock.errors import (
    ContainerNotFound,
    InvalidArgument,
    MinidockError,
    NotFound,
    VolumeInUse,
)
from tests.conftest import wait_for
from tests.integration.mounting import names, run


def test_volumes_stay(engine: Engine, busybox: str) -> None:
    """A named one outlives its containers, and is in use as long as one is there."""
    assert run(engine, "echo kept >/data/file; ls -nd /data", volumes=["data:/data"])
    assert run(engine, "cat /data/file; touch /data/x 2>&1 || true", volumes=["data:/data:ro"]).startswith(
        "kept\ntouch: "
    )
    container = engine.containers.create("busybox", "true", volumes=["data:/data", "data:/again"], network="none")
    with pytest.raises(VolumeInUse, match=f"volume is in use - .{container.id}."):
        engine.volumes.get("data").remove()
    container.remove(volumes=True)
    engine.volumes.get("data").remove()
    assert names(engine) == set()


def test_a_new_read_only_volume_on_etc(engine: Engine, busybox: str) -> None:
    """It has the places of the files that every container has there."""
    assert set(run(engine, "ls /etc", volumes=["etc:/etc:ro"]).split()) >= {
        "hosts",
        "hostname",
        "resolv.conf",
        "passwd",
    }
    path = engine.volumes.get("etc").mountpoint
    assert os.stat(f"{path}/hosts").st_size == 0


def test_volumes_without_a_name(engine: Engine, busybox: str) -> None:
    """They go with ``--rm`` and ``rm -v`` only, and not while another container has them."""
    run(engine, "touch /a/x", volumes=["/a", "kept:/b"])
    assert names(engine) == {"kept"}
    one = engine.containers.create("busybox", "true", volumes=["/a"], network="none")
    two = engine.containers.create("busybox", "true", volumes_from=[one.name], network="none")
    (anonymous,) = names(engine) - {"kept"}
    assert one.attrs["Mounts"] == [
        {
            "Type": "volume",
            "Name": anonymous,
            "Source": f"{engine.data_root}/volumes/{anonymous}/_data",
            "Destination": "/a",
            "Driver": "local",
            "Mode": "",
            "RW": True,
            "Propagation": "",
        }
    ]
    assert two.attrs["Mounts"] == one.attrs["Mounts"]
    one.remove(volumes=True)
    assert anonymous in names(engine)
    two.remove(volumes=True)
    assert names(engine) == {"kept"}
    engine.containers.create("busybox", "true", volumes=["/a"], network="none").remove()
    assert len(names(engine)) == 2
    with engine.containers.run("busybox", "true", volumes=["/a"], network="none", detach=True):
        assert len(names(engine)) == 3
    assert len(names(engine)) == 2
    engine.containers.create("busybox", "true", volumes=["/a"], network="none")
    assert len(engine.containers.prune().containers_deleted or ()) == 1
    assert len(names(engine)) == 3  # as in Docker


def test_image_volumes_are_filled(engine: Engine, image: str) -> None:
    """A new volume gets what the image has there, owner and mode of its directory included; one with files does not."""
    result = engine.containers.run(
        image,
        ["sh", "-c", "cat /full/hard; stat -c '%u:%g %a %h' /full /full/file | head -2; ls /empty"],
        network="none",
    )
    assert result.stdout == b"image\n5:6 2750 3\n0:0 644 2\n"
    (container,) = engine.containers.list(all=True)
    assert container.attrs["Config"]["Volumes"] == {"/full": {}, "/empty": {}}
    assert sorted(one["Destination"] for one in container.attrs["Mounts"]) == ["/empty", "/full"]
    container.remove(volumes=True)
    for options, expected in (
        ({"volumes": ["mine:/full"]}, b"file\nhard\nsub\n"),
        ({"volumes": ["bare:/full:nocopy"]}, b""),
        ({"tmpfs": ["/full"]}, b""),
        ({"mounts": ["src=bare2,dst=/full,volume-nocopy"]}, b""),
        ({"volumes": ["kept:/full"], "working_dir": "/full"}, b"file\nhard\nsub\n"),
    ):
        result = engine.containers.run(image, ["ls", "/full"], network="none", remove=True, **options)  # type: ignore[arg-type]
        assert result.stdout == expected
    engine.containers.run(image, ["rm", "/full/file"], network="none", remove=True, volumes=["kept:/full"])
    result = engine.containers.run(image, ["ls", "/full"], network="none", remove=True, volumes=["kept:/full"])
    assert result.stdout == b"hard\nsub\n"
    assert names(engine) == {"mine", "bare", "bare2", "kept"}


def test_a_volume_over_a_file_of_the_image(engine: Engine, image: str) -> None:
    """There is nothing to copy, and the file cannot be mounted over; nothing is left."""
    with pytest.raises(MinidockError):
        engine.containers.run(image, "true", network="none", remove=True, volumes=["/bin/busybox"])
    assert engine.containers.list(all=True) == []
    assert names(engine) == set()


def test_options_of_volumes(engine: Engine, busybox: str) -> None:
    """Labels and driver options of a mount are those of the volume that it makes, mounted while it is needed."""
    mount = Mount(
        target="/x",
        source="mem",
        labels={"a": "b"},
        driver="local",
        driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"},
    )
    with engine.containers.run("busybox", "sleep 60", detach=True, network="none", mounts=[mount]) as container:
        volume = engine.volumes.get("mem")
        assert volume.labels == {"a": "b"}
        assert container.exec(["grep", " /x ", "/proc/mounts"]).stdout.startswith(
            b"tmpfs /x tmpfs rw,relatime,size=1024k"
        )
        assert os.path.ismount(volume.mountpoint)
    assert not os.path.ismount(volume.mountpoint)
    assert "size=1024k" in run(engine, "grep ' /x ' /proc/mounts", volumes=["mem:/x"])
    assert not os.path.ismount(volume.mountpoint)
    with pytest.raises(NotFound, match='create other: error looking up volume plugin nope: plugin "nope" not found'):
        run(engine, "true", volumes=["other:/x"], volume_driver="nope")
    with pytest.raises(InvalidArgument, match='invalid option: "foo"'):
        run(engine, "true", mounts=["src=other,dst=/x,volume-opt=foo=bar"])
    assert names(engine) == {"mem"}
    assert engine.containers.list(all=True) == []


def test_a_mounted_volume_is_unmounted_when_its_container_ends(engine: Engine, busybox: str) -> None:
    """Nobody looks at the container: what its supervisor starts at the end does it."""
    mount = "src=mem,dst=/x,volume-opt=type=tmpfs,volume-opt=device=tmpfs"
    container = engine.containers.run("busybox", "sleep 0.2", detach=True, network="none", mounts=[mount])
    place = engine.volumes.get("mem").mountpoint
    wait_for(lambda: not os.path.ismount(place), 20, "the end of the mount")
    container.remove()


def test_volumes_of_what_ends_by_itself(engine: Engine, busybox: str) -> None:
    """``--rm`` in the background takes the volumes without a name along."""
    engine.containers.run("busybox", "sleep 0.1", detach=True, remove=True, network="none", volumes=["/a", "kept:/b"])
    wait_for(lambda: names(engine) == {"kept"}, 20, "the end of the volume")


@pytest.mark.parametrize("mounted", [False, True])
def test_a_root_of_the_host(engine: Engine, busybox: str, source: Path, *, mounted: bool) -> None:
    """Its directories are copied into volumes as an image's are, mounts of their own too, but never the engine's."""
    with contextlib.ExitStack() as stack:
        if mounted:
            (source / "file").unlink()
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source], check=True)
            stack.callback(lambda: subprocess.run(["umount", source], check=True))
            (source / "file").write_text("host\n")
        _look_at_a_root_of_the_host(engine, source)


def _look_at_a_root_of_the_host(engine: Engine, source: Path) -> None:
    script = f"cat {source}/file; touch {source}/x; cat /mnt/file; echo /var/l*"
    result = engine.containers.run(
        None,
        ["sh", "-c", script],
        rootfs="/",
        network="none",
        remove=True,
        volumes=[f"data:{source}", f"{source}:/mnt", "var:/var"],
    )
    assert result.stdout == b"host\nhost\n/var/l*\n", result.stderr
    assert [path.name for path in source.iterdir()] == ["file"]


def test_parts_of_volumes(engine: Engine, busybox: str, source: Path) -> None:
    run(engine, f"mkdir -p /x/a/b; echo part >/x/a/b/file; ln -s {source} /x/out; ln -s a/b /x/in", volumes=["data:/x"])
    for part, expected in (("a/b", "part\n"), ("in", "part\n"), ("a/./b", "part\n")):
        mount = Mount(target="/y", source="data", subpath=part)
        assert run(engine, "cat /y/file", mounts=[mount]) == expected
    for part in ("out", "no/such"):
        with pytest.raises(MinidockError, match=part):
            run(engine, "cat /y/file", mounts=[Mount(target="/y", source="data", subpath=part)])
    assert (
        run(engine, "touch /y/file 2>/dev/null || echo no", mounts=["src=data,dst=/y,volume-subpath=a/b,ro"]) == "no\n"
    )


def test_volumes_from(engine: Engine, image: str, source: Path) -> None:
    """All volumes and binds of another, which need not run; one's own take their place."""
    donor = engine.containers.create(
        image, "true", name="donor", network="none", volumes=["named:/n:ro", f"{source}:/b"], tmpfs=["/t"],
        mounts=["type=tmpfs,dst=/tm"],
    )  # fmt: skip
    theirs = {one["Destination"]: one for one in donor.attrs["Mounts"]}
    taker = engine.containers.create("busybox", "true", network="none", volumes_from=["donor:ro"], volumes=["own:/n"])
    mine = {one["Destination"]: one for one in taker.attrs["Mounts"]}
    assert mine.keys() == {"/n", "/b", "/full", "/empty"}
    assert [mine[path]["RW"] for path in ("/n", "/b", "/full")] == [True, False, False]
    assert mine["/full"]["Name"] == theirs["/full"]["Name"]
    assert mine["/n"]["Name"] == "own"
    assert taker.attrs["HostConfig"]["VolumesFrom"] == ["donor:ro"]
    with pytest.raises(VolumeInUse):
        engine.volumes.get(theirs["/full"]["Name"]).remove()
    assert run(engine, "cat /full/file /b/file", volumes_from=["donor"]) == "image\nhost\n"
    for text, error in (("nobody", ContainerNotFound), ("donor:xx", InvalidArgument), ("", InvalidArgument)):
        with pytest.raises(error):
            run(engine, "true", volumes_from=[text])


def test_archives_leave_volumes_out(engine: Engine, busybox: str) -> None:
    """``diff``, ``commit`` and ``export`` are about the container's own files."""
    container = engine.containers.create(
        "busybox", ["sh", "-c", "echo a >/v/inside; echo b >/own"], network="none", volumes=["/v"], tmpfs=["/t"]
    )
    container.start()
    container.wait()
    assert {change.path for change in container.diff()} & {"/v/inside", "/own"} == {"/own"}
    container.commit("committed")
    result = engine.containers.run("committed", ["ls", "/v"], network="none", remove=True)
    assert result.stdout == b""
    assert engine.images.get("committed").attrs["Config"]["Volumes"] == {"/v": {}}
    assert b"inside" not in b"".join(container.export())


def test_copies_reach_volumes(engine: Engine, busybox: str, source: Path) -> None:
    """Of containers that run, that have ended, and that have never run."""
    container = engine.containers.create(
        "busybox", "sleep 60", network="none", volumes=["data:/data/deep", f"{source}:/b"]
    )
    volume = Path(engine.volumes.get("data").mountpoint)
    container.copy_to(source / "file", "/data/deep/before")
    assert (volume / "before").read_text() == "host\n"
    container.copy_from("/b/file", source.parent / "out")
    assert (source.parent / "out").read_text() == "host\n"
    container.start()
    container.copy_to(source / "file", "/data/deep/while")
    container.kill()
    container.wait()
    container.copy_to(source / "file", "/data/deep/after")
    assert {path.name for path in volume.iterdir()} == {"before", "while", "after"}
    assert container.diff() == [] or all("before" not in change.path for change in container.diff())
