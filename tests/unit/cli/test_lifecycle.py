"""The command lines of the lifecycle's verbs, before any engine is there."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.cli import surface
from minidock.cli.flags import parse
from minidock.cli.words import UsageError
from minidock.containers.updating import NAMES

VERBS = ("attach", "kill", "pause", "rename", "restart", "start", "stop", "unpause", "update", "wait", "rm")


@pytest.mark.parametrize("verb", VERBS)
def test_both_names(verb: str) -> None:
    assert surface.canonical(verb) == f"container {verb}"
    assert surface.load(f"container {verb}").complete == "containers"


@pytest.mark.parametrize(
    ("verb", "argv", "given"),
    [
        ("stop", ["-t", "5", "a"], {"timeout": 5}),
        ("stop", ["-t-1", "a", "--signal=HUP"], {"timeout": -1, "signal": "HUP"}),
        ("stop", ["--time=0x10", "a", "-s", "9"], {"timeout": 16, "signal": "9"}),
        ("restart", ["--timeout", "0", "a"], {"timeout": 0}),
        ("kill", ["-sUSR1", "a"], {"signal": "USR1"}),
        ("wait", ["--condition", "removed", "a"], {"condition": "removed"}),
        ("attach", ["--no-stdin", "--sig-proxy=false", "a"], {"no-stdin": True, "sig-proxy": False}),
        ("attach", ["--detach-keys", "", "a"], {"detach-keys": "ctrl-p,ctrl-q"}),
        ("start", ["-ai", "--detach-keys=ctrl-a,b", "a"],
         {"attach": True, "interactive": True, "detach-keys": "ctrl-a,b"}),
        ("run", ["-dit", "--restart=on-failure:3", "image"],
         {"detach": True, "interactive": True, "tty": True, "restart": "on-failure:3"}),
        ("update", ["-c", "512", "-m64m", "--restart", "no", "a"],
         {"cpu-shares": 512, "memory": "64m", "restart": "no"}),
        ("rm", ["-fv", "a"], {"force": True, "volumes": True}),
        ("rm", ["-l", "a/b"], {"link": True}),
    ],
)  # fmt: skip
def test_flags(verb: str, argv: list[str], given: dict[str, Any]) -> None:
    values, _ = parse(surface.load(f"container {verb}"), argv)
    assert values.given == given


@pytest.mark.parametrize(
    ("verb", "argv", "text"),
    [
        ("stop", ["-t", "1.5", "a"], 'invalid argument "1.5" for "-t, --timeout" flag'),
        ("stop", ["-t"], "flag needs an argument: 't' in -t"),
        ("kill", ["--time", "1", "a"], "unknown flag: --time"),
        ("pause", ["-f", "a"], "unknown shorthand flag: 'f' in -f"),
        ("wait", ["--condition", "soon", "a"], "must be one of not-running, next-exit, removed, healthy"),
        ("attach", ["--detach-keys", "ctrl-nope", "a"], 'invalid argument "ctrl-nope" for "--detach-keys" flag'),
        ("update", ["--hostname", "x", "a"], "unknown flag: --hostname"),
        ("update", ["--blkio-weight", "-1", "a"], 'invalid argument "-1" for "--blkio-weight" flag'),
    ],
)
def test_nonsense(verb: str, argv: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(surface.load(f"container {verb}"), argv)
    assert text in str(caught.value)


def test_every_flag_of_update_is_one_of_its_limits() -> None:
    assert {flag.option for flag in surface.load("container update").flags} <= NAMES
