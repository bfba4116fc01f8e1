"""Connecting containers to networks, and disconnecting them, while they run or not."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from minidock.containers import attaching, bundle, liveness, network_files, networking, states
from minidock.containers.draft.network import is_user_defined
from minidock.containers.endpoints import Wanted
from minidock.errors import Conflict, InvalidArgument, Timeout
from minidock.networks.leases import check_static, patiently

if TYPE_CHECKING:
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.record import Record
    from minidock.networks.record import Record as Network
    from minidock.spec.docker import ContainerState

_PATIENCE = 10.0
_LOOK_SECONDS = 0.02


def connect(lifecycle: Lifecycle, key: str, network: Network, wanted: Wanted | None = None) -> None:
    """Connect a container to a network: at once if it runs, else when it is started.

    Raises ContainerNotFound, InvalidArgument for settings that make no sense there and for a container that cannot have
    the network, AddressInUse, PoolExhausted, and Conflict for one that has it.
    """
    wanted = wanted or Wanted()
    record, state = _still(lifecycle, key)
    _check(record, state, network, wanted)
    runs = state.status in states.ALIVE

    def change() -> Record:
        def note(now_record: Record) -> None:
            _check(now_record, state, network, wanted)
            now_record.networks = {**now_record.networks, network.name: wanted}
            if runs:
                attaching.add(lifecycle, now_record, network.name, network)
                networking.route(now_record, attaching.networks_of(lifecycle, now_record))

        changed = lifecycle.modify(record.id, note, expected_state=_row_state(state))
        if changed is None:
            raise Conflict(f"container {record.id} has been started or has ended meanwhile")
        return changed

    changed = patiently(change)
    if not runs:
        return
    try:
        _tell_connect(lifecycle, changed, network.name)
    except BaseException:
        lifecycle.modify(record.id, lambda now_record: _drop(lifecycle, now_record, network))
        raise
    _write_files(lifecycle, record, changed)
    _emit(lifecycle, "connect", network, record.id)


def disconnect(lifecycle: Lifecycle, key: str, network: Network, *, force: bool = False) -> None:
    """Disconnect a container from a network; with ``force`` also one whose supervisor does not answer.

    Raises ContainerNotFound, Conflict for a container that is not on it, InvalidArgument for one that was created in
    the host's network.
    """
    record, state = _still(lifecycle, key)
    if network.name == "host" and record.host_config.network_mode == "host":
        raise InvalidArgument(
            "cannot disconnect container from host network - container was created in host network mode"
        )
    if network.name not in record.networks:
        raise Conflict(f"container {record.id} is not connected to network {network.name}")
    runs = state.status in states.ALIVE and network.name in record.endpoints
    if runs:
        try:
            lifecycle.tell(record, {"op": "disconnect", "network": network.id})
        except Timeout:
            if not force:
                raise

    changed = lifecycle.modify(record.id, lambda now_record: _drop(lifecycle, now_record, network))
    if runs and changed is not None and changed.endpoints:
        _tell_routes(lifecycle, record, changed)
    if runs and changed is not None:
        _write_files(lifecycle, record, changed)
        _emit(lifecycle, "disconnect", network, record.id)


def _drop(lifecycle: Lifecycle, record: Record, network: Network) -> None:
    """Take a network out of a record; part of the caller's transaction."""
    record.networks = {name: one for name, one in record.networks.items() if name != network.name}
    if record.endpoints.pop(network.name, None) is not None:
        lifecycle.store.networks.release(record.id, network.id)
        networking.route(record, attaching.networks_of(lifecycle, record))


