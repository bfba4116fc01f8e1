"""The life of containers on one engine's store, as a stack of classes: each builds on the one below.

``base`` (what is open) → ``settling`` (what is so, removal) → ``planning`` (making) → ``starting``. Verbs for
containers that run are in ``control``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from minidock.containers.starting import Starting
from minidock.store.cleaner import cleaner

if TYPE_CHECKING:
    from collections.abc import Sequence


class Lifecycle(Starting):
    """Everything that can be done to containers by one process."""

    def connect_network(
        self,
        network: str,
        container: str,
        *,
        aliases: Sequence[str] | None = None,
        ipv4_address: str | None = None,
        ipv6_address: str | None = None,
        links: Mapping[str, str] | Sequence[str] | None = None,
        link_local_ips: Sequence[str] | None = None,
        mac_address: str | None = None,
        driver_opt: Mapping[str, str] | None = None,
        gw_priority: int = 0,
    ) -> None:
        """Connect a container to a network; see :meth:`minidock.networks.network.Network.connect`."""
        from minidock.containers import connecting
        from minidock.containers.parse import networks

        entries = links.items() if isinstance(links, Mapping) else links or ()
        wanted = networks.endpoint(
            {
                "IPAMConfig": {
                    "IPv4Address": ipv4_address,
                    "IPv6Address": ipv6_address,
                    "LinkLocalIPs": link_local_ips,
                },
                "Aliases": aliases,
                "Links": [entry if isinstance(entry, str) else ":".join(entry) for entry in entries],
                "MacAddress": mac_address,
                "DriverOpts": driver_opt,
                "GwPriority": gw_priority,
            }
        )
        connecting.connect(self, container, self.engine.networks.record(network), wanted)

    def disconnect_network(self, network: str, container: str, *, force: bool = False) -> None:
        """Take a container off a network; see :meth:`minidock.networks.network.Network.disconnect`."""
        from minidock.containers import connecting

        connecting.disconnect(self, container, self.engine.networks.record(network), force=force)

    def close(self) -> None:
        """Close the helper's file, and wait for what is being removed."""
        cleaner.flush()
        if self._helper is not None:
            self._helper.close()
            self._helper = None
