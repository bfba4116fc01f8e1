"""Which container has which address: leases, kept in the database until they are given back."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from minidock.errors import AddressInUse, InvalidArgument, LimitExceeded, PoolExhausted
from minidock.networks import addresses, ipam
from minidock.networks.record import pools
from minidock.store.networks import Cursors, EndpointRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from minidock.networks.addresses import Prefix
    from minidock.networks.record import Record
    from minidock.store.networks import NetworkTable

    T = TypeVar("T")

LEAVING_SECONDS = 10.0
"""How long a supervisor may take to give up an address after its container has ended."""
_POLL_SECONDS = 0.005


class Lease(Struct, frozen=True):
    """A container's addresses on a network; what the network does not have is empty, and its length 0."""

    network_id: str
    container_id: str
    endpoint_id: str
    ipv4: str = ""
    ipv4_prefix: int = 0
    ipv6: str = ""
    ipv6_prefix: int = 0
    gateway4: str = ""
    gateway6: str = ""
    mac: str = ""
    record: bytes = b""

    @property
    def addresses(self) -> list[str]:
        """Those it has, with the length of their prefix."""
        found = ((self.ipv4, self.ipv4_prefix), (self.ipv6, self.ipv6_prefix))
        return [f"{address}/{length}" for address, length in found if address]

    @property
    def gateways(self) -> list[str]:
        """The addresses that lead out of the network."""
        return [gateway for gateway in (self.gateway4, self.gateway6) if gateway]


class StillLeaving(LimitExceeded):
    """The address is free, but the supervisor of an ended container still takes it down."""

    def __init__(self, text: str, files: list[str]) -> None:
        super().__init__(text)
        self.files = files

    def wait(self, deadline: float) -> bool:
        """Wait for one of them to go; returns whether one did before ``deadline`` (of ``time.monotonic``)."""
        while all(map(os.path.exists, self.files)):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def patiently(act: Callable[[], T]) -> T:
    """Return what ``act`` returns; it is called again while all that it lacks is an address that is being taken down.

    Not to be called inside a transaction: ``act`` opens and ends its own.
    """
    deadline = time.monotonic() + LEAVING_SECONDS
    while True:
        try:
            return act()
        except StillLeaving as error:
            if not error.wait(deadline):
                raise


