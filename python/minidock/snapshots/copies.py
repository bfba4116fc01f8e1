"""Root filesystems by plain copy, for data roots where overlayfs cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock._errors import translate
from minidock._native import NativeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def copy_layers(layers: Sequence[str], root: str, idmap: Mapping[str, Sequence[Sequence[int]]] | None) -> None:
    """Copy unpacked layers, topmost first in ``layers``, one over the other into ``root``, which exists and is empty.

    Whiteouts in overlayfs form are applied. Raises NoSpace.
    """
    from minidock import _native

    try:
        for layer in reversed(layers):
            _native.copy_tree(layer, root, merge=True, idmap=idmap)
    except NativeError as error:
        raise translate(error) from error
