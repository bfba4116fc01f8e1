"""Events on a real data root: from every process, in order, whole, kept, followed."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock import events
from minidock.errors import InvalidArgument, NotFound, Timeout
from minidock.store.paths import Paths
from tests.conftest import Cli, Roots, wait_for

WRITER = """
import sys
from minidock import _native
directory, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
for number in range(count) if count else iter(int, 1):
    _native.event_append(directory, "container", "start", f"{name}-{number}", {"name": "n" * 700})
"""


def writer(paths: Paths, name: str, count: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", WRITER, paths.events, name, str(count)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    return process


@pytest.fixture
def paths(engine: minidock.Engine) -> Paths:
    """The paths of the engine, whose data root exists."""
    engine.store.paths.prepare()
    return engine.store.paths


def ids(found: list[minidock.Event]) -> list[str]:
    return [event.id for event in found]


def test_a_life_of_a_container(engine: minidock.Engine, busybox: str) -> None:
    with engine.events(follow=True, timeout=30) as live:
        container = engine.containers.create(busybox, ["true"], name="life", labels={"löwe": "ß\n'\""})
        container.start()
        container.wait()
        container.remove()
        seen = []
        for event in live:
            seen.append(event)
            if event.action == "destroy":
                break
    assert [event.action for event in seen] == ["create", "start", "die", "destroy"]
    for event in seen:
        assert (event.type, event.id) == ("container", container.id)
        assert event.attributes["name"] == "life"
        assert event.attributes["löwe"] == "ß\n'\""
        assert event.attributes["image"] == busybox
    assert seen[2].attributes["exitCode"] == "0"
    assert [event.number for event in seen] == list(range(seen[0].number, seen[0].number + 4))
    assert all(one.time_ns < other.time_ns for one, other in itertools.pairwise(seen))
    with engine.events(filters={"container": container.id}) as kept:
        assert list(kept) == seen


def test_since_until_and_filters(engine: minidock.Engine, paths: Paths) -> None:
    with engine.events() as none:
        assert list(none) == []
    for name in ("a", "b", "c"):
        events.append(paths, "container", "create", name, {"name": name, "k": "v" if name == "b" else ""})
    with engine.events() as found:
        everything = list(found)
    assert ids(everything) == ["a", "b", "c"]
    times = [f"{event.time_ns // 10**9}.{event.time_ns % 10**9:09d}" for event in everything]

    def some(**limits: object) -> list[str]:
        with engine.events(**limits) as found:  # type: ignore[arg-type]
            return ids(list(found))

    assert some(since=times[1]) == ["b", "c"]
    assert some(until=times[1]) == ["a", "b"]
    assert some(since=times[1], until=times[1]) == ["b"]
    assert some(since="1h") == ["a", "b", "c"]
    assert some(since=everything[0].time) == ["a", "b", "c"]
    assert some(until="1h") == []
    assert some(until="1h", follow=True) == []
    assert some(until="0s", follow=True) == ["a", "b", "c"]  # as in Docker: an end alone means from the beginning
    assert some(filters=["label=k=v"]) == ["b"]
    for limits in ({"since": "1h", "until": "2h"}, {"since": "soon"}, {"timeout": -1.0}, {"filters": ["a=b"]}):
        with pytest.raises(InvalidArgument):
            some(**limits)


def test_waits_end(engine: minidock.Engine, paths: Paths) -> None:
    with engine.events(follow=True, timeout=0.05) as found, pytest.raises(Timeout, match=r"no more within 0\.05 s"):
        next(found)
    with engine.events(follow=True, since="1h", until="-3s") as found:
        events.append(paths, "volume", "create", "v", {})
        assert ids(list(found)) == ["v"]
    # Another thread closes it.
    found = engine.events(follow=True)
    threading.Timer(0.05, found.close).start()
    assert list(found) == []
    assert list(found) == []
    with engine.events(follow=True) as found:

        def interrupted() -> None:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            next(found)

        with pytest.raises(KeyboardInterrupt):  # which the signal's handler raises
            interrupted()
    with engine.events(follow=True) as found:
        shutil.rmtree(paths.events)
        with pytest.raises(NotFound, match="removed"):
            next(found)


def test_eight_processes_at_once(engine: minidock.Engine, paths: Paths) -> None:
    """More than a file holds: nothing lost, nothing twice, every process's in its order, on the way and afterwards."""
    each = 2000
    with engine.events(follow=True, timeout=100) as live:
        processes = [writer(paths, str(n), each) for n in range(8)]
        seen = []
        for event in live:
            seen.append(event)
            if len(seen) == 8 * each:
                break
    assert [process.wait() for process in processes] == [0] * 8
    assert [event.number for event in seen] == list(range(8 * each))
    assert all(one.time_ns < other.time_ns for one, other in itertools.pairwise(seen))
    for n in range(8):
        assert [event.id for event in seen if event.id.startswith(f"{n}-")] == [f"{n}-{i}" for i in range(each)]
    with engine.events() as kept:
        assert list(kept) == seen
    assert sorted(os.listdir(paths.events)) == ["current", "previous"]