def check_static(record: Record, ipv4: str | None, ipv6: str | None) -> None:
    """Raise InvalidArgument, in Docker's words, unless a user may ask for these addresses on the network."""
    problems = []
    for version, text in ((4, ipv4), (6, ipv6)):
        if not text:
            continue
        if record.predefined:
            problems.append("user specified IP address is supported on user defined networks only")
            continue
        try:
            found, number = addresses.parse(text)
        except ValueError:
            found, number = 0, 0
        if found != version:
            problems.append(f"invalid IPv{version} address: {text}")
            continue
        own = _said(record, version)
        if not own:
            problems.append(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
        elif not any(subnet.covers(version, number) for subnet in own):
            problems.append(f"no configured subnet or ip-range contain the IP address {text}")
    if problems:
        unique = list(dict.fromkeys(problems))
        raise InvalidArgument(f"invalid endpoint settings: {'; '.join(unique)}")


def _said(record: Record, version: int) -> list[Prefix]:
    """The subnets that a user has said; those of a version that the network does not have are as good, as in Docker."""
    if record.enable_ipv4 if version == 4 else record.enable_ipv6:
        return [pool.subnet for pool in pools(record, version) if pool.user]
    found = [addresses.parse_prefix(one.subnet, strict=False) for one in record.ipam_config or () if one.subnet]
    return [subnet for subnet in found if subnet.version == version]


class Leases:
    """The leases of one data root. All of it may be called inside a transaction of the caller, and be part of that."""

    def __init__(self, table: NetworkTable) -> None:
        self._table = table

    def allocate(
        self,
        record: Record,
        container_id: str,
        *,
        ipv4: str | None = None,
        ipv6: str | None = None,
        mac: str = "",
        keep: bytes = b"",
    ) -> Lease:
        """Give a container an address of each version that the network has, and return them.

        ``ipv4``, ``ipv6`` and ``mac`` are what the user wants. A container that has a lease on the network keeps its
        addresses unless it wants others. ``keep`` is stored with the lease and comes back as ``record``.

        Raises NetworkNotFound when the network has been removed, AddressInUse naming the holder, PoolExhausted,
        InvalidArgument for an address that nobody may ask for; StillLeaving, see :func:`patiently`.
        """
        check_static(record, ipv4, ipv6)
        with self._table.database.transaction():
            cursors = self._table.cursors(record.id, container_id)
            had = cursors.endpoint
            search = _Search(self._table, record, container_id, cursors)
            four = search.find(4, ipv4, None if had is None else had.ipv4)
            six = search.find(6, ipv6, None if had is None or had.ipv6 is None else int.from_bytes(had.ipv6, "big"))
            row = EndpointRow(
                container_id,
                record.id,
                os.urandom(32).hex(),
                four,
                None if six is None else addresses.pack(6, six),
                mac or hardware_address(four, six),
                keep,
            )
            self._table.put(row, search.cursors if search.moved else None)
        return lease(record, row)

    def update(self, network_id: str, container_id: str, *, mac: str | None = None, keep: bytes | None = None) -> None:
        """Change what is kept with a lease."""
        for row in self._table.of(container_id):
            if row.network_id == network_id:
                row.mac = row.mac if mac is None else mac
                row.record = row.record if keep is None else keep
                self._table.put(row, None)

    def release(self, container_id: str, network_id: str | None = None) -> int:
        """Give back what a container has on one network, or on all; returns how many leases there were.

        Others get the address only when its supervisor has removed the endpoint's live file.
        """
        return self._table.release(container_id, network_id)

    def of(self, container_id: str) -> list[Lease]:
        """The leases of a container."""
        from minidock.networks.record import decode

        return [lease(decode(self._table.get(row.network_id).record), row) for row in self._table.of(container_id)]

    def on(self, record: Record) -> list[Lease]:
        """The leases on a network, by address."""
        return [lease(record, row) for row in self._table.on(record.id)]


def hardware_address(ipv4: int | None, ipv6: int | None) -> str:
    """The MAC address of who wants none: made from its address, so that no neighbour's memory of that is ever wrong."""
    number = ipv4 if ipv4 is not None else (ipv6 or 0) & 0xFFFFFFFF
    return ":".join(["02", "42", *(f"{byte:02x}" for byte in number.to_bytes(4, "big"))])


class _Search:
    """The search for one container's addresses on one network."""

    def __init__(self, table: NetworkTable, record: Record, container_id: str, cursors: Cursors) -> None:
        self._table = table
        self._record = record
        self._container_id = container_id
        self._leaving: dict[tuple[int, int], str] | None = None
        self.cursors = cursors
        self.moved = False

    def find(self, version: int, wanted: str | None, had: int | None) -> int | None:
        """The number of the address of one version; None when the network has none of it."""
        if not (self._record.enable_ipv4 if version == 4 else self._record.enable_ipv6):
            return None
        found = pools(self._record, version)
        if not found:
            return None
        if wanted:
            number = addresses.parse(wanted)[1]
            return number if number == had else self._static(version, number, found)
        if had is not None and any(pool.subnet.covers(version, had) and had not in pool.reserved for pool in found):
            return had
        return self._next(version, found)

    def _static(self, version: int, number: int, found: list[ipam.Pool]) -> int:
        text = addresses.show(version, number)
        name = self._record.name
        if any(pool.subnet.covers(version, number) and number in pool.reserved for pool in found):
            raise AddressInUse(f"address already in use: {text} on network {name} is the network's own")
        holder = self._table.holder(self._record.id, version, number)
        if holder is not None:
            shown = holder[1] or holder[0][:12]
            raise AddressInUse(f"address already in use: container {shown} has {text} on network {name}")
        leaving = self._leavers().get((version, number))
        if leaving is not None:
            raise StillLeaving(f"address {text} on network {name}: a container that ended still has it", [leaving])
        self.cursors.reused = self.moved = True  # the search will come by this address
        return number

    def _next(self, version: int, found: list[ipam.Pool]) -> int:
        cursors = self.cursors
        after = cursors.ipv4 if version == 4 else int.from_bytes(cursors.ipv6, "big")
        leavers = self._leavers() if cursors.reused else {}
        refused = {number for kind, number in leavers if kind == version}
        record = self._record
        read = self._table.taken4 if version == 4 else self._table.taken6
        number = ipam.choose(found, after, lambda first, last: read(record.id, first, last), refused)
        if number is None:
            text = f"no available IPv{version} addresses on this network's address pools: {record.name} ({record.id})"
            if refused:
                raise StillLeaving(text, [path for (kind, _), path in leavers.items() if kind == version])
            raise PoolExhausted(text)
        if number <= after and not cursors.reused:
            # Round once. What is found below was used before; the supervisor of who had it may be at work yet.
            cursors.reused = True
            return self._next(version, found)
        self.moved = True
        if version == 4:
            cursors.ipv4 = number
        else:
            cursors.ipv6 = addresses.pack(6, number)
        return number

    def _leavers(self) -> dict[tuple[int, int], str]:
        """Addresses of containers without a lease that have a live file yet, and that file."""
        if self._leaving is None:
            from minidock.networks import live

            holders = {row.container_id for row in self._table.on(self._record.id)} | {self._container_id}
            self._leaving = live.leaving(self._table.paths.run_networks, self._record.id, holders)
        return self._leaving


def lease(record: Record, row: EndpointRow) -> Lease:
    """The lease that a row holds."""
    ipv4, length4, gateway4 = _shown(record, 4, row.ipv4)
    ipv6, length6, gateway6 = _shown(record, 6, None if row.ipv6 is None else int.from_bytes(row.ipv6, "big"))
    return Lease(
        row.network_id,
        row.container_id,
        row.id,
        ipv4,
        length4,
        ipv6,
        length6,
        gateway4,
        gateway6,
        row.mac,
        row.record,
    )


def _shown(record: Record, version: int, number: int | None) -> tuple[str, int, str]:
    """Address, length of the prefix and gateway."""
    if number is None:
        return "", 0, ""
    for pool in pools(record, version):
        if pool.subnet.covers(version, number):
            gateway = "" if pool.gateway is None else addresses.show(version, pool.gateway)
            return addresses.show(version, number), pool.subnet.length, gateway
    return addresses.show(version, number), addresses.BITS[version], ""
