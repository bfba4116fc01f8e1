"""The columns that ps knows, by keyword: head, and how a cell is made. Values are whole, where ps cuts some to a width.

What ps cuts where a column follows (names of users, of kernel functions, of programs) is cut the same way here, so that
a table looks as ps's does; command lines are not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from minidock.containers.processes import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.containers.processes import Process

_DAY = 86_400


class Column(NamedTuple):
    """One column: its head, the text of a cell, and to how many characters ps cuts that (0: not)."""

    header: str
    value: Callable[[Process], str]
    width: int = 0
    marked: bool = False
    """Whether what was cut ends with a ``+``."""

    def cell(self, process: Process, *, last: bool) -> str:
        """The text for a process; the last column of a table is never cut."""
        text = self.value(process)
        if last or not self.width or len(text) <= self.width:
            return text
        return text[: self.width - 1] + "+" if self.marked else text[: self.width]


def _field(number: int) -> Callable[[Process], str]:
    return lambda it: str(it.number(number))


def _hex(number: int) -> Callable[[Process], str]:
    return lambda it: f"{it.number(number):016x}"


def _mask(*keys: str) -> Callable[[Process], str]:
    def value(it: Process) -> str:
        found = 0
        for key in keys:
            found |= int(it.status.get(key, "0"), 16)
        return f"{found:016x}"

    return value


def _user(which: int) -> Callable[[Process], str]:
    return lambda it: it.host.user(it.ids("Uid")[which])


def _group(which: int) -> Callable[[Process], str]:
    return lambda it: it.host.group(it.ids("Gid")[which])


def _uid(which: int) -> Callable[[Process], str]:
    return lambda it: str(it.ids("Uid")[which])


def _gid(which: int) -> Callable[[Process], str]:
    return lambda it: str(it.ids("Gid")[which])


def _namespace(kind: str) -> Callable[[Process], str]:
    return lambda it: it.link(f"ns/{kind}").partition("[")[2].rstrip("]") or "-"


def _io(key: str) -> Callable[[Process], str]:
    def value(it: Process) -> str:
        for line in it.file("io").splitlines():
            if line.startswith(key.encode() + b":"):
                return line.split()[1].decode()
        return "-"

    return value


def clock(seconds: float) -> str:
    """``[DD-]HH:MM:SS``."""
    whole = int(seconds)
    days, rest = divmod(whole, _DAY)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days:02d}-{text}" if days else text


def _elapsed(it: Process) -> str:
    whole = int(it.elapsed)
    days, rest = divmod(whole, _DAY)
    if days:
        return f"{days:02d}-{clock(rest)}"
    return clock(rest) if rest >= 3600 else f"{rest // 60:02d}:{rest % 60:02d}"


def _bsd_time(it: Process) -> str:
    whole = int(it.cpu_seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _stime(it: Process) -> str:
    """The time of a process of today, the day of one of this year, the year of an older one."""
    now, then = time.localtime(it.host.now), time.localtime(it.started)
    if now.tm_year != then.tm_year:
        return time.strftime("%Y", then)
    return time.strftime("%H:%M" if now.tm_yday == then.tm_yday else "%b%d", then)


def _start(it: Process) -> str:
    old = it.host.now - it.started > _DAY
    return time.strftime("%b %d" if old else "%H:%M:%S", time.localtime(it.started))


def _bsd_start(it: Process) -> str:
    old = it.host.now - it.started > _DAY
    return time.strftime("%b %d" if old else "%H:%M", time.localtime(it.started))


def _long_start(it: Process) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(it.started))


def _share(it: Process, factor: int) -> int:
    """CPU time since the start, in 1/``factor`` of one CPU."""
    return int(it.cpu_seconds * factor / it.elapsed) if it.elapsed else 0


def _percent(it: Process) -> str:
    tenths = _share(it, 1000)
    return str(tenths // 10) if tenths > 999 else f"{tenths // 10}.{tenths % 10}"


def resident(it: Process) -> int:
    """Memory of a process in KiB."""
    return it.number(24) * PAGE // 1024


def _memory_percent(it: Process) -> str:
    tenths = min(resident(it) * 1000 // max(it.host.memory, 1), 999)
    return f"{tenths // 10}.{tenths % 10}"


def _text_size(it: Process) -> int:
    return max(it.number(27) - it.number(26), 0)


def _data_size(it: Process) -> str:
    return str(max(it.number(23) - _text_size(it), 0) // 1024)


def _size(it: Process) -> str:
    return str(it.kibibytes("status", "VmData") + it.kibibytes("status", "VmStk"))


def _nice(it: Process) -> str:
    return str(it.number(19)) if it.number(41) in (0, 3) else "-"


_POLICIES = {0: "TS", 1: "FF", 2: "RR", 3: "B", 4: "ISO", 5: "IDL", 6: "DLN"}


def _class(it: Process) -> str:
    return _POLICIES.get(it.number(41), "?")


def _real_time(it: Process) -> str:
    return str(it.number(40)) if it.number(41) in (1, 2) else "-"


def _processor(it: Process) -> str:
    return str(it.number(39)) if it.state == "R" else "*"


def _channel(it: Process) -> str:
    text = it.file("wchan").decode(errors="replace").lstrip(".")
    return "-" if text in ("", "0") or not text.isprintable() else text


def _cgroups(it: Process) -> str:
    lines = [line for line in it.file("cgroup").decode(errors="replace").splitlines() if not line.endswith(":/")]
    text = ",".join(lines)
    return text if text and text.isprintable() else "-"


def _label(it: Process) -> str:
    text = it.file("attr/current").rstrip(b"\0\n").decode(errors="replace")
    return text if text and text.isprintable() else "-"


def _login(it: Process) -> str:
    text = it.file("loginuid").decode().strip()
    return "-" if text in ("", "4294967295") else text


def _defunct(it: Process) -> str:
    return it.comm + (" <defunct>" if it.state == "Z" else "")


def _limit(it: Process) -> str:
    limit = it.number(25)
    return "xx" if limit >= (1 << 64) - 1 else str(limit >> 10)


def _session(it: Process) -> str:
    return str(it.number(6))


def _supplementary(it: Process) -> str:
    return it.status.get("Groups", "").strip().replace(" ", ",") or "-"


def _supplementary_names(it: Process) -> str:
    words = it.status.get("Groups", "").split()
    return ",".join(it.host.group(int(word)) for word in words) or "-"


def _seconds(it: Process) -> str:
    return str(int(it.cpu_seconds))


def _time(it: Process) -> str:
    return clock(it.cpu_seconds)


def _tty(it: Process) -> str:
    return it.terminal


def _columns() -> dict[str, Column]:
    """Every keyword's column."""
    found: dict[str, Column] = {}

    def add(words: str, header: str, value: Callable[[Process], str], width: int = 0, marked: bool = False) -> None:
        for word in words.split():
            found[word] = Column(header, value, width, marked)

    # who
    add("pid tgid", "PID", lambda it: str(it.pid))
    found["tgid"] = found["pid"]._replace(header="TGID")
    for word in ("lwp", "spid", "tid"):
        add(word, word.upper(), lambda it: str(it.tid))
    add("ppid", "PPID", _field(4))
    add("pgid pgrp", "PGID", _field(5))
    found["pgrp"] = found["pgid"]._replace(header="PGRP")
    add("sess session", "SESS", _session)
    add("sid", "SID", _session)
    add("tpgid", "TPGID", _field(8))
    add("user uname", "USER", _user(1), 8, True)
    add("uid_hack", "UID", _user(1), 8, True)
    for which, letters in enumerate((["r"], ["e"], ["s", "sv"], ["f", "fs"])):
        for letter in letters:
            for what, value in ((f"{letter}uid", _uid(which)), (f"{letter}gid", _gid(which))):
                add(what, what.upper(), value)
            for what, value in ((f"{letter}user", _user(which)), (f"{letter}group", _group(which))):
                add(what, what.upper(), value, 8, True)
    add("uid", "UID", _uid(1))
    add("gid", "GID", _gid(1))
    add("group", "GROUP", _group(1), 8, True)
    add("supgid", "SUPGID", _supplementary)
    add("supgrp", "SUPGRP", _supplementary_names)
    add("luid", "LUID", _login)
    add("label", "LABEL", _label, 31)
    add("context", "CONTEXT", _label, 31)
    add("cgroup", "CGROUP", _cgroups, 27)
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"):
        add(f"{kind}ns", f"{kind}ns".upper(), _namespace(kind))
    # what
    add("args command", "COMMAND", lambda it: it.command)
    add("cmd", "CMD", lambda it: it.command)
    add("comm ucomm", "COMMAND", _defunct, 15)
    add("ucmd", "CMD", _defunct, 15)
    add("fname", "COMMAND", lambda it: it.comm[:8])
    add("exe", "EXE", lambda it: it.link("exe"))
    add("environ", "ENVIRONMENT", lambda it: it.environment or "-")
    add("tname tty8", "TTY", _tty)
    add("tt tty", "TT", _tty)
    add("longtname", "TTY", lambda it: it.terminal if it.terminal == "?" else f"/dev/{it.terminal}")
    # how much
    add("pcpu %cpu", "%CPU", _percent)
    add("c util", "C", lambda it: str(min(_share(it, 100), 99)))
    add("cp cpu", "CP", lambda it: str(min(_share(it, 1000), 999)))
    found["cpu"] = Column("CPU", lambda it: str(min(_share(it, 1000), 999)))
    add("pmem %mem", "%MEM", _memory_percent)
    add("vsz vsize", "VSZ", lambda it: str(it.number(23) // 1024))
    add("rss rssize sgi_rss", "RSS", lambda it: str(resident(it)))
    add("rsz", "RSZ", lambda it: str(resident(it)))
    add("sz", "SZ", lambda it: str(it.number(23) // PAGE))
    add("size", "SIZE", _size)
    add("trs m_trs", "TRS", lambda it: str(_text_size(it) // 1024))
    add("trss", "TRSS", lambda it: str(_text_size(it) // 1024))
    add("tsiz", "TSIZ", lambda it: str(_text_size(it) // 1024))
    add("drs m_drs", "DRS", _data_size)
    add("dsiz", "DSIZ", _data_size)
    add("pss", "PSS", lambda it: str(it.kibibytes("smaps_rollup", "Pss")))
    add("uss", "USS", lambda it: str(sum(it.kibibytes("smaps_rollup", f"Private_{w}") for w in ("Clean", "Dirty"))))
    add("lim", "LIM", _limit)
    add("maj_flt majflt", "MAJFLT", _field(12))
    found["maj_flt"] = found["majflt"]._replace(header="MAJFL")
    add("min_flt minflt", "MINFLT", _field(10))
    found["min_flt"] = found["minflt"]._replace(header="MINFL")
    add("pagein", "PAGEIN", _field(12))
    for word, key in (
        *(("rbytes", "read_bytes"), ("wbytes", "write_bytes"), ("rchars", "rchar"), ("wchars", "wchar")),
        *(("rops", "syscr"), ("wops", "syscw"), ("wcbytes", "cancelled_write_bytes")),
    ):
        add(word, word.upper(), _io(key))
    add("oom", "OOM", lambda it: it.file("oom_score").decode().strip() or "-")
    add("oomadj", "OOMADJ", lambda it: it.file("oom_score_adj").decode().strip() or "-")
    # when
    add("time cputime atime", "TIME", _time)
    add("times cputimes", "TIME", _seconds)
    add("bsdtime", "TIME", _bsd_time)
    add("etime", "ELAPSED", _elapsed)
    add("etimes", "ELAPSED", lambda it: str(int(it.elapsed)))
    add("stime", "STIME", _stime)
    add("start_time", "START", _stime)
    add("bsdstart", "START", _bsd_start)
    add("start", "STARTED", _start)
    add("lstart", "STARTED", _long_start)
    # how it runs
    add("s state", "S", lambda it: it.state)
    add("stat", "STAT", lambda it: it.codes)
    add("f flag flags", "F", lambda it: f"{it.number(9) >> 6 & 7:o}")
    add("ni nice", "NI", _nice)
    add("pri", "PRI", lambda it: str(39 - it.number(18)))
    add("opri intpri", "PRI", lambda it: str(60 + it.number(18)))
    add("priority", "PRI", _field(18))
    add("pri_api", "API", lambda it: str(-1 - it.number(18)))
    add("pri_foo", "FOO", lambda it: str(it.number(18) - 20))
    add("pri_bar", "BAR", lambda it: str(it.number(18) + 1))
    add("pri_baz", "BAZ", lambda it: str(it.number(18) + 100))
    add("rtprio", "RTPRIO", _real_time)
    add("class cls", "CLS", _class)
    add("policy", "POL", _class)
    add("sched", "SCH", _field(41))
    add("psr", "PSR", _field(39))
    add("cpuid", "CPUID", _field(39))
    add("lastcpu", "C", _field(39))
    add("sgi_p", "P", _processor)
    add("nlwp", "NLWP", _field(20))
    add("thcount", "THCNT", _field(20))
    add("wchan wname nwchan", "WCHAN", _channel, 6)
    add("addr", "ADDR", lambda it: "-")
    # signals and registers
    add("pending sig", "PENDING", _mask("SigPnd", "ShdPnd"))
    add("tsig", "PENDING", _mask("SigPnd"))
    add("sig_pend", "SIGNAL", _mask("SigPnd", "ShdPnd"))
    add("blocked sigmask sig_block", "BLOCKED", _mask("SigBlk"))
    add("ignored sigignore sig_ignore", "IGNORED", _mask("SigIgn"))
    add("caught sigcatch", "CAUGHT", _mask("SigCgt"))
    add("sig_catch", "CATCHED", _mask("SigCgt"))
    add("pcap", "PCAP", _mask("CapPrm"))
    add("stackp start_stack", "STACKP", _hex(28))
    add("esp", "ESP", _hex(29))
    add("eip", "EIP", _hex(30))
    return found


COLUMNS = _columns()

LETTERS = {
    **{"C": "pcpu", "G": "group", "P": "ppid", "U": "user", "a": "args", "c": "comm", "g": "rgroup", "n": "nice"},
    **{"p": "pid", "r": "pgid", "t": "etime", "u": "ruser", "x": "time", "y": "tty", "z": "vsz"},
}
"""What ``-o %p`` and its like stand for."""

_RAW: dict[str, Callable[[Process], float]] = {
    **dict.fromkeys(("time", "cputime", "atime", "times", "cputimes", "bsdtime"), lambda it: it.cpu_seconds),
    **dict.fromkeys(("stime", "start_time", "bsdstart", "start", "lstart"), lambda it: it.started),
    **dict.fromkeys(("etime", "etimes"), lambda it: it.elapsed),
    **dict.fromkeys(("pcpu", "%cpu", "c", "util", "cp", "cpu"), lambda it: _share(it, 100_000)),
    **dict.fromkeys(("pmem", "%mem"), resident),
}


def sort_key(word: str) -> Callable[[Process], tuple[float, str]]:
    """Return what processes are sorted by under the keyword ``word``: numbers by value, the rest as text."""
    raw = _RAW.get(word)
    if raw is not None:
        return lambda it: (raw(it), "")
    value = COLUMNS[word].value

    def key(it: Process) -> tuple[float, str]:
        text = value(it)
        try:
            return float(text), ""
        except ValueError:
            return 0.0, text

    return key
