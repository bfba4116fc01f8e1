"""The processes of a container as ``top`` shows them, read from the host's /proc: no program is run for it."""

from __future__ import annotations

import os
import time
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Top(msgspec.Struct, frozen=True, rename="pascal"):
    """What ``GET /containers/{id}/top`` returns: the columns' heads, and one list of cells for each process."""

    titles: list[str]
    processes: list[list[str]]


def top(listed: Callable[[], Iterable[int]], ps_args: str | None) -> Top:
    """Return what ``ps`` says of the processes that ``listed`` lists; ``ps_args`` are its options, ``-ef`` without any.

    Raises InvalidArgument for options of ps that make no sense, Unsupported for those that are not here.
    """
    from minidock.containers.ps_options import parse

    options = parse(ps_args if ps_args and ps_args.strip() else "-ef")
    host = Host(cumulative=options.cumulative, numeric=options.numeric)
    found = [process for pid in listed() if (process := Process.find(pid, host)) is not None]
    rows = list(options.arrange([process for process in found if options.selects(process)]))
    cells = [(process.pid, options.cells(process, prefix)) for process, prefix in rows]
    # What is listed no more has ended, and its number may have been another process's when its files were read.
    still = set(listed())
    titles = [] if options.without_titles else [column.header for column in options.columns]
    return Top(titles, [row for pid, row in cells if pid in still])


class Host:
    """What processes are compared with: the clock, the memory, the names of users and groups.

    ``cumulative``: CPU time includes that of children that have ended. ``numeric``: users and groups have no names.
    """

    def __init__(self, *, cumulative: bool = False, numeric: bool = False) -> None:
        self.now = time.time()
        self.cumulative = cumulative
        self.numeric = numeric
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}

    @cached_property
    def uptime(self) -> float:
        """Seconds since the boot."""
        return float(_read("/proc/uptime").split()[0])

    @cached_property
    def boot(self) -> float:
        """When the host was booted, in seconds since 1970."""
        for line in _read("/proc/stat").splitlines():
            if line.startswith(b"btime "):
                return float(line.split()[1])
        return self.now - self.uptime

    @cached_property
    def memory(self) -> int:
        """Memory in KiB."""
        return int(_read("/proc/meminfo").split(None, 2)[1])

    def user(self, number: int) -> str:
        """The name of a user of the host, or the number."""
        name = str(number) if self.numeric else self._users.get(number)
        if name is None:
            import pwd

            try:
                name = pwd.getpwuid(number).pw_name
            except (KeyError, OverflowError):
                name = str(number)
            self._users[number] = name
        return name

    def group(self, number: int) -> str:
        """The name of a group of the host, or the number."""
        name = str(number) if self.numeric else self._groups.get(number)
        if name is None:
            import grp

            try:
                name = grp.getgrgid(number).gr_name
            except (KeyError, OverflowError):
                name = str(number)
            self._groups[number] = name
        return name


