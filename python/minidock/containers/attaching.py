"""A container's endpoints, while it is being started: leases taken and given back, and what others know of it."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from minidock import _native
from minidock.containers import document, networking, states
from minidock.containers.draft.network import is_user_defined
from minidock.containers.liveness import read
from minidock.errors import Conflict, ContainerNotFound, MinidockError, NetworkNotFound, Unsupported
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.containers.base import Base
    from minidock.containers.endpoints import Wanted
    from minidock.containers.record import Record
    from minidock.containers.settling import Settling
    from minidock.networks.record import Record as Network
    from minidock.spec.docker import ContainerState

FAILED = "failed to set up container networking: "


class Networks:
    """The networks that containers of one engine were on lately: records and live files, read once.

    A record may be of a network that is gone; then taking a lease fails, and it is read again.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._known: dict[str, Network] = {}
        self._live: dict[str, dict[str, Any]] = {}

    def get(self, key: str) -> Network:
        """Return a network by name, or by id or its beginning. Raises NetworkNotFound."""
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._base.engine.networks.record(key)
        return known

    def forget(self) -> None:
        """Read all again when they are needed."""
        self._known.clear()
        self._live.clear()

    def prepare(self, record: Record) -> None:
        """Make what the networks of a container need of the host, before the database is held for its start.

        What is wrong with them is left to :func:`attach`, so that it is recorded.
        """
        folder = self._base.paths.run_networks
        for name in record.networks:
            with contextlib.suppress(MinidockError):
                network = self.get(name)
                known = self._live.get(network.id)
                if known is None or read(f"{folder}/{network.id}/network.json") != msgspec.json.encode(known):
                    self._live[network.id] = self._base.engine.networks.live(network)

    def live(self, network: Network) -> dict[str, Any]:
        """Return the content of a network's live file, which is there afterwards."""
        known = self._live.get(network.id)
        if known is None:
            known = self._live[network.id] = self._base.engine.networks.live(network)
        return known


def attach(base: Base, record: Record) -> None:
    """Give a container that is about to start its endpoints; part of the caller's transaction.

    Raises NetworkNotFound, AddressInUse, PoolExhausted, Conflict for a port that another container has, and
    StillLeaving, see :func:`minidock.networks.leases.patiently`.
    """
    from minidock.networks.leases import StillLeaving

    try:
        try:
            _attach_all(base, record)
        except NetworkNotFound:
            # What is known of the networks may be old.
            base.networks.forget()
            base.store.networks.release(record.id)
            record.endpoints = {}
            _attach_all(base, record)
    except StillLeaving:
        raise
    except MinidockError as error:
        raise type(error)(f"{FAILED}{error}") from error


def _attach_all(base: Base, record: Record) -> None:
    networks = {name: base.networks.get(name) for name in networking.ordered(record.networks)}
    for name, network in networks.items():
        add(base, record, name, network)
    networking.route(record, networks)
    reserve_ports(base, record, networks)


class HostPort(NamedTuple):
    """A port of the host that a container is to have, and nobody else."""

    protocol: str
    host_ip: str
    port: int

    def excludes(self, other: HostPort) -> bool:
        """Whether two cannot be had at once."""
        same = (self.protocol, self.port) == (other.protocol, other.port)
        return same and bool(self.host_ip == other.host_ip or EVERYWHERE & {self.host_ip, other.host_ip})


EVERYWHERE = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 - compared only


def reserve_ports(base: Base, record: Record, networks: Mapping[str, Network]) -> None:
    """Keep the ports of the host that a container names where others look for them.

    Raises Conflict, naming the holder.
    """
    serving = next(((name, one) for name, one in record.endpoints.items() if one.serves_ports), None)
    if serving is None or not record.host_config.port_bindings:
        return
    address = networking.binding_address(networks[serving[0]], base.config)
    wanted = networking.ports(record, address)
    fixed = [HostPort(one.protocol, one.host_ip, one.host_port) for one in wanted if one.host_port == one.host_port_end]
    fixed = [one for one in fixed if one.port]
    if not fixed:
        return
    for number, one in enumerate(fixed):
        for other in fixed[:number]:
            if one.excludes(other):
                raise Conflict(f"Bind for {_shown(one)} failed: port is already allocated (by this container)")
    for container_id, kept in base.store.networks.kept(record.id):
        for held in decoding.decode(kept, list[HostPort]):
            for one in fixed:
                if one.excludes(held) and (name := _running(base, container_id)):
                    raise Conflict(f"Bind for {_shown(one)} failed: port is already allocated (by container {name})")
    from minidock.networks.leases import Leases

    Leases(base.store.networks).update(serving[1].network, record.id, keep=msgspec.json.encode(fixed))


