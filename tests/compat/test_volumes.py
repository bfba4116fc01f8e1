"""``volume`` and ``system prune`` beside the real Docker: flags, words, lists and documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.compat.beside import Answer, Side, both
from tests.conftest import Cli

Sides = tuple[Side, Side]


@pytest.fixture
def sides(cli_busybox: Cli) -> Iterator[Sides]:
    with both(cli_busybox) as found:
        try:
            yield found
        finally:
            for side in found:
                side.remove()
                _, out, _ = side.raw("volume", "ls", "-q", "--filter", f"name={side.prefix}")
                if out.split():
                    side.raw("volume", "rm", *out.split())


# \u00a0 stands for a space inside a word.
STEPS = [
    "volume create @a", "volume create @a", "volume create -o type=tmpfs @a", "volume create --label x=y @a",
    "volume create --driver nosuch @a",
    "volume create --name @b", "volume create --name @b @c", "volume create @b @c", "volume create a",
    "volume create @a\u00a0b",
    "volume create @/x", "volume create @é", "volume create --label =x @c",
    "volume create --label a=1 --label b --label a=2 --label é=ü @lab",
    "volume create -o bogus=1 @c", "volume create -o type=tmpfs @c", "volume create -o device=/x @c",
    "volume create -o o=bind @c", "volume create -o type=nfs -o o=addr=1.2.3.4 @c", "volume create -o size=-1 @c",
    "volume create -o size=abc @c", "volume create -o size=0 @zero", "volume create -o type= -o device= -o o= @empty",
    "volume create -o type=none -o o=bind -o device=/nonexist @bind",
    "volume create --label com.docker.volume.anonymous= --label p=@ @anon",
    "volume inspect @a -f {{.Name}}{{.Driver}}{{.Scope}}{{.Labels}}{{.Options}}",
    "volume inspect @lab -f {{json\u00a0.Labels}}", "volume inspect @bind -f {{json\u00a0.Options}}",
    "volume inspect @empty -f {{json\u00a0.Options}}",
    "volume inspect @a -f {{.UsageData}}",
    "volume inspect @a -f {{.ClusterVolume}}", "volume inspect @nosuch",
    "volume inspect @nosuch @a -f {{.Name}}", "inspect --type volume @nosuch",
    "inspect @a -f {{.Name}}", "inspect --type volume @a -f {{.Name}}", "inspect --type volume @lab -f {{.Labels.b}}",
    "volume ls -f name=@", "volume ls -f name=^@a$", "volume ls -f name=@b -f name=@a -q",
    "volume ls -f label=a -f name=@", "volume ls -f label=a=1 -f name=@ -q",
    "volume ls -f label=a=2 -f label=b -q -f name=@",
    "volume ls -f driver=loc -f name=@ -q", "volume ls -f dangling=1 -q -f name=@",
    "volume ls -f dangling=false -q -f name=@", "volume ls -f dangling=maybe", "volume ls -f bogus=1",
    "volume ls -f name=@ --format raw", "volume ls -f name=@ -q --format raw", "volume ls x",
    "volume ls -f name=@ --format {{.Name}}:{{.Driver}}:{{.Scope}}:{{.Links}}:{{.Size}}:{{.Group}}:{{.Status}}",
    "volume ls -f name=@lab --format {{.Label\u00a0\"a\"}}:{{.Label\u00a0\"zz\"}}",
    "volume ls -f name=@ --format {{.Foo}}",
    "volume ls -f name=@ --format table\u00a0{{.Name}}\\t{{.Links}}\\t{{.Group}}\\t{{.Label\u00a0\"a\"}}",
    "volume ls -f name=@a -q --format {{.Driver}}", "volume prune -f --filter label=nosuch",
    "volume prune -f --filter until=1h", "volume prune -f --filter all=x",
    "volume prune -a --filter all=1", "volume prune -f --filter bogus=1",
    "volume prune --filter label=nosuch", "volume prune -a --filter label=nosuch",
    "volume prune -f --filter label=p=@", "volume prune -af --filter label=a=2 --filter label=é",
    "volume ls -q -f name=@", "volume rm @a @nosuch @b", "volume rm @zero @zero",
    "volume rm @bind @empty", "volume ls -q -f name=@", "system prune -f --filter bogus=1",
    "system prune --filter label=@no --volumes -f --filter until=1h",

]  # fmt: skip


def _clean(text: str) -> str:
    return re.sub(r"\W+", " ", text.replace("minidock", "docker")).strip()


def _same(expected: str, got: str) -> bool:
    """Docker may say more before or after, or on several lines of which only the first is compared."""
    words = _clean(expected), _clean(got)
    return words[0] in words[1] or words[1] in words[0]


def _both(sides: Sides, step: str) -> tuple[Answer, Answer]:
    """The answers of both to a command line, at the same time: each waits for itself only."""
    words = [word.replace("\u00a0", " ") for word in step.split(" ")]
    with ThreadPoolExecutor(2) as pool:
        expected, got = pool.map(lambda side: side(*words), sides)
    return expected, got


@pytest.mark.timeout(300)
def test_steps(sides: Sides) -> None:
    for step in STEPS:
        expected, got = _both(sides, step)
        assert (got[0] != 0) == (expected[0] != 0), (step, expected, got)
        if "prune" in step:  # where the peers' own things are, they may be pruned
            expected, got = ((it[0], it[1].partition("Total")[0], it[2]) for it in (expected, got))
        if "Labels" not in step:
            assert got[1] == expected[1], (step, expected, got)
        assert bool(got[2]) == bool(expected[2]), (step, expected, got)
        assert _same(expected[2], got[2]), (step, expected, got)


def test_documents(sides: Sides) -> None:
    """All of ``inspect`` and of ``ls --format json``, and the events."""
    documents = []
    for side in sides:
        side("volume", "create", "--label", "a=b", "-o", "type=tmpfs", "-o", "device=x", "@one")
        side("volume", "create", "@two")
        found = json.loads(side("volume", "inspect", "@one", "@two")[1])
        for one in found:
            one["CreatedAt"] = re.sub("[0-9]+", "N", one["CreatedAt"])
            one["Mountpoint"] = one["Mountpoint"][one["Mountpoint"].index("/volumes/") :]
        listed = [json.loads(line) for line in side("volume", "ls", "-f", "name=@", "--format", "json")[1].splitlines()]
        for one in listed:
            one["Mountpoint"] = one["Mountpoint"][one["Mountpoint"].index("/volumes/") :]
        keys = [list(one) for one in (*found, *listed)]
        side("volume", "rm", "@one", "@two")
        events = side(
            "events", "--since", "10m", "--until", "-1s", "--filter", "volume=@", "--format",
            "{{.Type}} {{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}} {{.Status}} {{.From}}",
        )  # fmt: skip
        documents.append((found, listed, keys, events))
    assert documents[0] == documents[1]


def test_questions(sides: Sides) -> None:
    """The question of ``system prune``."""
    for flags in ("", " -a", " --volumes", " -a --volumes --filter label=a=b"):
        expected, got = _both(sides, f"system prune{flags}")
        assert got == expected


WITH_CONTAINERS = [
    "volume create -o type=tmpfs -o device=tmpfs -o o=size=1m,uid=5,mode=1770 @tmp", "volume create @plain",
    "volume create -o type=none -o o=bind -o device=/nonexist @gone", "volume create -o type=nosuchfs -o device=x @fs",
    "volume create -o type=tmpfs -o device= @none", "volume create -o type=tmpfs -o device=tmpfs -o o=bogus=1 @bogus",
    "run --rm --network none -v @tmp:/t IMAGE sh -c touch\u00a0/t/x;stat\u00a0-c\u00a0%u:%a\u00a0/t",
    "run --rm --network none -v @tmp:/t IMAGE ls /t", "run --rm --network none -v @gone:/t IMAGE true",
    "run --rm --network none -v @fs:/t IMAGE true", "run --rm --network none -v @none:/t IMAGE true",
    "run --rm --network none -v @bogus:/t IMAGE true", "volume ls -f name=@ -f dangling=true -q",
    "create --name @c --network none -v @plain:/bin -v /anonymous IMAGE true", "volume rm @plain",
    "volume rm -f @plain", "volume ls -f name=@ -f dangling=false -q", "volume prune -af --filter label=nothing",
    "rm -v @c", "volume ls -q -f name=@", "run --rm --network none -v @plain:/x IMAGE ls /x/sh",
    "run --rm --network none -v @copied:/bin:ro IMAGE touch /bin/x",
    "run --rm --network none -v @copied:/x IMAGE ls /x/sh",
    "run --rm --network none -v @nocopy:/root:nocopy IMAGE ls -a /root", "system df --format {{.Type}}",
    "volume rm @tmp @gone @fs @none @bogus @plain @copied @nocopy",
]  # fmt: skip


def _events(side: Side) -> list[tuple[str, str, dict[str, str]]]:
    _, out, _ = side("events", "--since", "10m", "--until", "-1s", "--filter", "volume=@", "--format", "json")
    found = [json.loads(line) for line in out.splitlines()]
    # Docker tells of an unmount also for a container whose volume could not be mounted.
    failed = {side.clean(f"{side.prefix}{name}") for name in ("gone", "fs", "none", "bogus")}
    return [
        (one["Action"], one["Actor"]["ID"], one["Actor"]["Attributes"])
        for one in found
        if one["Action"] != "unmount" or one["Actor"]["ID"] not in failed
    ]


def test_with_containers(sides: Sides) -> None:
    """Driver options, copies of the image's files, uses, and the events of all that."""
    for step in WITH_CONTAINERS:
        expected, got = _both(sides, step)
        assert (got[0] != 0) == (expected[0] != 0), (step, expected, got)
        assert got[1] == expected[1], (step, expected, got)
        cut = [re.sub(r"'?/\S*/volumes/|, (flags|data): [^,:]+", "", text) for text in (expected[2], got[2])]
        assert _same(cut[0], cut[1]), (step, expected, got)
    expected_events, got_events = (_events(side) for side in sides)
    assert got_events == expected_events