def test_killed_writers(engine: minidock.Engine, paths: Paths) -> None:
    """kill -9 at any moment: no torn line is seen, nobody is held up, and what was seen stays."""
    seen: list[minidock.Event] = []
    with engine.events(follow=True, timeout=60) as live:
        for n in range(25):
            processes = [writer(paths, f"{n}.{m}", 0) for m in range(2)]
            time.sleep(0.002 * (n % 5))
            for process in processes:
                process.kill()
                process.wait()
            events.append(paths, "container", "create", f"alive-{n}", {})
            for event in live:
                seen.append(event)
                if event.id == f"alive-{n}":
                    break
    assert [event.number for event in seen] == list(range(len(seen)))
    assert [event.id for event in seen if event.id.startswith("alive")] == [f"alive-{n}" for n in range(25)]
    with engine.events() as kept:
        last = list(kept)
    assert last == seen[-len(last) :]


def test_a_stopped_writer_costs_an_event_at_most(engine: minidock.Engine, paths: Paths) -> None:
    events.append(paths, "container", "create", "first", {})
    lock = os.open(paths.events, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        events.append(paths, "container", "create", "lost", {})  # returns, after 2 s
    finally:
        os.close(lock)
    events.append(paths, "container", "create", "second", {})
    with engine.events() as kept:
        assert ids(list(kept)) == ["first", "second"]


def test_long_labels(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """A line has 16 KiB at most: of a label of 100 KB the beginning is there, and all of the short ones."""
    long = "é" * 50_000
    cli_busybox.ok("create", "--name", "long", "--label", f"long={long}", "--label", "short=s", "busybox")
    with engine.events(filters=["container=long"]) as found:
        (event,) = found
    assert event.attributes["name"] == "long"
    assert event.attributes["short"] == "s"
    shown = event.attributes["long"]
    assert shown.endswith("…")
    assert long.startswith(shown[:-1])
    assert len(shown) > 100


@contextlib.contextmanager
def full_disk(engine: minidock.Engine) -> Iterator[None]:
    """A small disk for events, full."""
    directory = engine.store.paths.events
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", directory], check=True)
    try:
        events.append(engine.store.paths, "container", "create", "before", {})
        with Path(directory, "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_full_disk_loses_events_only(engine: minidock.Engine, busybox: str) -> None:
    with full_disk(engine):
        for _ in range(40):  # the last page has some room
            assert engine.containers.run(busybox, ["true"], remove=True).exit_code == 0
        with engine.events() as kept:
            found = list(kept)
        assert found[0].id == "before"
        assert len(found) < 100
        Path(engine.store.paths.events, "filler").unlink()
        events.append(engine.store.paths, "container", "create", "after", {})
        with engine.events() as kept:
            again = list(kept)
        assert again[: len(found)] == found
        assert "after" in {event.id for event in again[len(found) :]}


def test_command(cli_busybox: Cli, engine: minidock.Engine) -> None:
    live = cli_busybox.popen("events", "--filter", "event=destroy", "--format", "json", stdout=subprocess.PIPE)

    def looks() -> bool:
        with contextlib.suppress(FileNotFoundError):  # of a descriptor that is closed meanwhile
            return any("inotify" in os.readlink(path) for path in Path(f"/proc/{live.pid}/fd").iterdir())
        return False

    wait_for(looks)
    cli_busybox.ok("run", "--rm", "--name", "one", "busybox", "true")
    assert live.stdout is not None
    event = json.loads(live.stdout.readline())
    assert event["Actor"]["Attributes"] == {"image": "busybox", "name": "one"}
    live.send_signal(signal.SIGINT)
    assert live.wait() == 130
    assert live.stdout.read() == b""
    lines = cli_busybox.ok("events", "--since", "1h", "--until", "0s", "-f", "container=one").splitlines()
    assert [line.split()[2] for line in lines] == ["create", "attach", "start", "die", "destroy"]
    assert cli_busybox.ok("system", "events", "--until", "0s", "-f", "container=one").splitlines() == lines
    done = cli_busybox("events", "--since", "yesterday")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b'minidock: failed to parse value as time or duration: "yesterday"\n'


def test_who_reads_needs_no_events(cli: Cli, roots: Roots) -> None:
    """The first command on a machine may be ``events``."""
    assert cli.ok("events", "--until", "0s") == ""
    assert os.stat(roots.data / "events").st_mode & 0o777 == 0o700
