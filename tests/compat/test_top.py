"""``top`` and ``port`` beside the real Docker."""

from __future__ import annotations

from tests.compat.beside import both
from tests.conftest import Cli, wait_for

OPTIONS = """
-ef
aux
-F
-l
-ely
-j
-eLf
-T
-c
-M
x
axu
-aux
l
j
s
v
u
-o pid,args
-eo pid,ppid,user,stat,comm
-o pid=PID,comm=PROGRAM
-o user:20,pid
-O comm
-u root
-C sleep
-eo pid,class,pri,ni,psr,sgi_p,nlwp,sched,rtprio,policy
-eo pid,euid,ruid,suid,fuid,egid,rgid,euser,ruser,group,supgid,supgrp
-eo pid,pending,blocked,ignored,caught,flags,wchan,pcap
-eo pid,tty,tpgid,sess,vsz,sz,size,trs,drs,lim,maj_flt
-eo pid,exe,label,luid,oomadj
-eo pid,etimes,start,stime,time,cputimes,bsdtime,bsdstart
-eo pid,pcpu,c,cp,pmem
--sort=-pid -ef
k pid -e
-efH
auxww
""".strip().splitlines()

VARY = {"PID", "PPID", "PGID", "PGRP", "SID", "SESS", "LWP", "SPID", "TPGID", "PSR", "C", "START", "STARTED", "STIME"}
"""Columns of what differs from run to run."""
VARY |= {"ELAPSED", "TIME", "RSS", "%CPU", "CP", "%MEM", "MAJFL", "ADDR", "P", "IGNORED"}


def test_tables(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        for side in sides:
            side.start("a", "IMAGE", "sh", "-c", "sleep 1000 & sleep 2000; wait")
            wait_for(lambda side=side: len(side("top", "@a")[1].splitlines()) == 4, 20)
        for options in OPTIONS:
            expected, got = (side("top", "@a", *options.split()) for side in sides)
            assert (got[0], expected[0]) == (0, 0), (options, expected, got)
            tables = []
            for _, out, _ in (expected, got):
                heads, *rows = out.splitlines()
                titles = heads.split()
                # The last column may have words.
                cells = [row.split(None, len(titles) - 1) for row in rows]
                keep = [at for at, title in enumerate(titles) if title not in VARY]
                tables.append((titles, [[row[at] for at in keep] for row in cells]))
            assert tables[1] == tables[0], options


def test_words(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        for side in sides:
            side.start("a", "IMAGE", "sleep", "1000")
            side.raw("create", "--name", "@b", "--network", "none", "IMAGE", "true")
        for argv in (["@nosuch"], ["@b"], ["@a", "-o", "nonsense"], ["@a", "--foo"], ["@a", "-Q"], ["@a", "-o"], []):
            expected, got = (side("top", *argv) for side in sides)
            assert (got[0], got[1]) == (expected[0], expected[1]), argv
            assert got[2], argv
        for argv in (["@nosuch"], ["@b"]):
            expected, got = (side("top", *argv) for side in sides)
            assert got[2] == expected[2]


def test_port(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        for side in sides:
            side.start("a", "IMAGE", "sleep", "1000")
        for argv in (
            ["@a"], ["@a", ""], ["@a", "80"], ["@a", "80/udp"], ["@a", "x"], ["@a", "0"], ["@a", "70000"],
            ["@a", "80-90"], ["@a", "/tcp"], ["@a", "80/"], ["@nosuch"], ["@nosuch", "80"], ["@a", "80", "81"], [],
        ):  # fmt: skip
            expected, got = (side("port", *argv) for side in sides)
            assert got[:2] == expected[:2], argv
            if len(argv) in (1, 2):
                assert got[2] == expected[2], argv
