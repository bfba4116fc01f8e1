"""What tests of networks share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import minidock


def interfaces() -> set[str]:
    """The names of this host's interfaces."""
    return set(os.listdir("/sys/class/net"))


def clear(engine: minidock.Engine) -> None:
    """Remove all networks of an engine, the default one too."""
    networks = engine.networks
    engine.store.database.execute("DELETE FROM endpoints")
    found = [network.record for network in networks.list() if network.name not in ("host", "none")]
    networks.take([record for record in found if not record.config_only])
    networks.take([record for record in found if record.config_only])
    with networks.locked():
        networks.sweep()
