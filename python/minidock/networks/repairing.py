"""``network repair``: make rows, leases, live files, bridges and the firewall agree, and say what was done."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from minidock import _native
from minidock._errors import translate
from minidock.errors import MinidockError
from minidock.networks import live, machine, naming

if TYPE_CHECKING:
    from minidock.networks.keeper import Keeper
    from minidock.networks.record import Record


def repair(keeper: Keeper) -> list[str]:
    """Do it. Returns a line for everything that was not as it should be."""
    paths = keeper.table.paths
    with keeper.locked():
        done = keeper.sweep()
    done += _leases(keeper)
    found = [record for record in keeper.all() if record.subnets]
    done += _endpoints(keeper, found)
    for record in found:
        done += _network(keeper, record)
    if found:
        table = naming.table(paths.run)
        try:
            if _native.firewall_ensure(table, paths.run_networks):
                done.append(f"made the firewall's table {table} again")
            done += _native.firewall_problems(table)
        except _native.NativeError as error:
            raise translate(error) from error
    done += keeper.notes
    keeper.notes = []
    return done


def _leases(keeper: Keeper) -> list[str]:
    """Give back the leases of containers that are gone, or that have ended."""
    for network_id in sorted(keeper.table.in_use()):
        keeper.settle(network_id)
    return [
        f"gave back the addresses of container {endpoint.container_id[:12]}, which is gone, on network "
        f"{endpoint.network_id[:12]}"
        for endpoint in keeper.table.every()
        if keeper.table.forget(endpoint.container_id, endpoint.network_id)
    ]


def _endpoints(keeper: Keeper, found: list[Record]) -> list[str]:
    """Delete the live endpoints of containers that have neither a lease nor a supervisor."""
    paths = keeper.table.paths
    done = []
    for record in found:
        holders = {row.container_id for row in keeper.table.on(record.id)}
        for container_id in live.endpoints(paths.run_networks, record.id):
            if container_id in holders or _is_supervised(paths.run_container(container_id)):
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{paths.run_networks}/{record.id}/endpoints/{container_id}")
                done.append(f"removed container {container_id[:12]}, which has ended, from network {record.name}")
    return done


def _is_supervised(run_dir: str) -> bool:
    try:
        _native.Supervisor.connect(run_dir)
    except _native.NativeError:
        return False
    return True


def _network(keeper: Keeper, record: Record) -> list[str]:
    """Make what is missing of a network. One that nobody has used since the boot is made when it is used."""
    path = f"{keeper.table.paths.run_networks}/{record.id}/{live.FILE}"
    if not os.path.exists(path) and not keeper.table.on(record.id):
        return []
    missing = bool(record.bridge) and not machine.host.has_interface(record.bridge)
    if missing:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    was_there = os.path.exists(path)
    try:
        keeper.live(record)
    except MinidockError as error:
        return [f"network {record.name}: {error}"]
    if missing:
        return [f"made the bridge {record.bridge} of network {record.name}"]
    return [] if was_there else [f"wrote the live file of network {record.name}"]
