"""How much of the disk images take up."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minidock.images import downloads

if TYPE_CHECKING:
    from minidock.store.store import Store


class ImageUsage(NamedTuple):
    """Bytes that one image has on disk.

    ``size`` is all of it: files of its layers, the records that rebuild their tars, and the blobs that are kept.
    ``shared`` is the part of it that other images have too, ``content`` the part that blobs are.
    """

    size: int
    shared: int
    content: int


def of_images(store: Store) -> dict[str, ImageUsage]:
    """The usage of every image by id, of hidden ones too."""
    found = {}
    with store.database.snapshot():
        for (image_id,) in store.database.rows("SELECT id FROM images"):
            layers, shared_layers = _sums(store, _LAYERS, image_id)
            blobs, shared_blobs = _sums(store, _BLOBS, image_id)
            found[image_id] = ImageUsage(layers + blobs, shared_layers + shared_blobs, blobs)
    return found


def total(store: Store) -> int:
    """Bytes of all layers, kept blobs and unfinished downloads: what walking the data root finds of them."""
    layers = sum(layer.size + layer.split_size for layer in store.layers.all())
    return layers + store.blobs.kept_size() + downloads.space(store.paths)


def _sums(store: Store, things: str, image_id: str) -> tuple[int, int]:
    """Sizes of what an image has of one kind, each counted once, and of that what other images have too."""
    row = store.database.row(
        f"SELECT coalesce(sum(bytes), 0), coalesce(sum(bytes * shared), 0) FROM ({things})",  # noqa: S608 - constants
        (image_id,),
    )
    return (int(row[0]), int(row[1])) if row else (0, 0)


_LAYERS = """
    SELECT DISTINCT layers.id, size + split_size AS bytes, EXISTS (
        SELECT 1 FROM image_layers AS other WHERE other.layer_id = layers.id AND other.image_id != ?1) AS shared
    FROM image_layers AS mine JOIN layers ON layers.id = layer_id WHERE mine.image_id = ?1
"""
_BLOBS = """
    SELECT blobs.digest, size AS bytes, EXISTS (
        SELECT 1 FROM image_blobs AS other WHERE other.digest = blobs.digest AND other.image_id != ?1) AS shared
    FROM image_blobs AS mine JOIN blobs USING (digest) WHERE mine.image_id = ?1 AND kept
"""
