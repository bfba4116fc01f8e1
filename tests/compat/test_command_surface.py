"""Every command, alias and flag of the real docker exists here, or is owned by a reason."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from minidock.cli import surface
from minidock.cli.flags import Flag
from minidock.cli.main import GLOBAL, run
from tests.compat.docker_surface import Surface, walk

SNAPSHOT = Path(__file__).with_name("docker_surface.json")
PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))

_SURFACE: Surface = json.loads(SNAPSHOT.read_text())
_COMMANDS = sorted(_SURFACE["commands"])
_IMPLEMENTED = [name for name in _COMMANDS if surface.canonical(name) in surface.IMPLEMENTED]
_ELSEWHERE = [name for name in _COMMANDS if name not in _IMPLEMENTED and name and name not in surface.GROUPS]

_VALUES = {
    "int": "1",
    "uint16": "1",
    "decimal": "1",
    "bytes": "1m",
    "duration": "1s",
    "filter": "a=b",
    "stream": "stdin",
}


def _flags(name: str) -> dict[str, Flag]:
    return surface.load(surface.canonical(name)).long if name else GLOBAL.long


@pytest.mark.parametrize("name", [*_IMPLEMENTED, ""])
def test_flags_are_docker_s(name: str) -> None:
    """Each flag of docker's command is declared, under the same short form."""
    ours = _flags(name)
    for flag, short in _SURFACE["commands"][name]["flags"].items():
        declared = ours.get(flag.removeprefix("--"))
        assert declared is not None, f"{name}: {flag} is missing"
        assert declared.short == (short or "").removeprefix("-"), f"{name}: {flag}"


@pytest.mark.parametrize("name", _IMPLEMENTED)
def test_aliases_are_docker_s(name: str) -> None:
    for alias in _SURFACE["commands"][name]["aliases"]:
        assert surface.canonical(alias) == surface.canonical(name)


@pytest.mark.parametrize("name", _ELSEWHERE)
def test_the_rest_is_owned(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A command that is not here is refused in one line that names the reason, whatever its flags."""
    reason = surface.reason_for(name)
    assert reason is not None, f"{name} is neither here nor on a list"
    for extra in ([], ["--help"], ["--some-flag", "x"]):
        assert run([*name.split(), *extra]) == 125
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("minidock: '")
        assert reason.text in err


@pytest.mark.parametrize("name", [*_IMPLEMENTED, ""])
def test_flags_to_come_are_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A flag of docker's that has no effect here is an error, never parsed and ignored."""
    for flag in {id(flag): flag for flag in _flags(name).values() if flag.reason is not None}.values():
        assert flag.reason is not None
        if flag.kind == "bool":
            words = [f"--{flag.name}={'false' if flag.harmless else 'true'}"]
        else:
            words = [f"--{flag.name}", _VALUES.get(flag.kind, "x")]
        argv = [*words, "ps"] if name == "" else [*name.split(), *words, "x"]
        assert run(argv) == 125
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("minidock: ")
        assert f"--{flag.name}" in err
        assert flag.reason.text in err


def test_the_list_names_nothing_that_is_here() -> None:
    """What is implemented has no reason for being absent."""
    for name in (*surface.IMPLEMENTED, *surface.ALIASES):
        assert surface.reason_for(name) is None, name


def test_the_list_names_docker_s_commands() -> None:
    """Nothing on the list is invented."""
    assert surface.NEVER.keys() <= set(_COMMANDS)


def test_snapshot_is_the_peer_s() -> None:
    """The snapshot is what the peers' docker says now."""
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    version = subprocess.run([PEERS, "docker", "--version"], capture_output=True, text=True, timeout=60, check=False)
    if version.returncode != 0:
        pytest.skip("the peers' docker does not run: peers up")
    assert walk([str(PEERS), "docker"]) == _SURFACE
