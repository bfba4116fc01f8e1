"""What makes and removes networks: rows, live files, bridges and the firewall, changed together.

Everything that makes or removes does so under the machine's lock, which is taken before the database's. A process that
dies in between leaves live files without a row, or hidden ones: :meth:`Keeper.sweep` takes them down, before the next
network is made. A row without live files is a network that nobody has used since the boot.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import _native, events
from minidock._errors import translate
from minidock.errors import Conflict, InvalidArgument, MinidockError, NameInUse, NetworkNotFound
from minidock.networks import live, naming
from minidock.networks.addresses import pack, parse_prefix
from minidock.networks.record import DEFAULT, PREDEFINED, Record, decode, encode
from minidock.spec import decoding
from minidock.store.networks import NetworkRow
from minidock.store.recovery import boot_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.engine import Engine
    from minidock.networks.addresses import Span
    from minidock.networks.leases import Leases
    from minidock.networks.planning import Request
    from minidock.store.networks import NetworkTable

_SEED = "ipv6_prefix"


class Keeper:
    """The networks of one engine's data root, for the engine's own parts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._boot_id = ""
        self._seen = False
        self._fingerprint = naming.fingerprint(engine.config, engine.run_root)
        self.notes: list[str] = []
        """What somebody who looks after the host should know; whoever shows it empties it."""

    @property
    def table(self) -> NetworkTable:
        """Rows of networks and of containers on them."""
        return self._engine.store.networks

    @property
    def leases(self) -> Leases:
        """Who has which address."""
        from minidock.networks.leases import Leases

        return Leases(self.table)

    @property
    def has_default(self) -> bool:
        """Whether there is a default network: the configuration may say ``"bridge": "none"``."""
        return self._engine.config.bridge != "none"

    # Finding

    def record(self, key: str) -> Record:
        """Return the record of the network of this name, id, or beginning of an id; ``default`` is ``bridge``.

        Predefined networks are made when they are first asked for. Raises NetworkNotFound, InvalidArgument for an
        ambiguous id; inside a transaction also StillLeaving, see :func:`minidock.networks.leases.patiently`.
        """
        key = DEFAULT if key == "default" else key
        row = self.table.find(key)
        if row is None and key in PREDEFINED and (key != DEFAULT or self.has_default):
            self._predefine(needed=key)
            row = self.table.find(key)
        if row is None:
            raise NetworkNotFound(f"network {key} not found")
        record = decode(row.record)
        if record.name == DEFAULT:
            return self._current(record)
        return record

    def all(self) -> list[Record]:
        """All networks, oldest first, the predefined ones among them."""
        rows = self.table.all()
        names = {row.name for row in rows}
        if not names.issuperset(PREDEFINED if self.has_default else PREDEFINED[1:]):
            self._predefine()
            rows = self.table.all()
        found = [decode(row.record) for row in rows]
        return [
            self._current(record) if record.name == DEFAULT else record
            for record in found
            if record.name != DEFAULT or self.has_default
        ]

    def live(self, record: Record) -> dict[str, Any]:
        """Return the content of a network's live file; file, bridge and firewall are there afterwards.

        Costs one read when they are there already. Not for ``host``, ``none`` and configurations. Raises
        NetworkNotFound when the network has been removed, Conflict when its bridge's name is another interface's, and
        as :meth:`record`.
        """
        self._boot_id = self._boot_id or boot_id()
        paths = self.table.paths
        document = live.document(record, paths, self._boot_id)
        content = msgspec.json.encode(document)
        if live.read(paths, record.id) != content:
            with self.locked():
                if self.table.find(record.id) is None:
                    raise NetworkNotFound(f"network {record.name} not found")
                try:
                    self._raise_up(record, content)
                except MinidockError:
                    with suppress(OSError):  # so that the next one does not take it for made
                        os.unlink(f"{paths.run_networks}/{record.id}/{live.FILE}")
                    raise
        return document

    # Making

    def make(self, request: Request) -> Record:
        """Make a network, and return its record; see :meth:`minidock.networks.collection.NetworkCollection.create`."""
        from minidock.networks import machine, planning, pools, records

        planned = planning.plan(request, self._engine.config, self._named)
        record = planned.record
        if self._named(record.name) is not None:
            raise NameInUse(f"network with name {record.name} already exists")
        with self.locked():
            self.sweep()
            # A name that was not asked for is nobody else's.
            others = self._others() if planned.settings.bridge or record.driver != "bridge" else []
            records.check_interfaces(planned, machine.host, others)

            def undo() -> None:
                with suppress(MinidockError):  # then the next network that is made does it
                    self._take_down([record])

            with self.table.database.transaction(undo):
                if not record.config_only:
                    taken = pools.Taken(self._own_subnets(), machine.host.spans(ipv6=record.enable_ipv6))
                    planning.complete(planned, taken, self._engine.config, self._seed)
                self._insert(record)
                if not record.config_only:
                    self._raise_up(record, self._content(record))
        self.announce(record, "create")
        return record

    def announce(self, record: Record, action: str) -> None:
        """Append an event of a network."""
        events.append(self.table.paths, "network", action, record.id, {"name": record.name, "type": record.driver})

    # Removing

    def take(self, found: Sequence[Record]) -> list[MinidockError | None]:
        """Remove networks in one go; returns for each what kept it, or None. Those that stay keep none of the others.

        The containers on them have been looked at just now, see :meth:`settle`.
        """
        outcome: list[MinidockError | None] = []
        gone: list[Record] = []
        with self.locked():
            with self.table.database.transaction():
                for record in found:
                    try:
                        self._delete(record)
                    except MinidockError as error:
                        outcome.append(error)
                    else:
                        outcome.append(None)
                        gone.append(record)
            if gone:
                self._take_down(gone)
        for record in gone:
            self.announce(record, "destroy")
        return outcome

    def settle(self, network_id: str) -> None:
        """Find out which containers on a network have ended, so that their leases are given back."""
        lifecycle = self._engine.lifecycle
        for endpoint in self.table.on(network_id):
            row = lifecycle.store.containers.find(endpoint.container_id)
            if row is not None:
                lifecycle.settle(row)

    def sweep(self) -> list[str]:
        """Take down what dead processes left in the run root; returns what, a line each. Under the machine's lock."""
        paths = self.table.paths
        ids = self.table.ids()
        left: list[tuple[str, bytes | None]] = [one for one in live.hidden(paths) if live.is_of(paths, one[1])]
        for network_id in live.shown(paths):
            if network_id not in ids:
                content = live.read(paths, network_id)
                if live.is_of(paths, content):
                    live.hide(paths, network_id)
                    left.append((network_id, content))
        if left:
            self._remove([content for _, content in left if content])
            for network_id, _ in left:
                live.discard(paths, network_id)
        return [f"removed what was left of network {network_id[:12]}" for network_id, _ in left]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the machine's lock for a ``with`` block."""
        self._engine.store.database.connection()  # opened, and repaired, before others have to wait
        from minidock.networks import machine

        with machine.lock(patient=not self.table.database.in_transaction):
            yield

    # Parts

    def _named(self, name: str) -> Record | None:
        row = self.table.named(name)
        return None if row is None else decode(row.record)

    def _others(self) -> list[Record]:
        """The networks whose interfaces another one could want too."""
        return [record for row in self.table.all() if (record := decode(row.record)).driver not in ("host", "null")]

    def _own_subnets(self) -> list[Span]:
        return [
            (4 if len(first) == 4 else 6, int.from_bytes(first, "big"), int.from_bytes(last, "big"))
            for first, last in self.table.subnets()
        ]

    def _seed(self) -> str:
        """The ten hexadecimal digits that all IPv6 subnets of this data root begin with, after ``fd``."""
        database = self.table.database
        database.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (_SEED, os.urandom(5).hex())
        )
        row = database.row("SELECT value FROM meta WHERE key = ?", (_SEED,))
        assert row is not None  # noqa: S101 - written just now
        return str(row[0])

    def _insert(self, record: Record) -> None:
        spans = []
        for one in record.subnets:
            subnet = parse_prefix(one.subnet)
            spans.append((pack(subnet.version, subnet.first), pack(subnet.version, subnet.last)))
        self.table.insert(NetworkRow(record.id, record.name, time.time_ns(), encode(record)), spans)

    def _content(self, record: Record) -> bytes:
        self._boot_id = self._boot_id or boot_id()
        return msgspec.json.encode(live.document(record, self.table.paths, self._boot_id))

    def _raise_up(self, record: Record, content: bytes) -> None:
        """Write the live file and make what it says. Under the machine's lock."""
        paths = self.table.paths
        live.write(paths, record.id, content)
        try:
            changed = _native.network_ensure(content, paths.run_networks, forward=self._engine.config.ip_forward)
        except _native.NativeError as error:
            raise translate(error) from error
        self.notes += [f"{path} is on now: containers' packets are forwarded to other hosts" for path in changed]

    def _take_down(self, gone: Sequence[Record]) -> None:
        """Remove live files, bridges and the firewall's part of networks without rows. Under the machine's lock."""
        paths = self.table.paths
        hidden = [live.hide(paths, record.id) for record in gone]
        self._remove([content for content in hidden if content is not None])
        for record in gone:
            live.discard(paths, record.id)

    def _remove(self, contents: list[bytes]) -> None:
        """Remove what hidden live files say, but interfaces of the host's own and those that another network is on."""
        documents = []
        kept = set()
        for content in contents:
            said = decoding.decode(content, live.Interface)
            shared = said.parent and any(said.parent == other.options.get("parent") for other in self._others())
            if said.borrowed or shared:
                kept.add(said.table)
            else:
                documents.append(content)
        networks = self.table.paths.run_networks
        try:
            if documents:
                _native.networks_remove(documents, networks)
            for table in kept:
                _native.firewall_ensure(table, networks)
        except _native.NativeError as error:
            raise translate(error) from error

    def _delete(self, record: Record) -> None:
        """Delete a network's row. Raises as removing it does."""
        from minidock.networks import records

        row = self.table.find(record.id)
        if row is None:
            raise NetworkNotFound(f"network {record.name} not found")
        if record.config_only and any(other.config_from == record.name for other in self._others()):
            raise Conflict(f'configuration network "{record.name}" is in use')
        on = self.table.on(record.id)
        if on:
            raise records.in_use(record, self._engine.store, on)
        self.table.delete(record.id)

    def _predefine(self, needed: str = "") -> None:
        """Make the rows of the predefined networks that are missing.

        A default one that cannot be made, for lack of a subnet say, is an error only when it is ``needed``.
        """
        from minidock.networks import records

        with self.locked():
            self.sweep()
            with self.table.database.transaction():
                for name, driver in (("none", "null"), ("host", "host")):
                    if self._named(name) is None:
                        self._insert(records.plain(name, driver))
                if self.has_default and self._named(DEFAULT) is None:
                    try:
                        self._insert(self._default())
                    except MinidockError:
                        if needed == DEFAULT:
                            raise

    def _default(self) -> Record:
        """The default network's new record. Under the machine's lock, in a transaction."""
        from minidock.networks import default, machine, pools, records

        engine = self._engine
        bridge = engine.config.bridge
        address = ""
        if bridge and machine.host.has_interface(bridge):
            address = records.interface_address(bridge)
            if engine.config.bip not in ("", address):
                raise InvalidArgument(
                    f"configuration: bip {engine.config.bip}: the interface {bridge} exists and has {address}"
                )
        taken = pools.Taken(self._own_subnets(), machine.host.spans(ipv6=engine.config.ipv6))
        made = default.make(engine.config, engine.run_root, taken, self._seed, address)
        for other in self._others():
            if other.bridge == made.bridge:
                raise Conflict(f"network bridge: its interface {made.bridge} is that of network {other.name}; set "
                               "bridge in the configuration")  # fmt: skip
        if machine.host.has_interface(made.bridge) and not made.borrowed:
            self._clear_away(made)
        return made

    def _clear_away(self, record: Record) -> None:
        """Remove the default bridge that data and run roots which somebody has deleted left on the host.

        Raises Conflict when it is that of another data root on this run root.
        """
        paths = self.table.paths
        for network_id in live.shown(paths):
            said = decoding.decode(live.read(paths, network_id) or b"{}", live.Interface)
            if said.bridge == record.bridge and not said.borrowed:
                raise Conflict(
                    f"network bridge: its interface {record.bridge} is that of data root {said.data_root}; use a run "
                    "root for each data root"
                )
        self._remove([self._content(record)])

    def _current(self, record: Record) -> Record:
        """The default network as the configuration wants it now; that of before as long as containers are on it."""
        if self._fits(record) or self.table.on(record.id):
            return record
        with self.locked():
            found = self._named(DEFAULT)
            if found is None or self._fits(found) or self.table.on(found.id):
                return found or record
            self._take_down([found])
            with self.table.database.transaction():
                self.table.delete(found.id)
                made = self._default()
                self._insert(made)
        return made

    def _fits(self, record: Record) -> bool:
        """Whether the default network is what the configuration wants, and on a subnet that the host has room for.

        Routes are looked at once, and only while it is not up.
        """
        if record.configured != self._fingerprint:
            return False
        if not self._seen and live.read(self.table.paths, record.id) != self._content(record):
            from minidock.networks import machine, pools

            asked = (self._engine.config.bip, self._engine.config.fixed_cidr)
            routes = pools.Taken((), machine.host.spans(ipv6=record.enable_ipv6)).routes
            own = [parse_prefix(one.subnet) for one in record.subnets if not any(asked) and not record.borrowed]
            if any(subnet.overlaps(route) for route in routes for subnet in own):
                return False
        self._seen = True
        return True