def _shown(port: HostPort) -> str:
    ip = port.host_ip or "0.0.0.0"  # noqa: S104 - words
    return f"[{ip}]:{port.port}" if ":" in ip else f"{ip}:{port.port}"


def _running(base: Base, container_id: str) -> str:
    """Return the name of a container that runs; nothing for one that has ended without anybody looking."""
    row = base.store.containers.find(container_id)
    if row is None or row.state != states.RUNNING:
        return ""
    with contextlib.suppress(ContainerNotFound):
        _, state = base.engine.lifecycle.settle(row)
        again = base.store.containers.find(container_id)
        if state.status in states.ALIVE or (again is not None and again.state == states.RUNNING):
            return row.name
    return ""


def add(base: Base, record: Record, name: str, network: Network) -> None:
    """Give a container an endpoint on one more network; the default route is where it was. Raises as :func:`attach`."""
    from minidock.networks.leases import Leases

    wanted = record.networks[name]
    lease = Leases(base.store.networks).allocate(
        network, record.id, ipv4=wanted.ipv4 or None, ipv6=wanted.ipv6 or None, mac=wanted.mac
    )
    record.endpoints[name] = networking.endpoint(record, name, network, lease)
    wanted.network = network.id


def networks_of(base: Base, record: Record) -> dict[str, Network]:
    """Return the networks of a container's endpoints, by name."""
    return {name: base.networks.get(name) for name in record.endpoints}


def section(base: Base, record: Record) -> Any:
    """Return section ``network`` of ``minidock.json``, and make the live files of its networks."""
    if not record.endpoints:
        return None
    networks = networks_of(base, record)
    live = {name: base.networks.live(network) for name, network in networks.items()}
    from minidock.containers import network_files

    servers = network_files.host_servers(base.host.resolv_conf())
    dns = networking.resolver(record, networks, base.config, servers)
    return networking.section(record, networking.Facts(networks, live, base.paths.run_networks, dns), base.config)


def nothing(base: Base) -> document.Network:
    """Return the section of a container without endpoints, which may get some."""
    from minidock.networks import naming

    return document.Network(base.paths.run_networks, naming.table(base.paths.run), [], [], None)


def forget_live(base: Base, record: Record) -> None:
    """Take away what a supervisor that was killed has left of a container's endpoints, its published ports too."""
    table = ""
    for one in record.endpoints.values():
        folder = f"{base.paths.run_networks}/{one.network}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/endpoints/{record.id}")
            with open(f"{folder}/network.json", "rb") as file:
                table = msgspec.json.decode(file.read())["table"]
    if table:
        with contextlib.suppress(_native.NativeError):
            _native.firewall_ensure(table, base.paths.run_networks)


def host_gateways(base: Base, record: Record) -> list[str]:
    """Return what ``host-gateway`` means in /etc/hosts, if it is there. Raises Unsupported where it means nothing."""
    from minidock.containers import network_files

    if not network_files.needs_gateway(record):
        return []
    config = base.config
    found = [one for one in (*config.host_gateway_ips, config.host_gateway_ip) if one]
    if not found and config.bridge != "none":
        found = [one.gateway for one in base.networks.get("bridge").subnets if one.gateway]
    if not found:
        raise Unsupported(
            "unable to derive the IP value for host-gateway: there is no default network; "
            "set host-gateway-ip in the configuration"
        )
    return found


_BOUND = re.compile(r"failed to bind host port (\S*):([0-9]+)/(tcp|udp|sctp): address already in use")


def explained(lifecycle: Base, record: Record, error: Conflict) -> Conflict:
    """Return the error of a start, in Docker's words and with the holder's name if a container has its port."""
    found = _BOUND.search(str(error))
    if found is None:
        return error
    ip, port, protocol = found[1], int(found[2]), found[3]
    holder = _holder(lifecycle, record, ip.strip("[]"), port, protocol)
    if not holder:
        return error
    return Conflict(f"{FAILED}Bind for {ip}:{port} failed: port is already allocated (by container {holder})")