def _still(lifecycle: Lifecycle, key: str) -> tuple[Record, ContainerState]:
    """Return a container that is not being started at this moment."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        row = lifecycle.store.containers.get(key)
        record, state = lifecycle.settle(row)
        if row.state != states.RUNNING or state.status != states.CREATED:
            return record, state
        if time.monotonic() > deadline:
            raise Timeout(f"container {record.id}: it has been starting for more than {_PATIENCE:g} s")
        time.sleep(_LOOK_SECONDS)


def _row_state(state: ContainerState) -> str:
    return states.RUNNING if state.status in states.ALIVE else state.status


def _check(record: Record, state: ContainerState, network: Network, wanted: Wanted) -> None:
    """Refuse, in Docker's words, what a container cannot have."""
    mode = record.host_config.network_mode
    if state.status in (states.REMOVING, states.DEAD):
        raise Conflict(f"container {record.id} is marked for removal and cannot be connected to the network")
    if network.name == "host":
        raise InvalidArgument(
            "cannot connect container to host network - container must be created in host network mode"
        )
    if mode == "host" or mode.startswith("container:"):
        raise InvalidArgument(
            "container sharing network namespace with another container or host cannot be connected to any other "
            "network"
        )
    if "none" in record.networks or network.name == "none":
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
    if network.name in record.networks and state.status in states.ALIVE:
        raise Conflict(f"endpoint with name {record.name} already exists in network {network.name}")
    if wanted.aliases and not is_user_defined(network.name):
        raise InvalidArgument(
            "invalid endpoint settings: network-scoped alias is supported only for containers in user defined networks"
        )
    check_static(network, wanted.ipv4 or None, wanted.ipv6 or None)


def _tell_connect(lifecycle: Lifecycle, record: Record, name: str) -> None:
    """Have the supervisor connect a container. Raises Conflict when it has none, and what it says."""
    section = attaching.section(lifecycle, record)
    at = list(record.endpoints).index(name)
    request: dict[str, Any] = {
        "op": "connect",
        "endpoint": msgspec.to_builtins(section.endpoints[at]),
        "ports": msgspec.to_builtins(section.ports) if record.endpoints[name].serves_ports else [],
        "dns": msgspec.to_builtins(section.dns),
    }
    if not lifecycle.tell(record, request):
        raise Conflict(f"container {record.id} is not running")


def _tell_routes(lifecycle: Lifecycle, before: Record, record: Record) -> None:
    """Have the supervisor move the default routes and the published ports to where they are now."""
    section = attaching.section(lifecycle, record)
    for name, one in record.endpoints.items():
        had = before.endpoints[name]
        if (had.gateways, had.serves_ports) != (one.gateways, one.serves_ports):
            request: dict[str, Any] = {
                "op": "route",
                "network": one.network,
                "gateways": one.gateways,
                "ports": msgspec.to_builtins(section.ports) if one.serves_ports else [],
            }
            lifecycle.tell(record, request)


def _write_files(lifecycle: Lifecycle, before: Record, record: Record) -> None:
    """Write /etc/hosts and /etc/resolv.conf again, in place: the container has these very files.

    What it has changed itself stays: of /etc/hosts only the lines of its own addresses are touched, and a resolv.conf
    of its own is left alone.
    """
    directory = lifecycle.paths.container(record.id)
    had, has = bundle.host_lines(before), bundle.host_lines(record)
    old = _text(f"{directory}/hosts")
    gone = [f"{address}\t{names}\n" for address, names in had if (address, names) not in has]
    kept = [line for line in old.splitlines(keepends=True) if line not in gone]
    added = [f"{address}\t{names}\n" for address, names in has if (address, names) not in had]
    _write(lifecycle, record, "hosts", old, "".join([*kept, *added]))
    old = _text(f"{directory}/resolv.conf")
    host = lifecycle.host.resolv_conf()
    if old == network_files.resolv_conf(before, lifecycle.config, host) and record.endpoints:
        _write(lifecycle, record, "resolv.conf", old, network_files.resolv_conf(record, lifecycle.config, host))


def forget_name(lifecycle: Lifecycle, record: Record, name: str) -> None:
    """Take the lines whose first name this is out of a container's /etc/hosts, which it has if it has been started."""
    old = _text(f"{lifecycle.paths.container(record.id)}/hosts")
    kept = [line for line in old.splitlines(keepends=True) if line.split()[1:2] != [name]]
    _write(lifecycle, record, "hosts", old, "".join(kept))


def _text(path: str) -> str:
    return (liveness.read(path) or b"").decode(errors="surrogateescape")


def _write(lifecycle: Lifecycle, record: Record, name: str, old: str, new: str) -> None:
    if new != old:
        path = f"{lifecycle.paths.container(record.id)}/{name}"
        bundle.write(path, new.encode(errors="surrogateescape"), os.O_TRUNC, record)


def _emit(lifecycle: Lifecycle, action: str, network: Network, container_id: str) -> None:
    from minidock import events

    attributes = {"container": container_id, "name": network.name, "type": network.driver}
    events.append(lifecycle.paths, "network", action, network.id, attributes)
