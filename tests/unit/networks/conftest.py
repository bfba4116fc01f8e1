"""A store of networks in a temporary directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.networks.leases import Leases
from minidock.networks.record import Record, Subnet, encode
from minidock.store.networks import NetworkRow
from minidock.store.store import Store


class Bench:
    """A store, its leases, and a way to put networks into it."""

    def __init__(self, root: Path) -> None:
        self.store = Store(str(root / "data"), str(root / "run"))
        self.table = self.store.networks
        self.leases = Leases(self.table)

    def network(self, *subnets: Subnet, name: str = "web") -> Record:
        """A network with these subnets, in the table."""
        versions = {6 if ":" in one.subnet else 4 for one in subnets}
        record = Record(
            id=(name.encode().hex() + "0" * 64)[:64],
            name=name,
            created="2026-01-01T00:00:00Z",
            subnets=list(subnets),
            enable_ipv4=4 in versions,
            enable_ipv6=6 in versions,
        )
        self.table.insert(NetworkRow(record.id, name, 1, encode(record)))
        return record


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A fresh one."""
    return Bench(tmp_path)
