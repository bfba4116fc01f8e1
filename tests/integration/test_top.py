"""``top`` and ``port``."""

from __future__ import annotations

from pathlib import Path

import pytest

import minidock
from minidock.errors import Conflict, InvalidArgument, Unsupported
from tests.conftest import Cli, wait_for
from tests.integration.verbs import reaches, refused, started


def test_processes(engine: minidock.Engine, busybox: str) -> None:
    """All of the container's processes and no others, with the host's ids and names."""
    script = "sleep 1000 & su app -c 'sleep 2000' & touch /ready; wait"
    container = started(engine, ["sh", "-c", script])
    wait_for(lambda: {"sleep 1000", "sleep 2000"} <= {row[-1] for row in container.top().processes})
    wait_for(lambda: len(container.top().processes) == 3)
    found = container.top()
    assert found.titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    rows = {row[-1]: row for row in found.processes}
    init = rows[f"sh -c {script}"]
    assert init[1] == str(container.state.pid)
    assert rows["sleep 1000"][2] == init[1]
    # Uid 1000 has the host's name for it, or none.
    uid = Path(f"/proc/{rows['sleep 2000'][1]}/loginuid").stat().st_uid
    assert container.top(f"-o user:30,pid -p {rows['sleep 2000'][1]}").processes[0][0] in (str(uid), _name(uid))
    assert [row[0] for row in container.top("-o pid --sort=-pid").processes] == sorted(
        (row[1] for row in rows.values()), key=int, reverse=True
    )


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def test_exec_is_seen(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine)
    container.exec(["sleep", "2000"], detach=True)
    assert [row[0] for row in container.top("-o args").processes] == ["sleep 1000", "sleep 2000"]


def test_states(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["sleep", "1000"])
    with pytest.raises(Conflict, match="is not running"):
        container.top()
    container.start()
    container.pause()
    assert len(container.top().processes) == 1
    container.unpause()
    container.kill()
    container.wait(30)
    with pytest.raises(Conflict, match="is not running"):
        container.top()
    again = started(engine, ["false"], restart="always")
    reaches(again, "restarting", 5)
    with pytest.raises(Conflict, match=r"is restarting, wait until the container is running|is not running"):
        again.top()
    again.remove(force=True)


def test_options_that_make_no_sense(engine: minidock.Engine, busybox: str) -> None:
    container = started(engine)
    with pytest.raises(Unsupported):
        container.top("--info")
    with pytest.raises(InvalidArgument):
        container.top("-o nonsense")


def test_cli(cli_busybox: Cli, engine: minidock.Engine) -> None:
    cli = cli_busybox
    container = started(engine, name="one")
    pid = container.state.pid
    text = cli.ok("top", "one", "-o", "pid,ppid=PARENT", "-o", "comm")
    assert text == f"PID                 PARENT              COMMAND\n{pid:<20}{_parent(pid):<20}sleep\n"
    assert cli.ok("container", "top", "one", "axho", "pid") == f"{pid}\n"
    assert cli.ok("top", "one").split("\n")[0].split() == "UID PID PPID C STIME TTY TIME CMD".split()  # noqa: SIM905
    assert "--foo" in refused(cli, "top", "one", "--foo")
    assert refused(cli, "top", "nosuch") == "no such container: nosuch"
    assert "requires at least 1 argument" in refused(cli, "top")
    container.kill()
    container.wait(30)
    assert refused(cli, "top", "one") == f"container {container.id} is not running"


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_names_of_processes_steer_no_terminal(cli_busybox: Cli, engine: minidock.Engine) -> None:
    script = 'printf "#!/bin/sh\\nsleep 1000\\n" > "/tmp/$1"; chmod 755 "/tmp/$1"; exec "/tmp/$1"'
    evil = started(engine, ["sh", "-c", script, "-", "x\x1b]0;t\x07"])
    wait_for(lambda: Path(f"/proc/{evil.state.pid}/comm").read_text().startswith("x\x1b"))
    for words in ("aux", "-ef", "-eo pid,comm,exe,args"):
        text = cli_busybox.ok("top", evil.id, *words.split())
        assert all(line.isprintable() for line in text.splitlines())


def test_ports(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """Nothing is published before there are networks with addresses; Docker's answers for such containers."""
    cli = cli_busybox
    container = started(engine, name="one")
    assert container.port() == container.port(80) == container.port("80/udp") == {}
    assert cli.ok("port", "one") == cli.ok("container", "port", "one", "") == ""
    for port in ("80", "80/tcp", "80/foo", "0", "80/"):
        assert refused(cli, "port", "one", port) == f"no public port '{port}' published for one"
    for port, why in (("abc", "invalid syntax"), ("70000", "value out of range"), ("80-90", "invalid syntax")):
        assert refused(cli, "port", "one", port) == f'invalid port ({port}): strconv.ParseUint: parsing "{port}": {why}'
    assert refused(cli, "port", "nosuch") == "no such container: nosuch"
    assert "requires at least 1 and at most 2 arguments" in refused(cli, "port")
