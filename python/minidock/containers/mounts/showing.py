"""Mounts as ``inspect`` and ``ps`` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers.runtime_spec.user_mounts import data
from minidock.spec.docker import MountPoint

if TYPE_CHECKING:
    from minidock.containers.record import Point
    from minidock.store.paths import Paths


def shown(one: Point, paths: Paths) -> MountPoint:
    """Return one entry of Docker's ``Mounts``."""
    made = MountPoint(
        type=one.type,
        source=data(paths, one.name) if one.type == "volume" else one.source,
        destination=one.destination,
        mode=one.mode,
        rw=one.rw,
        propagation=one.propagation,
    )
    if one.name:
        made.name = one.name
    if one.driver:
        made.driver = one.driver
    return made