def _holder(base: Base, record: Record, ip: str, port: int, protocol: str) -> str:
    """Return the name of another container that has a port of the host."""
    for container_id in _listed(base.paths.run_containers):
        if container_id == record.id:
            continue
        for one in real_ports(base.paths.run_container(container_id)):
            anywhere = {"0.0.0.0", "::"} & {ip, one.host_ip}  # noqa: S104 - compared only
            if (one.host_port, one.protocol) == (port, protocol) and (anywhere or one.host_ip == ip):
                with contextlib.suppress(ContainerNotFound):
                    return base.store.containers.get(container_id).name
    return ""


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


class RealPort(msgspec.Struct):
    """A port as the supervisor has published it."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int


class _Live(msgspec.Struct):
    ports: list[RealPort] = []


def real_ports(run_dir: str) -> list[RealPort]:
    """Return what the supervisor of a run directory has published."""
    text = read(f"{run_dir}/network.json")
    if text is None:
        return []
    try:
        return decoding.decode(text, _Live).ports
    except msgspec.DecodeError:
        return []


def donor(lifecycle: Settling, record: Record) -> tuple[Record, ContainerState] | None:
    """Return the container whose network one is in. Raises ContainerNotFound, Conflict unless it runs."""
    from minidock.containers.parse.modes import joined

    name = joined(record.host_config.network_mode)
    if name is None:
        return None
    row = lifecycle.store.containers.find(name)
    if row is None:
        raise ContainerNotFound(f"joining network namespace of container: no such container: {name}")
    found, state = lifecycle.settle(row)
    if found.id == record.id:
        raise Conflict("cannot join own network namespace")
    if state.status == states.RESTARTING:
        raise Conflict(f"container {name} is restarting, wait until the container is running")
    if state.status not in (states.RUNNING, states.PAUSED):
        raise Conflict(
            f"cannot join network namespace of a non running container: container {found.name} is {state.status}"
        )
    return found, state


def share(lifecycle: Settling, record: Record) -> None:
    """Give a container that is in the network of another the host name of that. Raises as :func:`donor`."""
    found = donor(lifecycle, record)
    if found is not None:
        record.host_config.network_mode = f"container:{found[0].id}"
        record.config.hostname, record.config.domainname = found[0].config.hostname, found[0].config.domainname


def checked(base: Base, record: Record) -> None:
    """Complete and check the networks of a container that is being made, as far as they exist.

    Names take the place of ids. Raises InvalidArgument for addresses that the networks do not have, and
    ContainerNotFound for links to containers that are not there.
    """
    mode = record.host_config.network_mode
    if mode.startswith("container:"):
        row = base.store.containers.find(mode.removeprefix("container:"))
        if row is not None:
            record.host_config.network_mode = f"container:{row.id}"
        return
    for link in record.host_config.links or ():
        name = link.partition(":")[0]
        if base.store.containers.find(name) is None:
            raise ContainerNotFound(f"could not get container for {name}: no such container: {name}")
    given = record.networks
    plain = all(not is_user_defined(name) and not (one.ipv4 or one.ipv6) for name, one in given.items())
    if plain:
        return
    record.networks = _named(base, given)
    for wanted in record.networks.values():
        for text in wanted.link_local or ():
            _check_link_local(mode, text)


def _named(base: Base, given: Mapping[str, Wanted]) -> dict[str, Wanted]:
    from minidock.errors import InvalidArgument
    from minidock.networks.leases import check_static

    found: dict[str, Wanted] = {}
    for key, wanted in given.items():
        name = key
        try:
            network = base.networks.get(key)
        except NetworkNotFound:
            pass  # it may be there when the container is started
        else:
            name = network.name
            try:
                check_static(network, wanted.ipv4 or None, wanted.ipv6 or None)
            except InvalidArgument as error:
                raise InvalidArgument(f"invalid config for network {key}: {error}") from error
        if name in found:
            raise InvalidArgument(f'network "{name}" is specified multiple times')
        found[name] = wanted
    return found


def _check_link_local(network: str, text: str) -> None:
    from minidock.containers.parse.hosts import is_address
    from minidock.errors import InvalidArgument

    if not is_address(text):
        raise InvalidArgument(
            f"invalid config for network {network}: invalid endpoint settings: invalid link-local IP address: {text}"
        )
