"""The tables of networks, their subnets, and the containers on them. Records belong to ``minidock.networks``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from msgspec import Struct

from minidock.errors import AddressInUse, InvalidArgument, NameInUse, NetworkNotFound
from minidock.store.database import Database

_COLUMNS = "id, name, created, record"
_ENDPOINT = "container_id, network_id, id, ipv4, ipv6, mac, record"
_ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")


class NetworkRow(Struct):
    """One network: ``created`` in nanoseconds since 1970, ``record`` as JSON bytes."""

    id: str
    name: str
    created: int
    record: bytes


class EndpointRow(Struct):
    """One container on one network: numbers of its addresses, and whatever its owner keeps in ``record``."""

    container_id: str
    network_id: str
    id: str
    ipv4: int | None
    ipv6: bytes | None
    mac: str
    record: bytes


class Cursors(Struct):
    """The addresses that a network gave last, and the endpoint that a container has there already."""

    ipv4: int
    ipv6: bytes
    reused: bool
    endpoint: EndpointRow | None


class NetworkTable:
    """Rows of networks, and of containers on them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.paths = database.paths

    # Networks

    def insert(self, row: NetworkRow, subnets: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Add a network with the addresses from first to last of its subnets. Raises NameInUse."""
        with self.database.transaction():
            try:
                self.database.execute(
                    f"INSERT INTO networks ({_COLUMNS}) VALUES (?, ?, ?, ?)",  # noqa: S608 - a constant
                    (row.id, row.name, row.created, row.record),
                )
            except sqlite3.IntegrityError as error:
                raise NameInUse(f"network with name {row.name} already exists") from error
            for first, last in subnets:
                self.database.execute(
                    "INSERT INTO network_subnets (first, last, network_id) VALUES (?, ?, ?)", (first, last, row.id)
                )

    def get(self, key: str) -> NetworkRow:
        """Find a network by full id, by name or by a prefix of its id, in this order.

        Raises NetworkNotFound, and InvalidArgument when a prefix fits several networks.
        """
        row = self.find(key)
        if row is None:
            raise NetworkNotFound(f"network {key} not found")
        return row

    def find(self, key: str) -> NetworkRow | None:
        """Like :meth:`get`, but None when there is none."""
        rows = self._select("WHERE id = ? OR name = ? ORDER BY id != ?", (key, key, key))
        if not rows and key and len(key) < _ID_LENGTH and _HEX.issuperset(key):
            rows = self._select("WHERE id >= ? AND id < ? LIMIT 2", (key, key + "g"))
            if len(rows) > 1:
                raise InvalidArgument(f"network {key} is ambiguous (2 matches found on ID prefix); give more digits")
        return rows[0] if rows else None

    def named(self, name: str) -> NetworkRow | None:
        """The network of exactly this name; None when there is none."""
        rows = self._select("WHERE name = ?", (name,))
        return rows[0] if rows else None

    def all(self) -> list[NetworkRow]:
        """All networks, oldest first."""
        return self._select("ORDER BY created, id", ())

    def ids(self) -> set[str]:
        """The ids of all networks."""
        return {row[0] for row in self.database.rows("SELECT id FROM networks")}

    def update(self, network_id: str, record: bytes) -> None:
        """Change a network's record, by full id."""
        self.database.execute("UPDATE networks SET record = ? WHERE id = ?", (record, network_id))

    def delete(self, network_id: str) -> bool:
        """Remove a network that no container is on, by full id; returns whether it was there.

        ``sqlite3.IntegrityError`` comes out as it is when a container is on it.
        """
        return self.database.execute("DELETE FROM networks WHERE id = ?", (network_id,)) > 0

    def subnets(self) -> list[tuple[bytes, bytes]]:
        """First and last address of every subnet of every network, in order; 4 bytes are IPv4."""
        rows = self.database.rows("SELECT first, last FROM network_subnets ORDER BY length(first), first")
        return [(first, last) for first, last in rows]

    # Containers on them

    def cursors(self, network_id: str, container_id: str) -> Cursors:
        """What choosing an address for a container begins with. Raises NetworkNotFound."""
        row = self.database.row(
            "SELECT n.cursor4, n.cursor6, n.reused, e.container_id, e.network_id, e.id, e.ipv4, e.ipv6, e.mac, e.record"
            " FROM networks n LEFT JOIN endpoints e ON e.network_id = n.id AND e.container_id = ? WHERE n.id = ?",
            (container_id, network_id),
        )
        if row is None:
            raise NetworkNotFound(f"network {network_id} not found")
        return Cursors(row[0], row[1], bool(row[2]), EndpointRow(*row[3:]) if row[3] is not None else None)

    def taken4(self, network_id: str, first: int, last: int) -> Iterator[int]:
        """The taken IPv4 addresses between two, both included, in order; read from the database as needed."""
        limit = 1
        while first <= last:
            rows = self.database.rows(
                "SELECT ipv4 FROM endpoints WHERE network_id = ? AND ipv4 BETWEEN ? AND ? ORDER BY ipv4 LIMIT ?",
                (network_id, first, last, limit),
            )
            for (number,) in rows:
                yield number
            if len(rows) < limit:
                return
            first = rows[-1][0] + 1
            limit = min(limit * 16, 4096)

    def taken6(self, network_id: str, first: int, last: int) -> Iterator[int]:
        """The same of IPv6."""
        limit = 1
        while first <= last:
            rows = self.database.rows(
                "SELECT ipv6 FROM endpoints WHERE network_id = ? AND ipv6 BETWEEN ? AND ? ORDER BY ipv6 LIMIT ?",
                (network_id, first.to_bytes(16, "big"), last.to_bytes(16, "big"), limit),
            )
            for (number,) in rows:
                yield int.from_bytes(number, "big")
            if len(rows) < limit:
                return
            first = int.from_bytes(rows[-1][0], "big") + 1
            limit = min(limit * 16, 4096)

    def put(self, row: EndpointRow, cursors: Cursors | None) -> None:
        """Write a container's endpoint, and where the next search begins. Raises AddressInUse."""
        with self.database.transaction():
            try:
                self.database.execute(
                    f"INSERT INTO endpoints ({_ENDPOINT}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant
                    " ON CONFLICT (container_id, network_id) DO UPDATE SET id = excluded.id, ipv4 = excluded.ipv4,"
                    " ipv6 = excluded.ipv6, mac = excluded.mac, record = excluded.record",
                    (row.container_id, row.network_id, row.id, row.ipv4, row.ipv6, row.mac, row.record),
                )
            except sqlite3.IntegrityError as error:
                raise AddressInUse("address already in use") from error
            if cursors is not None:
                self.database.execute(
                    "UPDATE networks SET cursor4 = ?, cursor6 = ?, reused = ? WHERE id = ?",
                    (cursors.ipv4, cursors.ipv6, int(cursors.reused), row.network_id),
                )

    def holder(self, network_id: str, version: int, number: int) -> tuple[str, str] | None:
        """Id and name of the container that has an address of a network; its name is empty when it is gone."""
        column, value = ("ipv4", number) if version == 4 else ("ipv6", number.to_bytes(16, "big"))
        row = self.database.row(
            "SELECT e.container_id, c.name FROM endpoints e LEFT JOIN containers c ON c.id = e.container_id"  # noqa: S608
            f" WHERE e.network_id = ? AND e.{column} = ?",
            (network_id, value),
        )
        return None if row is None else (row[0], row[1] or "")

    def of(self, container_id: str) -> list[EndpointRow]:
        """The endpoints of a container."""
        return self._endpoints("WHERE container_id = ?", (container_id,))

    def on(self, network_id: str) -> list[EndpointRow]:
        """The endpoints on a network, by address."""
        return self._endpoints("WHERE network_id = ? ORDER BY ipv4, ipv6", (network_id,))

    def every(self) -> list[EndpointRow]:
        """All endpoints."""
        return self._endpoints("", ())

    def kept(self, container_id: str) -> list[tuple[str, bytes]]:
        """What other containers keep with their endpoints, with their ids."""
        return self.database.rows(
            "SELECT container_id, record FROM endpoints WHERE record != x'' AND container_id != ?", (container_id,)
        )

    def in_use(self) -> set[str]:
        """The ids of networks that containers are on."""
        return {row[0] for row in self.database.rows("SELECT DISTINCT network_id FROM endpoints")}

    def release(self, container_id: str, network_id: str | None = None) -> int:
        """Delete a container's endpoint on one network, or all it has; returns how many there were."""
        where, values = (
            ("", [container_id]) if network_id is None else (" AND network_id = ?", [container_id, network_id])
        )
        return self.database.execute(f"DELETE FROM endpoints WHERE container_id = ?{where}", values)  # noqa: S608

    def forget(self, container_id: str, network_id: str) -> bool:
        """Delete an endpoint whose container does not exist; returns whether there was one."""
        return (
            self.database.execute(
                "DELETE FROM endpoints WHERE container_id = ? AND network_id = ?"
                " AND NOT EXISTS (SELECT 1 FROM containers WHERE id = container_id)",
                (container_id, network_id),
            )
            > 0
        )

    def _select(self, where: str, values: tuple[object, ...]) -> list[NetworkRow]:
        rows = self.database.rows(f"SELECT {_COLUMNS} FROM networks {where}", values)  # noqa: S608 - constants
        return [NetworkRow(*row) for row in rows]

    def _endpoints(self, where: str, values: tuple[object, ...]) -> list[EndpointRow]:
        rows = self.database.rows(f"SELECT {_ENDPOINT} FROM endpoints {where}", values)  # noqa: S608 - constants
        return [EndpointRow(*row) for row in rows]
