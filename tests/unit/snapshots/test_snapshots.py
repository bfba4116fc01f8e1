"""What is prepared for a container: directories and the document's section. Mounting it is tested by running."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, NotFound, Unsupported
from minidock.snapshots.backend import Backend
from minidock.snapshots.snapshots import Snapshots
from minidock.store.store import Store
from tests.unit.store.conftest import add_image

CID = "c" * 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "data"), str(tmp_path / "run"))
    yield store
    store.close()


@pytest.fixture
def directory(tmp_path: Path) -> str:
    path = tmp_path / "building"
    path.mkdir()
    return str(path)


def test_overlay_section(store: Store, directory: str) -> None:
    image = add_image(store, layers=("l1", "l2", "l3"))
    os.chmod(store.paths.layer(3) + "/fs", 0o1751)
    snapshot = Snapshots(store, "overlay2").prepare(CID, image, directory, volatile=True)
    final = store.paths.container(CID)
    assert snapshot.rootfs == {
        "type": "overlay",
        "lower": [store.paths.layer(n) + "/fs" for n in (3, 2, 1)],
        "upper": f"{final}/rw/upper",
        "work": f"{final}/rw/work",
        "volatile": True,
        "idmap": None,
    }
    assert snapshot.warnings == ()
    assert stat.S_IMODE(os.stat(directory + "/rw/upper").st_mode) == 0o1751, "the container's / has the layer's mode"
    assert stat.S_IMODE(os.stat(directory + "/rw").st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change owners")
def test_idmap_owns_the_upper_directory(store: Store, directory: str) -> None:
    image = add_image(store)
    idmap = {"uid": [[0, 100000, 65536]], "gid": [[0, 200000, 65536]]}
    snapshot = Snapshots(store, "overlay2").prepare(CID, image, directory, idmap=idmap)
    assert snapshot.rootfs["idmap"] == idmap
    status = os.stat(directory + "/rw/upper")
    assert (status.st_uid, status.st_gid) == (100000, 200000)


def test_an_owner_outside_of_the_map(store: Store, directory: str) -> None:
    image = add_image(store)
    with pytest.raises(InvalidArgument, match="not in the id map"):
        Snapshots(store, "overlay2").prepare(CID, image, directory, idmap={"uid": [], "gid": []})


def test_many_layers(store: Store, directory: str) -> None:
    image = add_image(store, layers=tuple(f"l{i}" for i in range(500)))
    snapshot = Snapshots(store, "overlay2").prepare(CID, image, directory)
    assert len(snapshot.rootfs["lower"]) == 500
    image = add_image(store, "b", layers=tuple(f"l{i}" for i in range(501)))
    with pytest.raises(LimitExceeded, match="501 layers"):
        Snapshots(store, "overlay2").prepare(CID, image, directory)


def test_an_image_without_layers(store: Store, directory: str) -> None:
    image = add_image(store, layers=())
    snapshot = Snapshots(store, "overlay2").prepare(CID, image, directory)
    assert snapshot.rootfs["lower"] == [store.paths.container(CID) + "/empty"]
    assert os.path.isdir(directory + "/empty")


def test_a_lost_layer_is_told(store: Store, directory: str) -> None:
    image = add_image(store)
    os.rename(store.paths.layer(1), store.paths.layer(99))
    with pytest.raises(Corrupt, match="lost; remove the image and import it again"):
        Snapshots(store, "overlay2").prepare(CID, image, directory)


def test_the_hosts_files(store: Store, directory: str, tmp_path: Path) -> None:
    snapshots = Snapshots(store, "overlay2")
    _ = store.database
    section = snapshots.prepare_host(CID, "/", directory).rootfs
    assert (section["type"], section["path"]) == ("host", "/")
    assert section["mask"] == [store.paths.data, store.paths.run], "a container never sees other containers' files"


def test_a_directory_of_the_host(store: Store, directory: str, tmp_path: Path) -> None:
    snapshots = Snapshots(store, "overlay2")
    _ = store.database
    (tmp_path / "root").mkdir(mode=0o711)
    (tmp_path / "link").symlink_to("root")
    section = snapshots.prepare_host(CID, str(tmp_path / "link"), directory).rootfs
    assert section["path"] == str(tmp_path / "root")
    assert section["mask"] == []
    (tmp_path / "file").touch()
    for path, kind in (
        ("/no/such", NotFound),
        (str(tmp_path / "file"), InvalidArgument),
        (store.paths.data, InvalidArgument),
        ("a\0b", InvalidArgument),
    ):
        with pytest.raises(kind, match="rootfs"):
            snapshots.prepare_host(CID, path, directory)


def test_without_overlay_the_hosts_files_cannot_be_used(store: Store, directory: str) -> None:
    snapshots = Snapshots(store, "vfs")
    with pytest.raises(Unsupported, match="needs overlayfs"):
        snapshots.prepare_host(CID, "/", directory)


def test_unknown_driver(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="minidock has overlay2 and vfs"):
        Snapshots(store, "btrfs")


def test_what_an_earlier_attempt_found_is_believed(store: Store) -> None:
    from minidock.snapshots import backend

    _ = store.database
    os.symlink("mount overlay x: invalid argument", backend.link_of(store.paths))
    snapshots = Snapshots(store)
    assert snapshots.backend == Backend(overlay=False, reason="mount overlay x: invalid argument")