class Process:
    """One process, or one thread of it; its files are read when a column needs them. Numbers of one that ends are 0."""

    def __init__(self, pid: int, tid: int, stat: bytes, host: Host) -> None:
        self.pid = pid
        self.tid = tid
        self.host = host
        # The name in brackets may hold anything, brackets and spaces too.
        end = stat.rfind(b")")
        self.comm = printable(stat[stat.find(b"(") + 1 : end])
        self.fields = stat[end + 2 :].split()

    @classmethod
    def find(cls, pid: int, host: Host) -> Process | None:
        """Return the process with this id; None when it has ended."""
        stat = _read(f"/proc/{pid}/stat")
        return cls(pid, pid, stat, host) if stat else None

    def threads(self) -> Iterator[Process]:
        """Its threads, the first of them itself."""
        try:
            numbers = sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))
        except OSError:
            return
        for tid in numbers:
            stat = _read(f"/proc/{self.pid}/task/{tid}/stat")
            if stat:
                yield Process(self.pid, tid, stat, self.host)

    def file(self, name: str) -> bytes:
        """A file of it in /proc; nothing when there is none, or it has ended."""
        return _read(f"/proc/{self.pid}/task/{self.tid}/{name}")

    def link(self, name: str) -> str:
        """What a link of it in /proc leads to; ``-`` when that is not to be had."""
        try:
            return printable(os.fsencode(os.readlink(f"/proc/{self.pid}/{name}"))) or "-"
        except OSError:
            return "-"

    def number(self, field: int) -> int:
        """A field of its ``stat``, counted as in proc_pid_stat(5), from 3 on."""
        try:
            return int(self.fields[field - 3])
        except (IndexError, ValueError):
            return 0

    @property
    def state(self) -> str:
        """One letter: ``R``, ``S``, ``D``, ``Z``, ``T``, ``I``, …"""
        return self.fields[0].decode() if self.fields else "?"

    @property
    def parent(self) -> int:
        """The parent's id."""
        return self.number(4)

    @cached_property
    def status(self) -> dict[str, str]:
        """Its file ``status``."""
        lines = (line.partition(b":") for line in self.file("status").splitlines())
        return {key.decode(): printable(value.strip().replace(b"\t", b" ")) for key, _, value in lines}

    def ids(self, key: str) -> tuple[int, int, int, int]:
        """Its real, effective, saved and file system ids; ``key`` is Uid or Gid."""
        words = [int(word) for word in self.status.get(key, "").split()]
        return (words[0], words[1], words[2], words[3]) if len(words) == 4 else (0, 0, 0, 0)

    @cached_property
    def command(self) -> str:
        """Its command line; its name in brackets when it has none."""
        words = self.file("cmdline").rstrip(b"\0")
        if words and self.state != "Z":
            return printable(words.replace(b"\0", b" "))
        return f"[{self.comm}]" + (" <defunct>" if self.state == "Z" else "")

    @cached_property
    def environment(self) -> str:
        """Its environment at its start, ``NAME=VALUE`` with spaces between."""
        return printable(self.file("environ").rstrip(b"\0").replace(b"\0", b" "))

    @cached_property
    def started(self) -> float:
        """When it started, in seconds since 1970."""
        return self.host.boot + self.number(22) / TICKS

    @property
    def elapsed(self) -> float:
        """How long ago, in seconds."""
        return max(self.host.uptime - self.number(22) / TICKS, 0.0)

    @property
    def cpu_seconds(self) -> float:
        """CPU time, user and system."""
        last = 17 if self.host.cumulative else 15
        return sum(self.number(field) for field in range(14, last + 1)) / TICKS

    @property
    def terminal(self) -> str:
        """Its terminal's name without ``/dev/``, or ``?``."""
        device = self.number(7) & 0xFFFFFFFF
        major, minor = os.major(device), os.minor(device)
        if 136 <= major <= 143:
            return f"pts/{minor + (major - 136) * 256}"
        if major == 4:
            return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
        return {(5, 0): "tty", (5, 1): "console", (229, minor): f"hvc{minor}"}.get((major, minor), "?")

    @property
    def codes(self) -> str:
        """The state and what else is worth a letter: niceness, locked memory, session leader, threads, foreground."""
        nice = self.number(19)
        return (
            self.state
            + ("<" if nice < 0 else "N" if nice > 0 else "")
            + ("L" if not self.status.get("VmLck", "0").startswith("0") else "")
            + ("s" if self.number(6) == self.pid else "")
            + ("l" if self.number(20) > 1 else "")
            + ("+" if self.number(5) == self.number(8) else "")
        )

    def kibibytes(self, file: str, key: str) -> int:
        """A size in one of its files whose lines are ``KEY: NUMBER kB``."""
        for line in self.file(file).splitlines():
            if line.startswith(key.encode() + b":"):
                return int(line.split()[1])
        return 0


def printable(text: bytes) -> str:
    """``text`` with a question mark for whatever could steer a terminal, as in ps."""
    decoded = text.decode("utf-8", "replace")
    if decoded.isprintable() and "\ufffd" not in decoded:
        return decoded
    return "".join(char if char.isprintable() and char != "\ufffd" else "?" for char in decoded)


def _read(path: str) -> bytes:
    """Return a file of /proc; nothing when it is not to be had."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    parts = []
    try:
        while part := os.read(fd, 1 << 17):
            parts.append(part)
    except OSError:  # it has ended
        return b""
    finally:
        os.close(fd)
    return b"".join(parts)
