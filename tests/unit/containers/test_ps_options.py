"""The options of ps: heads are those that procps 4.0.7 prints for the same words; processes are this host's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.containers import processes
from minidock.containers.processes import Host, Process, Top, printable
from minidock.containers.ps_columns import COLUMNS, clock
from minidock.errors import InvalidArgument, Unsupported
from tests.conftest import wait_for

HEADS = """
-ef: UID PID PPID C STIME TTY TIME CMD
aux: USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND
-F: UID PID PPID C SZ RSS PSR STIME TTY TIME CMD
-l: F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD
-f: UID PID PPID C STIME TTY TIME CMD
-j: PID PGID SID TTY TIME CMD
-fl: F S UID PID PPID C PRI NI ADDR SZ WCHAN STIME TTY TIME CMD
-jf: UID PID PPID PGID SID C STIME TTY TIME CMD
-jl: F S UID PID PPID PGID SID C PRI NI ADDR SZ WCHAN TTY TIME CMD
-ly: S UID PID PPID C PRI NI RSS SZ WCHAN TTY TIME CMD
-c: PID CLS PRI TTY TIME CMD
-lc: F S UID PID PPID CLS PRI ADDR SZ WCHAN TTY TIME CMD
-fc: UID PID PPID CLS PRI STIME TTY TIME CMD
-Fl: F S UID PID PPID C PRI NI ADDR SZ WCHAN RSS PSR STIME TTY TIME CMD
-Fly: S UID PID PPID C PRI NI RSS SZ WCHAN PSR STIME TTY TIME CMD
-L: PID LWP TTY TIME CMD
-eLf: UID PID PPID LWP C NLWP STIME TTY TIME CMD
-T: PID SPID TTY TIME CMD
-fT: UID PID SPID PPID C STIME TTY TIME CMD
-P: PID PSR TTY TIME CMD
-FP: UID PID PPID PSR C SZ RSS STIME TTY TIME CMD
-M: LABEL PID TTY TIME CMD
x: PID TTY STAT TIME COMMAND
-ax: PID TTY STAT TIME COMMAND
-aux: USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND
j: PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND
l: F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND
s: UID PID PENDING BLOCKED IGNORED CAUGHT STAT TTY TIME COMMAND
u: USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND
v: PID TTY STAT TIME MAJFL TRS DRS RSS %MEM COMMAND
x -f: UID PID PPID C STIME TTY STAT TIME CMD
-fx: PID TTY STAT TIME COMMAND
x -j: PID PGID SID TTY STAT TIME COMMAND
-O comm: PID COMMAND S TTY TIME COMMAND
-o pid,ppid -o args: PID PPID COMMAND
-eo pid=NUMBER,comm=X: NUMBER X
-eo %p%a: PID COMMAND
-eo pid:3,args: PID COMMAND
axo pid,args: PID COMMAND
--format pid,comm: PID COMMAND
--format=pid,%cpu: PID %CPU
-o pid,: PID
--context: PID CONTEXT COMMAND
-efH: UID PID PPID C STIME TTY TIME CMD
--forest -ef: UID PID PPID C STIME TTY TIME CMD
f: PID TTY STAT TIME COMMAND
-w -w -ef: UID PID PPID C STIME TTY TIME CMD
auxww: USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND
--sort=-pid -f: UID PID PPID C STIME TTY TIME CMD
k pid: PID TTY STAT TIME COMMAND
-p 1: PID TTY TIME CMD
1: PID TTY STAT TIME COMMAND
-u root: PID TTY TIME CMD
uZ: LABEL USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND
"""


def top(pids: list[int], words: str) -> Top:
    """What ps says of these processes."""
    return processes.top(lambda: pids, words)


@pytest.mark.parametrize("line", HEADS.strip().splitlines())
def test_heads(line: str) -> None:
    words, _, heads = line.partition(": ")
    assert top([], words).titles == heads.split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-Q", "ps option -Q: not one of those that minidock has"),
        ("--foo", "ps option --foo: not one"),
        ("--cols 40", "ps option --cols"),
        ("-V", "ps option -V"),
        ("L", "ps option L"),
        ("X", "ps option X"),
        ("-em", "ps option -m"),
        ("-o pid,foo", 'unknown user-defined format specifier "foo"'),
        ("-o", "ps option -o: it needs a value"),
        ("-o ,", 'unknown user-defined format specifier ""'),
        ("-o pid:x", "width 'x' of pid must be a number"),
        ("-o %q", 'unknown user-defined format specifier "%q"'),
        ("-y", "modifier -y without format -l makes no sense"),
        ("-j -o pid", "conflicting format options"),
        ("-u nosuchuser", "user name does not exist: nosuchuser"),
        ("-G nosuchgroup", "group name does not exist: nosuchgroup"),
        ("-p abc", "process ID list syntax error: abc"),
        ("-p ,", "is empty"),
        ("--sort=foo", 'unknown sort specifier "foo"'),
        ("-", "it is no option"),
        ("--forest=1", "ps option --forest"),
    ],
)
def test_options_that_make_no_sense(words: str, message: str) -> None:
    with pytest.raises((InvalidArgument, Unsupported)) as error:
        top([], words)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A process and its child, by id."""
    script = "import os, time\nif os.fork(): os.wait()\ntime.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", script, "a b", "\x1b[2J\n\udcff"]) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        while not children.read_text():
            time.sleep(0.01)
        child = int(children.read_text())
        yield parent.pid, child
        os.kill(child, 9)
        parent.kill()


