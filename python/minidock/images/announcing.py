"""What happens to images, told to the data root's events in Docker's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock import events
from minidock.spec import decoding

if TYPE_CHECKING:
    from minidock.images.references import Reference
    from minidock.store.images import ImageRow
    from minidock.store.store import Store


class _Config(msgspec.Struct):
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)


class _Image(msgspec.Struct):
    config: _Config | None = None


def announce(store: Store, action: str, row: ImageRow, name: str = "") -> None:
    """Tell that ``action`` happened to an image; ``name`` is the one concerned, its id where none is."""
    _append(store, action, row.id, name or row.id, _labels(row))


def announce_import(store: Store, row: ImageRow, target: Reference | None) -> None:
    """Tell that an image was made from files, and got a name."""
    if target is not None:
        announce(store, "tag", row, target.familiar)
    announce(store, "import", row)


def announce_transfer(store: Store, action: str, reference: Reference, row: ImageRow | None = None) -> None:
    """Tell of a ``pull`` or ``push``: its object is the reference, with the image's labels where it is one image."""
    _append(store, action, reference.familiar, reference.familiar_name, {} if row is None else _labels(row))


def announce_removal(store: Store, row: ImageRow, names: int, *, deleted: bool) -> None:
    """Tell that an image lost so many ``names``, and whether it went with them."""
    for _ in range(names):
        announce(store, "untag", row)
    if deleted:
        _append(store, "delete", row.id, row.id, {})


def announce_prune(store: Store, reclaimed: int) -> None:
    """Tell that unused images were removed, and how many bytes that gave back."""
    events.append(store.paths, "image", "prune", "", {"reclaimed": str(reclaimed)})


def _append(store: Store, action: str, id: str, name: str, labels: dict[str, str]) -> None:
    events.append(store.paths, "image", action, id, {**labels, "name": name})


def _labels(row: ImageRow) -> dict[str, str]:
    try:
        config = decoding.decode(row.config, _Image).config
    except (msgspec.DecodeError, UnicodeDecodeError):  # whoever wants to use the image is told
        return {}
    return (config.labels if config is not None else None) or {}
