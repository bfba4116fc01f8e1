"""``engine.networks``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minidock import events
from minidock.errors import (
    Conflict,
    ContainerNotFound,
    Denied,
    InvalidArgument,
    MinidockError,
    NetworkNotFound,
    NoSpace,
)
from minidock.networks.keeper import Keeper
from minidock.networks.network import Network
from minidock.networks.record import inspect
from minidock.spec.docker_network import EndpointResource, NetworkInspect, NetworksPruned

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence

    from minidock.containers.container import Container
    from minidock.containers.lifecycle import Lifecycle
    from minidock.networks.planning import Request
    from minidock.networks.record import Record


class NetworkCollection(Keeper):
    """The networks of an engine's data root."""

    @property
    def lifecycle(self) -> Lifecycle:
        """What connects containers."""
        return self._engine.lifecycle

    def create(  # noqa: PLR0917 - the order of docker-py
        self,
        name: str,
        driver: str | None = "bridge",
        options: Mapping[str, Any] | None = None,
        ipam: Mapping[str, Any] | None = None,
        check_duplicate: bool | None = None,
        internal: bool = False,
        labels: Mapping[str, str] | Sequence[str] | None = None,
        enable_ipv6: bool | None = None,
        attachable: bool | None = None,
        scope: str | None = None,
        ingress: bool | None = None,
        *,
        enable_ipv4: bool | None = None,
        config_only: bool = False,
        config_from: str | None = None,
        subnet: str | Sequence[str] = (),
        gateway: str | Sequence[str] = (),
        ip_range: str | Sequence[str] = (),
        aux_addresses: Mapping[str, str] | None = None,
    ) -> Network:
        """Make a network with its bridge, and return it.

        ``driver`` is bridge, macvlan or ipvlan; ``options`` are Docker's (``com.docker.network.driver.mtu``,
        ``parent``, …). Addresses are said either as ``ipam``, in the form of Docker's API, or by ``subnet`` and what
        lies in it: ``gateway``, ``ip_range`` (what containers get by themselves), ``aux_addresses`` (which nobody
        gets). Without either, a subnet that neither another network nor a route of the host has is chosen. A network
        with the same name is always an error, whatever ``check_duplicate`` says.

        Raises NameInUse, InvalidArgument, AddressInUse for a subnet of another network, PoolExhausted when no subnet is
        left, Conflict for an interface name that the host has, NotFound without the parent interface, Unsupported for
        what needs a swarm, or what the kernel does not have. Nothing is left of a network that could not be made.
        """
        del check_duplicate
        from minidock.networks import wanted
        from minidock.networks.planning import Request

        if ipam and (subnet or gateway or ip_range or aux_addresses):
            raise InvalidArgument("ipam: not together with subnet, gateway, ip_range or aux_addresses")
        ipam_options: dict[str, str] | None
        if ipam is not None:
            ipam_driver, ipam_options, subnets = wanted.from_ipam(ipam)
        else:
            ipam_driver, ipam_options = "default", {}
            subnets = wanted.from_flags(_texts(subnet), _texts(gateway), _texts(ip_range), aux_addresses or {})
        return self.create_from(
            Request(
                name=_text(name),
                driver=driver or "bridge",
                options={_text(key): _option(value) for key, value in (options or {}).items()},
                ipam_driver=ipam_driver,
                ipam_options=ipam_options,
                subnets=subnets,
                internal=bool(internal),
                attachable=bool(attachable),
                ingress=bool(ingress),
                scope=scope or "",
                enable_ipv4=enable_ipv4,
                enable_ipv6=enable_ipv6,
                labels=_labels(labels),
                config_only=config_only,
                config_from=config_from or "",
            )
        )

    def create_from(self, request: Request) -> Network:
        """Make a network as :meth:`create` does, for those who have the request in the form of Docker's API."""
        network = Network(self, self.make(request))
        network.warnings, self.notes = self.notes, []
        return network

    def get(self, network: str) -> Network:
        """Return the network of this id, unambiguous start of an id, or name. Raises NetworkNotFound."""
        return Network(self, self.record(network))

    def list(
        self,
        names: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        filters: Mapping[str, Any] | Sequence[str] | None = None,
        greedy: bool = False,
    ) -> builtins.list[Network]:
        """Return the networks, oldest first.

        ``filters`` are Docker's: dangling, driver, id, label, name, scope, type; ``names`` and ``ids`` mean those of
        these names. With ``greedy`` their containers are looked at now, and not when ``attrs`` is asked for.

        Raises InvalidArgument for a filter that makes no sense.
        """
        from minidock.networks import filtering

        wanted = filtering.parse(filters)
        for key, values in (("name", names), ("id", ids)):
            if values:
                wanted[key] = [*wanted.get(key, ()), *values]
        found = [Network(self, record) for record in filtering.select(self._shown(), wanted, self._in_use)]
        if greedy:
            for network in found:
                _ = network.attrs
        return found

    def remove(self, networks: Sequence[str]) -> builtins.list[MinidockError | None]:
        """Remove networks by name, id or beginning of an id, in one go; returns for each what kept it, or None.

        That is NetworkNotFound, NetworkInUse, or Conflict for a predefined one.
        """
        outcome: dict[int, MinidockError | None] = {}
        found: dict[int, Record] = {}
        for at, key in enumerate(networks):
            try:
                record = self.record(key)
                if record.predefined:
                    raise Conflict(f"{record.name} is a pre-defined network and cannot be removed")
                if any(other.id == record.id for other in found.values()):
                    raise NetworkNotFound(f"network {key} not found")
                self.settle(record.id)
            except MinidockError as error:
                outcome[at] = error
            else:
                found[at] = record
        if found:
            outcome.update(zip(found, self.take(list(found.values())), strict=True))
        return [outcome[at] for at in range(len(networks))]

    def prune(self, filters: Mapping[str, Any] | Sequence[str] | None = None) -> NetworksPruned:
        """Remove every network that no container is on, but the predefined ones; returns their names.

        Filters: label, label!, until. Raises InvalidArgument for one that makes no sense.
        """
        from minidock.networks import filtering

        chosen = filtering.prunable(filters)
        found = [record for record in self.all() if not record.predefined and not record.config_only and chosen(record)]
        for record in found:
            self.settle(record.id)
        outcome = self.take(found) if found else []
        names = [record.name for record, error in zip(found, outcome, strict=True) if error is None]
        for error in outcome:
            if error is not None and not isinstance(error, (Conflict, NetworkNotFound)):
                raise error
        events.append(self.table.paths, "network", "prune", "", {"reclaimed": "0"})
        return NetworksPruned(names or None)

    def repair(self) -> builtins.list[str]:
        """Make rows, leases, live files, bridges and the firewall agree; returns what was done, a line each."""
        from minidock.networks.repairing import repair

        return repair(self)

    def inspect(self, record: Record) -> NetworkInspect:
        """Return what ``docker network inspect`` prints of a network."""
        document = inspect(record)
        leases = {lease.container_id: lease for lease in self.leases.on(record)}
        for container in self.containers(record):
            lease = leases[container.id]
            document.containers[container.id] = EndpointResource(
                name=container.name,
                endpoint_id=lease.endpoint_id,
                mac_address=lease.mac,
                ipv4_address=f"{lease.ipv4}/{lease.ipv4_prefix}" if lease.ipv4 else "",
                ipv6_address=f"{lease.ipv6}/{lease.ipv6_prefix}" if lease.ipv6 else "",
            )
        return document

    def containers(self, record: Record) -> builtins.list[Container]:
        """Return the running containers on a network, by id."""
        from minidock.containers import states

        found = []
        for endpoint in sorted(self.table.on(record.id), key=lambda row: row.container_id):
            with suppress(ContainerNotFound):
                container = self._engine.containers.get(endpoint.container_id)
                if container.status in states.ALIVE:
                    found.append(container)
        return found

    def _shown(self) -> builtins.list[Record]:
        # On a full or read-only disk a list shows what is there.
        try:
            return self.all()
        except (NoSpace, Denied):
            from minidock.networks.record import decode

            return [decode(row.record) for row in self.table.all()]

    def _in_use(self) -> set[str]:
        return self.table.in_use()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"text is needed, not {type(value).__name__}")
    return value


def _option(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _texts(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else [_text(one) for one in value]


def _labels(value: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    if value is None:
        return {}
    if hasattr(value, "items"):
        return {_text(key): str(text) for key, text in value.items()}
    parted = (entry.partition("=") for entry in _texts(value))
    return {key: text for key, _, text in parted}
