"""A store on a directory of the test's own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.store.blobs import NewBlob
from minidock.store.containers import ContainerRow
from minidock.store.images import ImageRow
from minidock.store.layers import NewLayer
from minidock.store.store import Store
from minidock.store.workspace import Workspace

IMAGE = "sha256:" + "a" * 64
MakeStore = Callable[[], Store]


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    """Makes stores on the same roots; they are closed at the end."""
    made: list[Store] = []

    def make() -> Store:
        made.append(Store(str(tmp_path / "data"), str(tmp_path / "run")))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()


def add_image(store: Store, digit: str = "a", layers: tuple[str, ...] = ("one",), tag: str | None = None) -> str:
    """Add an image whose layers have the given diff_ids, with an empty file in each new one."""
    image_id = "sha256:" + digit * 64
    _ = store.database
    with Workspace(store.paths, "test") as work:
        new = []
        for diff_id in layers:
            os.makedirs(work.join(diff_id) + "/fs")
            Path(work.join(diff_id), "fs", "file").touch()
            new.append(NewLayer(diff_id, 100, work.join(diff_id)))
        Path(work.join("blob")).write_bytes(b"{}")
        store.images.add(
            ImageRow(image_id, b"{}", None, 100, 5),
            layers,
            layers=new,
            blobs=[NewBlob(image_id, 2, "", work.join("blob"))],
            tag=tag,
        )
    return image_id


def add_container(store: Store, digit: str = "1", name: str | None = None, image_id: str | None = None) -> str:
    """Add a container with a directory."""
    container_id = (digit * 64)[:64]
    with store.containers.workspace(container_id) as work:
        os.makedirs(work.join(container_id) + "/rw")
        store.containers.insert(ContainerRow(container_id, name or f"n{digit}", image_id, 0, "created", b"{}"), work)
    return container_id