def column(found: Top, title: str) -> list[str]:
    return [row[found.titles.index(title)] for row in found.processes]


def test_who_is_shown(family: tuple[int, int]) -> None:
    pids = list(family)
    for words in ("-ef", "aux", "-a", "-d", "", "-e -p 1"):
        assert column(top(pids, words), "PID") == [str(pid) for pid in pids]
    parent, child = family
    assert column(top(pids, f"-p {child}"), "PID") == [str(child)]
    assert column(top(pids, f"-p {child},{parent}"), "PID") == [str(parent), str(child)]
    assert column(top(pids, str(child)), "PID") == [str(child)]
    assert column(top(pids, f"--ppid {parent}"), "PID") == [str(child)]
    assert column(top(pids, f"--ppid {parent} --deselect"), "PID") == [str(parent)]
    assert column(top(pids, f"-u {os.getuid()}"), "PID") == [str(parent), str(child)]
    assert column(top(pids, "-u 65000"), "PID") == []
    assert column(top(pids, f"-s {os.getsid(parent)}"), "PID") == [str(parent), str(child)]
    assert column(top(pids, f"-C {Path(f'/proc/{parent}/comm').read_text().strip()}"), "PID") == [
        str(parent),
        str(child),
    ]
    assert column(top(pids, "-C nosuch"), "PID") == []
    assert column(top(pids, "-t pts/4000"), "PID") == []
    assert column(top(pids, "-ef --sort=-pid"), "PID") == sorted(map(str, pids), key=int, reverse=True)
    assert column(top([*pids, 4_194_305], "-ef"), "PID") == [str(parent), str(child)]  # that one has ended


def test_numbers_that_are_given_again() -> None:
    """What ended while it was looked at is not shown: its number may be another process's."""
    lists = iter([[os.getpid(), 1], [os.getpid()]])
    assert column(processes.top(lambda: next(lists), "-ef"), "PID") == [str(os.getpid())]


def test_trees(family: tuple[int, int]) -> None:
    parent, child = family
    for words, prefix in (("axf", r" \_ "), ("-ef --forest", r" \_ "), ("-efH", "  ")):
        found = top([child, parent], words)
        assert column(found, "PID") == [str(parent), str(child)]
        commands = [row[-1] for row in found.processes]
        assert commands[1] == prefix + commands[0]


def test_what_processes_call_themselves(family: tuple[int, int]) -> None:
    """Nothing that could steer a terminal is shown, as in ps."""
    command = top([family[0]], "-ef").processes[0][-1]
    assert " a b ?[2J??" in command
    assert command.isprintable()
    assert printable("täst\u202e\0".encode()) == "täst??"
    without = top([family[0]], "axco pid,args").processes[0][-1]
    assert without == Path(f"/proc/{family[0]}/comm").read_text().strip()
    assert "PATH=" in top([family[0]], "axe").processes[0][-1]


def test_threads() -> None:
    def threads() -> list[str]:
        return sorted(os.listdir("/proc/self/task"), key=int)

    # Those of other tests may end meanwhile.
    wait_for(lambda: column(top([os.getpid()], "-eLf"), "LWP") == threads())
    assert set(column(top([os.getpid()], "-eLf"), "PID")) == {str(os.getpid())}
    wait_for(lambda: column(top([os.getpid()], "H -o tid"), "TID") == threads())


def test_users() -> None:
    assert column(top([1], "-o user,ruser,pid"), "USER") == ["root"]
    assert column(top([1], "nu"), "USER") == ["0"]
    assert top([1], "h").titles == []


def test_every_column_of_a_process(family: tuple[int, int]) -> None:
    """Each keyword gives one line of text, for a process and for one that has ended meanwhile."""
    with subprocess.Popen(["sleep", "100"]) as child:
        process = Process.find(child.pid, Host())
        assert process is not None
        child.kill()
    alive = Process.find(family[0], Host())
    assert alive is not None
    for word, one in COLUMNS.items():
        for it in (alive, process):
            text = one.cell(it, last=True)
            assert text.isprintable(), word
            assert text or word in ("comm", "args"), word


def test_values() -> None:
    found = top([os.getpid()], "-o pid,ppid,pgid,sid,uid,gid,ni,nlwp,stat,args,comm,etimes,lstart,rss,vsz,tty")
    row = dict(zip(found.titles, found.processes[0], strict=True))
    assert row["PID"] == str(os.getpid())
    assert row["PPID"] == str(os.getppid())
    assert row["PGID"] == str(os.getpgid(0))
    assert row["SID"] == str(os.getsid(0))
    assert (row["UID"], row["GID"]) == (str(os.getuid()), str(os.getgid()))
    assert row["NI"] == str(os.nice(0))
    assert row["STAT"][0] == "R"
    assert 1 << 10 < int(row["RSS"]) < int(row["VSZ"])
    assert abs(time.mktime(time.strptime(row["STARTED"])) - (time.time() - int(row["ELAPSED"]))) < 3


def test_times() -> None:
    assert clock(0) == "00:00:00"
    assert clock(3661.9) == "01:01:01"
    assert clock(86400 * 3 + 59) == "03-00:00:59"
