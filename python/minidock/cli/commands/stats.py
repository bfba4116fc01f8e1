"""``stats``."""

from __future__ import annotations

import os
import time

from minidock.cli.flags import Command, Flag
from minidock.cli.listing import Listing
from minidock.cli.output import complain, write
from minidock.cli.units import binary_size, decimal_size
from minidock.errors import ContainerNotFound, MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.containers.container import Container
    from minidock.containers.stats import Stats

_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


class _Row:
    """One line: what was asked for, and what was found; None for a container that is no more."""

    __slots__ = ("asked", "container_id", "found", "name")

    def __init__(self, asked: str, container: Container) -> None:
        self.asked = asked
        self.container_id = container.id
        self.name = container.name
        self.found: Stats | None = None


def _fields(full: bool) -> dict[str, Any]:
    """How a line's cells are made; ``full`` shows ids uncut."""

    def percent(value: float | None) -> str:
        return f"{value or 0.0:.2f}%"

    def pair(first: str, second: str) -> str:
        return f"{first} / {second}"

    def known(cell: Any, unknown: str = "--") -> Any:
        return lambda row: unknown if row.found is None else cell(row.found)

    return {
        "Container": lambda row: row.asked,
        "Name": lambda row: row.name,
        "ID": lambda row: row.container_id if full else row.container_id[:12],
        "CPUPerc": known(lambda it: percent(it.cpu_percent)),
        "MemUsage": known(lambda it: pair(binary_size(it.memory.used), binary_size(it.memory_limit)), "-- / --"),
        "MemPerc": known(lambda it: percent(it.memory_percent)),
        "NetIO": known(lambda it: pair(decimal_size(it.received_bytes), decimal_size(it.sent_bytes))),
        "BlockIO": known(lambda it: pair(decimal_size(it.read_bytes), decimal_size(it.write_bytes))),
        "PIDs": known(lambda it: str(it.pids.current)),
        "Pressure": known(_pressure, ""),
    }


def _pressure(stats: Stats) -> Any:
    """Pressure as objects, for JSON and templates; null where the kernel does not count it."""
    import msgspec

    return msgspec.to_builtins(stats.pressure)


_HEADERS = {
    "Container": "CONTAINER",
    "Name": "NAME",
    "ID": "CONTAINER ID",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
    "Pressure": "PRESSURE",
}
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


class _View:
    """The containers that are watched, and what is shown of them."""

    def __init__(self, session: Session, names: list[str], *, all: bool) -> None:
        from minidock.containers.stats import Sampler

        self.collection = session.engine.containers
        self.all = all
        self.named = bool(names)
        self.rows: dict[str, _Row] = {}
        self.sampler = Sampler()
        self.failed = False
        for name in dict.fromkeys(names):
            try:
                self.rows[name] = _Row(name, self.collection.get(name))
            except MinidockError as error:
                complain(f"minidock: {error}")
                self.failed = True

    def look(self) -> list[_Row]:
        """Look at all of them, and return the lines."""
        if not self.named:
            found = self.collection.list(all=self.all)
            before, self.rows = self.rows, {}
            for container in found:
                self.rows[container.id] = before.get(container.id) or _Row(container.id, container)
        else:
            found = []
            for row in self.rows.values():
                try:
                    container = self.collection.get(row.container_id)
                except ContainerNotFound:
                    row.found = None
                else:
                    row.name = container.name
                    found.append(container)
        by_id = {stats.container_id: stats for stats in self.sampler.look({it.id: it for it in found}.values())}
        for row in self.rows.values():
            row.found = by_id.get(row.container_id)
        return list(self.rows.values())


def _stats(session: Session, values: Values, arguments: list[str]) -> int:
    """Show a table that is renewed every second, or with --no-stream one."""
    from minidock.containers.stats import INTERVAL

    listing = Listing(
        "*container.statsContext", fields=_fields(values["no-trunc"]), headers=_HEADERS, columns=_COLUMNS, raw=[]
    )
    form = values["format"]
    if form:
        listing.text([], form)  # a malformed template is reported before anybody waits
    view = _View(session, arguments, all=values["all"])
    if view.failed:
        return 1
    view.look()  # CPU use takes two looks
    terminal = os.isatty(1)
    while True:
        time.sleep(INTERVAL)
        text = listing.text(view.look(), form)
        if values["no-stream"]:
            write(text)
            return 0
        write(_screen(text) if terminal else text)


def _screen(text: str) -> str:
    """``text`` over what the terminal shows, as much of it as there is room for."""
    room = os.get_terminal_size(1).lines - 1  # the cursor stands on the last line
    lines = text.splitlines()
    lines = lines[:room] if room > 0 else lines
    return _HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_REST


STATS = Command(
    "[OPTIONS] [CONTAINER...]",
    "Show what containers use, renewed every second: the given ones, or all that run.",
    [
        Flag("all", "bool", "Show all containers, not only running ones", short="a"),
        Flag("format", "string", "'table', 'table TEMPLATE', 'json', or a Go template"),
        Flag("no-stream", "bool", "Show it once"),
        Flag("no-trunc", "bool", "Show ids uncut"),
    ],
    _stats,
    complete="containers",
)
