"""``image mount``: an image's files on a directory of the host, which keep the image until they are gone."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minidock.errors import Conflict, ImageInUse, ImageNotFound, InvalidArgument, MinidockError, NotFound
from minidock.store.locks import lock
from minidock.store.mounts import MountRow, MountTable
from minidock.store.recovery import boot_id
from tests.conftest import Cli, Roots
from tests.images import SAMPLE_TREE, oci_archive, sample_image, tar_of
from tests.registry import build_image, digest_of

if TYPE_CHECKING:
    import minidock

ID = digest_of(sample_image().config)


@pytest.fixture
def loaded(engine: minidock.Engine) -> Iterator[minidock.Engine]:
    """An engine with the image ``sample:1``; what is mounted goes at the end."""
    engine.images.load(oci_archive([(sample_image(), ["sample:1"])]))
    yield engine
    engine.images.unmount(force=True)


def test_tree(loaded: minidock.Engine) -> None:
    path = Path(loaded.images.mount("sample:1"))
    assert path.is_relative_to(os.path.realpath(loaded.run_root))
    found = {str(one.relative_to(path)) for one in path.rglob("*")}
    assert found == set(SAMPLE_TREE)
    assert (path / "etc/changed").read_bytes() == b"new\n"
    assert (path / "owned").stat().st_uid == 1000
    for change in (lambda: (path / "x").write_bytes(b""), (path / "one").unlink, lambda: (path / "one").chmod(0o777)):
        with pytest.raises(OSError, match="Read-only"):
            change()
    options = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {path} " in line)
    assert {"ro", "nosuid", "nodev"} <= set(options.split()[5].split(","))
    assert [tuple(one) for one in loaded.images.mounted()] == [(str(path), ID)]
    assert loaded.images.unmount("sample:1") == [str(path)]
    assert not path.exists()
    assert loaded.images.mounted() == []
    with pytest.raises(NotFound):
        loaded.images.unmount("sample:1")


def test_commands(loaded: minidock.Engine, cli: Cli, tmp_path: Path) -> None:
    assert cli.ok("image", "mount") == ""
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    own.mkdir()
    theirs.mkdir()
    default = cli.ok("image", "mount", "sample:1").strip()
    assert cli.ok("image", "mount", "sample:1", str(own)) == f"{own}\n"
    assert sorted(line.split() for line in cli.ok("image", "mount").splitlines()) == sorted(
        [["sample:1", default], ["sample:1", str(own)]]
    )
    assert (own / "etc/keep").read_bytes() == b"kept\n"
    assert cli.ok("image", "unmount", str(own)) == f"{ID[7:]}\n"
    assert list(own.iterdir()) == []
    assert own.is_dir(), "the user's directory stays"
    # Asked for twice, it goes with the second.
    assert cli.ok("image", "mount", "sample:1").strip() == default
    cli.ok("image", "unmount", "sample:1")
    assert Path(default, "etc/keep").exists()
    cli.ok("image", "umount", "sample:1")
    assert not Path(default).exists()
    # Or by force, and all together.
    for _ in range(3):
        cli.ok("image", "mount", "sample:1")
    cli.ok("image", "mount", "sample:1", str(theirs))
    assert cli.ok("image", "unmount", "-a", "-f").split() == [ID[7:]] * 2
    assert cli.ok("image", "mount") == ""
    assert cli.ok("image", "unmount", "--all") == ""
    for args in (
        ["unmount"],
        ["unmount", "-a", "x"],
        ["unmount", "nosuch"],
        ["unmount", "/nosuch"],
        ["mount", "nosuch"],
    ):
        assert cli("image", *args).returncode == 1, args


def test_image_is_in_use(loaded: minidock.Engine, tmp_path: Path) -> None:
    path = loaded.images.mount("sample:1")
    for force in (False, True):
        with pytest.raises(ImageInUse, match="is mounted on"):
            loaded.images.remove("sample:1", force=force)
        with pytest.raises(ImageInUse):
            loaded.images.remove(ID, force=force)
    loaded.images.tag("sample:1", "other:1")
    loaded.images.remove("sample:1")
    loaded.images.prune(all=True)
    assert loaded.images.get("other:1").id == ID
    assert Path(path, "etc/keep").exists()
    loaded.images.unmount("other:1")
    loaded.images.remove("other:1")
    with pytest.raises(ImageNotFound):
        loaded.images.mount("other:1")


def test_busy(loaded: minidock.Engine) -> None:
    path = loaded.images.mount("sample:1")
    with Path(path, "noise").open("rb"), pytest.raises(Conflict, match="in use"):
        loaded.images.unmount("sample:1")
    assert [one.path for one in loaded.images.mounted()] == [path]
    loaded.images.unmount("sample:1")


def test_places_that_will_not_do(loaded: minidock.Engine, roots: Roots, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for place, error in (
        (file, InvalidArgument),
        (tmp_path / "nosuch", NotFound),
        (Path("/"), InvalidArgument),
        (roots.data, InvalidArgument),
        (roots.data / "layers", InvalidArgument),
        (roots.data.parent, InvalidArgument),
        ("a\0b", InvalidArgument),
    ):
        with pytest.raises(error):
            loaded.images.mount("sample:1", place)
    loaded.images.import_(tar_of(("a", b"1")), "second")
    place = tmp_path / "place"
    place.mkdir()
    loaded.images.mount("sample:1", place)
    with pytest.raises(Conflict, match="is mounted there"):
        loaded.images.mount("second", place)
    (tmp_path / "link").symlink_to(place)
    assert loaded.images.unmount(path=tmp_path / "link") == [str(place)]
    # One layer, and an image without any
    assert Path(loaded.images.mount("second"), "a").read_bytes() == b"1"
    loaded.images.load(oci_archive([(build_image([]), ["empty:1"])]))
    with pytest.raises(MinidockError):
        loaded.images.mount("empty:1")
    assert len(loaded.images.mounted()) == 1


def test_what_others_take_away_is_forgotten(loaded: minidock.Engine, cli: Cli, roots: Roots, tmp_path: Path) -> None:
    path = loaded.images.mount("sample:1")
    subprocess.run(["umount", path], check=True)
    assert loaded.images.mounted() == []
    assert not Path(path).exists()
    # Something else in its place is not taken away.
    place = tmp_path / "place"
    place.mkdir()
    loaded.images.mount("sample:1", place)
    subprocess.run(["umount", str(place)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        assert cli("image", "unmount", str(place)).returncode == 1
        loaded.images.unmount(force=True)
        assert os.path.ismount(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    # A boot
    loaded.images.mount("sample:1", place)
    subprocess.run(["umount", str(place)], check=True)
    loaded.store.database.execute("UPDATE mounts SET boot_id = 'earlier'")
    loaded.images.remove("sample:1")
    assert loaded.images.mounted() == []


def test_image_that_is_about_to_be_mounted(loaded: minidock.Engine, tmp_path: Path) -> None:
    """Between its row and the mount, the process that mounts holds the lock; when it has died, nothing is left."""
    table = MountTable(loaded.store.database)
    loaded.images.mounted()  # makes the directory
    table.put(MountRow(str(tmp_path), ID, boot_id(), 0, 1))
    with lock(f"{loaded.store.paths.run}/mounts"):
        with pytest.raises(ImageInUse):
            loaded.images.remove("sample:1", force=True)
        loaded.images.prune(all=True)
    loaded.images.remove("sample:1")
    assert table.all() == []


def test_many_at_once(loaded: minidock.Engine, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def one(number: int) -> None:
        place = tmp_path / str(number)
        place.mkdir()
        try:
            for _ in range(3):
                loaded.images.mount("sample:1", place)
                loaded.images.mount("sample:1")
                assert (place / "etc/keep").read_bytes() == b"kept\n"
                loaded.images.unmount(path=place)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(loaded.images.mounted()) == 1
    for _ in range(18):
        loaded.images.unmount("sample:1")
    assert loaded.images.mounted() == []
