"""Removing where nothing can be written any more: the space for it comes from what goes anyway."""

from __future__ import annotations

import contextlib
import os

from minidock.store.database import reserve
from minidock.store.paths import Paths
from minidock.store.trees import remove_tree


def make_room(paths: Paths, container_id: str) -> None:
    """Free what is kept for this, and remove what a container has written and its logs. Raises SystemFailure."""
    reserve(paths.data)
    directory = paths.container(container_id)
    remove_tree(f"{directory}/rw")
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if ".log" in name:
                remove_tree(f"{directory}/{name}")
