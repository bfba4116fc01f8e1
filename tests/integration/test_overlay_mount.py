"""Layers as one read-only tree: detached, on a directory of the host, exported; nothing stays mounted."""

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock import _native
from minidock._native import NativeError, OverlayMount, tar_tree, unmount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture(autouse=True)
def nothing_stays_mounted(tmp_path: Path) -> Iterator[None]:
    yield
    # Others' mounts come and go meanwhile: only ours count.
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    assert [line for line in lines if line.split(" ")[4].startswith(str(tmp_path))] == []


def layer(base: Path, name: str, **files: str) -> Path:
    directory = base / name
    directory.mkdir()
    for path, text in files.items():
        (directory / path).write_text(text)
    return directory


def kind(error: pytest.ExceptionInfo[NativeError]) -> str:
    return str(error.value.args[1])


def open_at(mount: OverlayMount, path: str) -> str:
    with open(os.open(path, os.O_RDONLY, dir_fd=mount.fd)) as file:
        return file.read()


def export(source: int | Path) -> tarfile.TarFile:
    fd = os.memfd_create("tar")
    try:
        tar_tree(source, fd)
        os.lseek(fd, 0, os.SEEK_SET)
        with open(fd, "rb", closefd=False) as file:
            return tarfile.open(fileobj=io.BytesIO(file.read()))
    finally:
        os.close(fd)


def test_layers_are_one_tree_seen_by_nobody_else(tmp_path: Path) -> None:
    below = layer(tmp_path, "below", a="below", b="below", gone="x")
    above = layer(tmp_path, "above", a="above")
    os.mknod(above / "gone", 0o020000, os.makedev(0, 0))
    with OverlayMount([above, str(below)]) as mount:
        assert sorted(os.listdir(mount.fd)) == ["a", "b"]
        assert (open_at(mount, "a"), open_at(mount, "b")) == ("above", "below")
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("new", dir_fd=mount.fd)
        flags = os.fstatvfs(mount.fd).f_flag
        assert flags & os.ST_NOSUID
        assert flags & os.ST_NODEV
    with pytest.raises(NativeError) as error:
        _ = mount.fd
    assert kind(error) == "invalid"
    mount.close()


def test_one_layer_alone(tmp_path: Path) -> None:
    only = layer(tmp_path, "only", a="1")
    os.mknod(only / "gone", 0o020000, os.makedev(0, 0))
    with OverlayMount([only]) as mount:
        assert open_at(mount, "a") == "1"
        assert os.listdir(mount.fd) == ["a"]
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("new", dir_fd=mount.fd)


def test_many_layers_of_long_names(tmp_path: Path) -> None:
    base = tmp_path / ("x" * 200)
    base.mkdir()
    layers = [layer(base, f"{n}-{'y' * 100}", **{f"f{n}": str(n), "same": str(n)}) for n in range(60)]
    with OverlayMount(layers) as mount:
        assert len(os.listdir(mount.fd)) == 61
        assert open_at(mount, "same") == "0"


def test_bad_layers(tmp_path: Path) -> None:
    for lower, expected in (
        ([], "invalid"),
        ([tmp_path / "none"], "not-found"),
        ([layer(tmp_path, "a", f="") / "f"], "not-found"),
        (["/"] * 501, "limit"),
    ):
        with pytest.raises(NativeError) as error:
            OverlayMount(lower)
        assert kind(error) == expected


def test_attached_to_a_directory(tmp_path: Path) -> None:
    layers = [layer(tmp_path, "above", a="1"), layer(tmp_path, "below", b="2")]
    place = layer(tmp_path, "place")
    link = tmp_path / "link"
    link.symlink_to(place)
    with OverlayMount(layers) as mount:
        for wrong, expected in ((link, "invalid"), (layers[0] / "a", "invalid"), (tmp_path / "none", "not-found")):
            with pytest.raises(NativeError) as error:
                mount.attach(wrong)
            assert kind(error) == expected
        mount.attach(place)
        try:
            with pytest.raises(NativeError) as error:
                mount.attach(place)
            assert kind(error) == "conflict"
        finally:
            mount.close()
            with open(place / "b") as file:
                assert file.read() == "2"
                with pytest.raises(NativeError) as error:
                    unmount(place)
                assert kind(error) == "busy"
            unmount(place)
    assert list(place.iterdir()) == []
    with pytest.raises(NativeError) as error:
        unmount(place)
    assert kind(error) == "not-found"
    with pytest.raises(NativeError) as error:
        unmount(tmp_path / "none")
    assert kind(error) == "not-found"


def test_tree_of_layers_is_exported_without_a_mount_on_the_host(tmp_path: Path) -> None:
    below = layer(tmp_path, "below", one="content", gone="x")
    os.link(below / "one", below / "two")
    (below / "dir").mkdir()
    (below / "dir" / "hidden").write_text("x")
    above = layer(tmp_path, "above", new="n")
    os.mknod(above / "gone", 0o020000, os.makedev(0, 0))
    (above / "dir").mkdir()
    os.setxattr(above / "dir", "trusted.overlay.opaque", b"y")
    os.setxattr(above / "new", "user.kept", b"v")
    with OverlayMount([above, below]) as mount:
        tar = export(mount.fd)
        again = export(mount.fd)
    members = {member.name: member for member in tar.getmembers()}
    assert sorted(members) == [".", "dir", "new", "one", "two"]
    assert members["two"].islnk()
    assert members["two"].linkname == "one"
    assert not [key for member in members.values() for key in member.pax_headers if "overlay" in key]
    assert members["new"].pax_headers["SCHILY.xattr.user.kept"] == "v"
    assert [member.tobuf() for member in tar.getmembers()] == [member.tobuf() for member in again.getmembers()]


def test_a_descriptor_that_is_no_directory_is_not_exported(tmp_path: Path) -> None:
    with open(layer(tmp_path, "a", f="") / "f") as file, pytest.raises(NativeError):
        export(file.fileno())


def test_a_full_pipe_does_not_block_for_ever(tmp_path: Path) -> None:
    tree = layer(tmp_path, "tree", big="x" * (4 << 20))
    read, write = os.pipe()
    progress = _native.Progress()
    timer = threading.Timer(0.2, progress.cancel)
    timer.start()
    try:
        with pytest.raises(NativeError) as error:
            tar_tree(tree, write, progress=progress)
        assert error.value.args[4] == 4  # EINTR
        assert os.get_blocking(write)
    finally:
        timer.join()
        os.close(read)
        os.close(write)
