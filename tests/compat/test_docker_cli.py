"""The peers' docker command, unmodified, against `minidock serve`: the answers that its own engine gives.

Every command has a line in the table of :mod:`tests.compat.suites.cli`, or a reason for having none. Lines that are
answered in another way are listed with their reasons, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tests.compat.beside import PEERS
from tests.compat.suites import cli

HERE = Path(__file__).parent
SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
RECORDED: list[cli.Answer] = [tuple(one) for one in json.loads((HERE / "suites" / "cli_answers.json").read_text())]
"""Docker's answers; `just record-docker-cli` writes them down."""
NO_LINE = {
    "buildx": "its own plugin",
    "bake": "buildx",
    "builder": "buildx, but for build and prune",
    "compose": "its own plugin: test_compose.py",
    "trust": "speaks with a notary, not with the engine",
    "search": "asks Docker Hub",
    "swarm": "minidock has no swarm",
    "plugin create": "minidock has no plugins",
    "plugin install": "asks Docker Hub",
}
"""Commands, or groups of them, without a line, and why; those of a group may have lines."""
SURFACE = json.loads((HERE / "docker_surface.json").read_text())["commands"]


def _command(line: str) -> str:
    """The command of a line, with the words of its group."""
    words = line.rpartition(" | ")[2].split()
    return max((name for name in SURFACE if words[: len(name.split())] == name.split()), key=len)


def _exceptions() -> dict[str, str]:
    """Lines that are answered in another way, with the reasons."""
    lines = (HERE / "suites" / "cli_exceptions.txt").read_text().splitlines()
    pairs = (line.partition(" # ") for line in lines if line and not line.startswith("#"))
    return {line: why for line, _, why in pairs}


def test_every_command_has_a_line_or_a_reason() -> None:
    tried = {_command(line) for line in cli.lines()}
    tried |= {alias for name in tried for alias in SURFACE[name]["aliases"]}
    leaves = {name for name in SURFACE if name and not any(other.startswith(f"{name} ") for other in SURFACE)}
    untried = {name for name in leaves - tried if not tried & set(SURFACE[name]["aliases"])}
    reasons = {name: next((key for key in NO_LINE if f"{name} ".startswith(f"{key} ")), "") for name in untried}
    assert [name for name, why in reasons.items() if not why] == []
    assert set(reasons.values()) == set(NO_LINE), "a reason that is none any more"


def test_exceptions_are_lines_with_reasons() -> None:
    found = _exceptions()
    assert set(found) <= set(cli.lines())
    assert all(found.values())


def _answers(engine: str) -> list[cli.Answer]:
    command = [sys.executable, "-m", "tests.compat.suites.cli", engine]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1], timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return cast("list[cli.Answer]", [tuple(one) for one in json.loads(done.stdout)])


def _different(theirs: list[cli.Answer], ours: list[cli.Answer]) -> dict[str, str]:
    return {
        line: f"{line}\n    docker   {one}\n    minidock {other}"
        for line, one, other in zip(cli.lines(), theirs, ours, strict=True)
        if (one[0], one[1], one[2].casefold()) != (other[0], other[1], other[2].casefold())
    }


@pytest.mark.timeout(600)
def test_same_answers() -> None:
    if not PEERS.exists() or not cli.PROGRAM.exists():
        pytest.skip("the peers' docker is not here")
    different = _different(RECORDED, _answers("minidock"))
    assert set(different) == set(_exceptions()), "\n".join(["", *different.values()])


@pytest.mark.skipif(not SOAK, reason="takes minutes: MINIDOCK_SOAK=1")
@pytest.mark.timeout(900)
def test_docker_still_says_so() -> None:
    if not PEERS.exists() or not cli.PROGRAM.exists():
        pytest.skip("the peers' docker is not here")
    assert _different(RECORDED, _answers("docker")) == {}
