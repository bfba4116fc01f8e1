"""Events beside the real Docker of the peers: the same commands, the same events in the same order."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.images import tar_of
from tests.registry import Registry, push_image
from tests.rootfs import busybox_tar

PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))

Event = tuple[str, dict[str, str]]


class Side:
    """One engine: runs commands, and tells which events they made."""

    def __init__(self, argv: list[str], env: dict[str, str], mark: str) -> None:
        self.argv = argv
        self.env = {**env, "TZ": "UTC"}
        self.mark = mark
        self.known: set[str] = set()

    def __call__(self, *argv: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        argv = (*self.argv, *argv)
        return subprocess.run(argv, input=input, capture_output=True, timeout=60, env=self.env, check=False)

    def run(self, name: str, *argv: str) -> None:
        """``run`` with a name, a label and no network."""
        first = next(at for at, word in enumerate(argv) if not word.startswith("-"))
        flags = ["--network", "none", "--label", self.mark, "--name", f"{self.mark}-{name}", *argv[:first]]
        self("run", *flags, self.mark, *argv[first:])

    def events(self, work: Callable[[Side], object], *kinds: str) -> list[Event]:
        """What happened to objects with the mark while ``work`` ran."""
        done = self.recorded(work, "--format", "json")
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        times = [event["timeNano"] for event in events]
        assert times == sorted(times)
        found = [event for event in events if event["Type"] in (kinds or ("container",)) and self.is_ours(event)]
        return [self.comparable(event) for event in found]

    def recorded(self, work: Callable[[Side], object], *argv: str) -> subprocess.CompletedProcess[bytes]:
        """What ``events`` prints of the time in which ``work`` runs."""
        since = time.time_ns()
        work(self)
        until = time.time_ns() + 500_000_000  # Docker reports some deaths after the command has ended
        limits = [f"--{name}={ns // 10**9}.{ns % 10**9:09d}" for name, ns in (("since", since), ("until", until))]
        return self("events", *argv, *limits)

    def is_ours(self, event: dict[str, Any]) -> bool:
        """Whether an event is about an object of the test; others use this Docker too."""
        actor = event["Actor"]["ID"]
        if self.mark in json.dumps(event):
            self.known.add(actor)
        return actor in self.known or (event["Action"] == "prune" and self.mark in self.known)

    def comparable(self, event: dict[str, Any]) -> Event:
        """An event without what differs from run to run."""
        actor = event.pop("Actor")
        assert event.keys() - {"id", "from"} == {"status", "Type", "Action", "scope", "time", "timeNano"}
        assert (event["status"], event["scope"]) == (event["Action"], "local")
        assert event["time"] == event["timeNano"] // 10**9
        assert event.get("id", "") == actor["ID"]
        assert event.get("from") == (actor["Attributes"].get("image") if event["Type"] == "container" else None)
        values = {"object": actor["ID"], **actor["Attributes"]}
        for name, value in values.items():
            if re.fullmatch("(sha256:)?[0-9a-f]{64}", value):
                values[name] = "an id"
            elif name in ("execDuration", "reclaimed"):
                assert value.isdigit()
                values[name] = "a number"
        text = json.dumps(values).replace(self.mark, "X")
        return f"{event['Type']} {event['Action']}", json.loads(text)


@pytest.fixture
def both(cli: Cli) -> Iterator[tuple[Side, Side]]:
    """Docker and minidock, each with an image of the same name."""
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    mark = f"events-{secrets.token_hex(3)}"
    docker, ours = Side([str(PEERS), "docker"], dict(os.environ), mark), Side(cli.argv, cli.env, mark)
    if docker("info").returncode != 0:
        pytest.skip("the peers' docker does not run: peers up")
    for side in (docker, ours):
        assert side("import", "-", mark, input=busybox_tar().read_bytes()).returncode == 0
    yield docker, ours
    for side in (docker, ours):
        for what, remove in (
            (["ps", "-aqf", f"label={mark}"], ["rm", "-f"]),
            (["images", "-aqf", f"reference={mark}*"], ["rmi", "-f"]),
            (["images", "-aqf", f"label={mark}"], ["rmi", "-f"]),
        ):
            if left := side(*what).stdout.decode().split():
                side(*remove, *left)


def same(both: tuple[Side, Side], work: Callable[[Side], object], *kinds: str) -> list[str]:
    """Require the same events of both, and return their names."""
    docker, ours = (side.events(work, *kinds) for side in both)
    assert _settled(ours) == _settled(docker)
    return [name for name, _ in ours]


def _settled(events: list[Event]) -> list[Event]:
    """Docker tells of a death and of what caused it from two threads: ``die`` and ``stop`` come in any order."""
    found = list(events)
    for at in range(len(found) - 1):
        if found[at][0] == "container stop" and found[at + 1][0] == "container die":
            found[at : at + 2] = reversed(found[at : at + 2])
    return found


def names(*actions: str) -> list[str]:
    return [f"container {action}" for action in actions]


def test_run_and_its_end(both: tuple[Side, Side]) -> None:
    assert same(both, lambda side: side.run("a", "true")) == names("create", "attach", "start", "die")
    assert same(both, lambda side: side.run("b", "--rm", "sh", "-c", "exit 3")) == names(
        "create", "attach", "start", "die", "destroy"
    )
    assert same(both, lambda side: side("rm", f"{side.mark}-a")) == names("destroy")
    assert same(both, lambda side: side.run("c", "/no/such")) == names("create", "attach")
    assert same(both, lambda side: side("rm", f"{side.mark}-c")) == names("destroy")


def test_one_life(both: tuple[Side, Side]) -> None:
    def on(*argv: str) -> list[str]:
        return same(both, lambda side: side(*(word.replace("X", side.mark) for word in argv)))

    assert same(both, lambda side: side.run("a", "-d", "--stop-signal=KILL", "sleep", "1000")) == names(
        "create", "start"
    )
    assert sorted(on("stop", "X-a")) == names("die", "kill", "stop")
    assert on("start", "X-a") == names("start")
    assert sorted(on("restart", "X-a")) == names("die", "kill", "restart", "start", "stop")
    assert on("kill", "-s", "CONT", "X-a") == names("kill")
    assert on("pause", "X-a") == names("pause")
    assert on("unpause", "X-a") == names("unpause")
    assert on("rename", "X-a", "X-b") == names("rename")
    assert on("update", "--memory=100m", "--memory-swap=200m", "X-b") == names("update")
    assert on("top", "X-b") == names("top")
    assert on("logs", "X-b") == on("inspect", "X-b") == on("start", "X-b") == on("wait", "X-none") == []
    assert on("kill", "X-b") == names("kill", "die")
    assert on("start", "X-b") == names("start")
    assert on("rm", "-f", "X-b") == names("kill", "die", "destroy")


def test_stop_that_has_to_kill(both: tuple[Side, Side]) -> None:
    same(both, lambda side: side.run("a", "-d", "sleep", "1000"))
    assert sorted(same(both, lambda side: side("stop", "-t", "0", f"{side.mark}-a"))) == names(
        "die", "kill", "kill", "stop"
    )


def test_exec(both: tuple[Side, Side]) -> None:
    same(both, lambda side: side.run("a", "-d", "sleep", "1000"))

    def on(*argv: str) -> list[str]:
        return same(both, lambda side: side("exec", f"{side.mark}-a", *argv))

    assert on("echo", "hi", "a b") == names("exec_create: echo hi a b", "exec_start: echo hi a b", "exec_die")
    assert on("false") == names("exec_create: false ", "exec_start: false ", "exec_die")
    assert on("/no/such") == names("exec_create: /no/such ", "exec_start: /no/such ")


def test_files(both: tuple[Side, Side], tmp_path: Path) -> None:
    same(both, lambda side: side.run("a", "-d", "sleep", "1000"))
    (tmp_path / "hi").write_text("hi")

    def on(*argv: str) -> list[str]:
        tar = subprocess.run(["tar", "c", "-C", tmp_path, "hi"], capture_output=True, check=True).stdout
        return same(
            both, lambda side: side(*(word.replace("X", side.mark) for word in argv), input=tar), "container", "image"
        )

    assert on("cp", "X-a:/etc/passwd", "-") == names("archive-path")
    assert on("cp", "-", "X-a:/tmp") == names("extract-to-dir")
    assert on("diff", "X-a") == []
    assert on("export", "X-a") == names("export")
    assert on("commit", "-m", "word", "X-a", "X-made:1") == [
        *names("pause"),
        "image create",
        "image tag",
        *names("commit", "unpause"),
    ]


def test_out_of_memory(both: tuple[Side, Side]) -> None:
    assert same(
        both,
        lambda side: side.run(
            "a", "--memory=10m", "--memory-swap=10m", "sh", "-c", "dd if=/dev/zero of=/dev/null bs=100M count=1"
        ),
    ) == names("create", "attach", "start", "oom", "die")


def test_restart_policy(both: tuple[Side, Side]) -> None:
    def restarted(side: Side) -> None:
        side.run("b", "-d", "--restart=on-failure:1", "false")
        time.sleep(1.5)

    assert same(both, restarted) == names("create", "start", "die", "start", "die")


def test_health(both: tuple[Side, Side]) -> None:
    """Docker tells of the exec of every check too; here they would push all else out of what is kept."""

    def healthy(side: Side) -> None:
        side.run("c", "-d", "--health-cmd=exit 0", "--health-interval=1500ms", "sleep", "1000")
        time.sleep(2.2)

    docker, ours = (side.events(healthy) for side in both)
    assert ours == [event for event in docker if not event[0].startswith("container exec_")]
    assert [name for name, _ in ours] == names("create", "start", "health_status: healthy")


def test_prune(both: tuple[Side, Side]) -> None:
    def pruned(side: Side) -> None:
        side.known.add(side.mark)
        side.run("a", "true")
        side("container", "prune", "-f", "--filter", f"label={side.mark}")
        side("image", "prune", "-f", "--filter", f"label={side.mark}")

    found = same(both, pruned, "container", "image")
    assert found[-3:] == ["container destroy", "container prune", "image prune"]


def test_images(both: tuple[Side, Side], registry: Registry) -> None:
    mark = both[0].mark
    app = f"{registry.host}/{mark}/app"
    for tag, word in (("1", b"a"), ("2", b"b")):
        push_image(registry, f"{mark}/app", tag, [tar_of(("a", word * 2000))], config={"Labels": {mark: tag}})

    def on(*argv: str, input: bytes | None = None) -> list[str]:
        found = same(both, lambda side: side(*argv, input=input), "image")
        return [name.removeprefix("image ") for name in found]

    assert on("pull", f"{app}:1") == ["pull"]
    assert on("pull", f"{app}:1") == ["pull"]
    assert on("tag", f"{app}:1", f"{app}:3") == ["tag"]
    assert on("push", f"{app}:3") == ["push"]
    assert on("rmi", f"{app}:1") == ["untag"]
    assert on("pull", "-a", app) == ["pull"]
    assert on("push", "-a", app) == ["push"]
    assert on("save", f"{app}:1", f"{app}:2", f"{app}:3") == ["save", "save"]
    assert on("rmi", f"{app}:3", f"{app}:1") == ["untag", "untag", "delete"]
    tar = both[0]("save", f"{app}:2").stdout
    assert on("rmi", f"{app}:2") == ["untag", "delete"]
    assert on("load", input=tar) == ["load"]
    assert on("tag", f"{app}:2", f"{mark}:2") == ["tag"]
    config = json.loads(both[0]("inspect", f"{app}:2").stdout)[0]["Id"]
    assert on("rmi", "-f", config) == ["untag", "untag", "delete"]
    assert on("import", "-c", f"LABEL {mark}=a", "-", f"{mark}:import", input=tar_of(("a", b"a"))) == ["tag", "import"]
    assert on("import", "-c", f"LABEL {mark}=b", "-", input=tar_of(("a", b"a"))) == ["import"]
    assert on("run", "--rm", f"{app}:none") == on("rmi", f"{mark}:none") == on("pull", f"{app}:none") == []


def test_plain_lines(both: tuple[Side, Side]) -> None:
    def lines(side: Side) -> list[str]:
        flags = ["--filter", f"label={side.mark}", "--filter", "type=container"]
        done = side.recorded(lambda side: side.run("a", "--rm", "--label=a=b", "true"), *flags)
        text = done.stdout.decode().replace(side.mark, "X")
        text = re.sub("[0-9a-f]{64}", "an id", re.sub(r"execDuration=\d+", "execDuration=N", text))
        assert len(re.findall(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", text, re.MULTILINE)) == 5
        return [line[31:] for line in text.splitlines()]

    docker, ours = (lines(side) for side in both)
    assert ours == docker
