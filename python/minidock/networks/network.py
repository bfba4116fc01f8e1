"""One network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.containers.container import Container
    from minidock.networks.collection import NetworkCollection
    from minidock.networks.record import Record
    from minidock.spec.docker_network import NetworkInspect

_SHORT = 12


class Network:
    """A network, as it was when it was looked up; :meth:`reload` looks again."""

    def __init__(self, collection: NetworkCollection, record: Record) -> None:
        self._collection = collection
        self.record = record
        self._attrs: dict[str, Any] | None = None
        self.warnings: list[str] = []
        """What making it has changed on the host."""

    def __repr__(self) -> str:
        return f"<Network: {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and other.id == self.id

    def __hash__(self) -> int:
        return hash((Network, self.id))

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self.record.id

    @property
    def short_id(self) -> str:
        """The first twelve of them."""
        return self.record.id[:_SHORT]

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.record.labels)

    @property
    def attrs(self) -> dict[str, Any]:
        """What ``docker network inspect`` prints, as of the first look or the last :meth:`reload`."""
        if self._attrs is None:
            import msgspec

            found: dict[str, Any] = msgspec.to_builtins(self.inspect())
            self._attrs = found
        return self._attrs

    @property
    def containers(self) -> list[Container]:
        """The running containers on it."""
        return self._collection.containers(self.record)

    def inspect(self) -> NetworkInspect:
        """Return what ``docker network inspect`` prints, typed."""
        return self._collection.inspect(self.record)

    def reload(self) -> None:
        """Look again. Raises NetworkNotFound when it has been removed."""
        self.record = self._collection.record(self.id)
        self._attrs = None

    def connect(
        self,
        container: str | Container,
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
        """Connect a container, running or not, to the network.

        ``aliases`` are more names for it there; ``links`` maps names of containers to names that only this one has for
        them, or is a list of ``CONTAINER:ALIAS``. The network with the highest ``gw_priority`` has the default route.

        Raises ContainerNotFound, NetworkNotFound, Conflict when it is connected already, AddressInUse, PoolExhausted,
        InvalidArgument, also when it has the network of the host or none.
        """
        self._collection.lifecycle.connect_network(
            self.id,
            container if isinstance(container, str) else container.id,
            aliases=aliases,
            ipv4_address=ipv4_address,
            ipv6_address=ipv6_address,
            links=links,
            link_local_ips=link_local_ips,
            mac_address=mac_address,
            driver_opt=driver_opt,
            gw_priority=gw_priority,
        )
        self._attrs = None

    def disconnect(self, container: str | Container, force: bool = False) -> None:
        """Take a container, running or not, off the network.

        ``force`` does so even if its supervisor does not answer. Raises ContainerNotFound, NetworkNotFound, Conflict
        when it is not connected, InvalidArgument for the host's network of a container that was created in it.
        """
        self._collection.lifecycle.disconnect_network(
            self.id, container if isinstance(container, str) else container.id, force=force
        )
        self._attrs = None

    def remove(self) -> None:
        """Remove the network. Raises NetworkInUse, Conflict for a predefined one, NetworkNotFound."""
        [error] = self._collection.remove([self.id])
        if error is not None:
            raise error
