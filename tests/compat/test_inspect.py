"""``inspect`` beside the real Docker: the same keys with the same types, and the same values but for ids and paths."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compat.beside import Side, both
from tests.conftest import Cli, wait_for

OPTIONS = [
    *("-e", "A=1", "-m", "32m", "--memory-swap", "64m", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "9"),
    *("--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--label", "a=b", "--ulimit", "nofile=64:128", "--init"),
    *("--device", "/dev/null:/dev/zip:r", "--sysctl", "net.core.somaxconn=9", "--shm-size", "1m", "--read-only"),
    *("--security-opt", "no-new-privileges", "-u", "1", "-w", "/tmp", "--entrypoint", "sleep", "--stop-signal", "USR1"),
    *("--stop-timeout", "4", "--hostname", "h", "--log-opt", "max-size=1m", "--group-add", "7"),
    *("--oom-score-adj", "9", "--restart", "on-failure:3", "--cpuset-cpus", "0"),
]
OWN = {".State.Usage": "what the last run used", ".GraphDriver.Data.MergedDir": "only the container sees it merged"}
"""Keys that one of the two has alone, on purpose."""
OTHERWISE = (
    ".Id", ".Created", ".Image", ".Name", ".ResolvConfPath", ".HostnamePath", ".HostsPath", ".LogPath", ".Config.Image",
    ".Config.Hostname", ".State.Pid", ".State.StartedAt", ".State.FinishedAt", ".GraphDriver.Data",
    ".HostConfig.Runtime", ".HostConfig.CgroupParent", ".HostConfig.MaskedPaths", ".HostConfig.ReadonlyPaths",
    ".NetworkSettings.Sandbox",
    ".NetworkSettings.Networks.none.NetworkID", ".NetworkSettings.Networks.none.EndpointID", ".SizeRootFs",
    ".HostConfig.LogConfig.Config", ".AppArmorProfile",
)  # fmt: skip
"""Values that are each engine's own."""


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Value by path; lists are values."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= leaves(item, f"{path}.{key}")
        return found or {path: {}}
    return {path: value}


def nothing(value: Any) -> bool:
    """Go's nil and empty slices and maps: which one Docker prints depends on who made the container."""
    return value is None or value in ([], {})


def documents(sides: tuple[Side, Side], *flags: str) -> list[dict[str, Any]]:
    return [leaves(json.loads(side.raw("inspect", *flags, "@a")[1])[0]) for side in sides]


def compare(expected: dict[str, Any], got: dict[str, Any]) -> None:
    apart = {key for key in expected.keys() ^ got.keys() if not key.startswith(tuple(OWN))}
    apart = {key for key in apart if not nothing(expected.get(key, got.get(key)))}
    assert not apart
    for key in expected.keys() & got.keys():
        if key.startswith(OTHERWISE):
            assert isinstance(got[key], type(expected[key])) or nothing(expected[key]), key
        elif not (nothing(got[key]) and nothing(expected[key])):
            assert got[key] == expected[key], key


@pytest.mark.parametrize("options", [[], OPTIONS], ids=["plain", "options"])
def test_each_state(cli_busybox: Cli, options: list[str]) -> None:
    command = ["1000"] if options else ["sleep", "1000"]
    with both(cli_busybox) as sides:
        for side in sides:
            code, _, error = side.raw("create", "--name", "@a", "--network", "none", *options, "IMAGE", *command)
            assert code == 0, error
        compare(*documents(sides))
        for side in sides:
            side.raw("start", "@a")
        compare(*documents(sides))
        for side in sides:
            side.raw("pause", "@a")
        compare(*documents(sides, "-s"))
        for side in sides:
            side.raw("unpause", "@a")
            side.raw("update", "--restart", "no", "@a")
            side.raw("kill", "@a")
            wait_for(lambda side=side: side("inspect", "-f", "{{.State.Status}}", "@a")[1] == "exited\n", 20)
        compare(*documents(sides))


def test_interactive(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        for side in sides:
            side.raw("create", "--rm", "-it", "--name", "@a", "--network", "none", "IMAGE")
        compare(*documents(sides))


def test_failed_starts(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        for side in sides:
            side.raw("run", "-d", "--name", "@a", "--network", "none", "IMAGE", "nosuch")
        found = documents(sides)
        for document in found:
            assert "nosuch" in document.pop(".State.Error")
        compare(*found)


def test_formats_and_words(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        for side in sides:
            side.start("a", "-e", "A=1", "-l", "x=y", "IMAGE", "sleep", "1000")
        for argv in (
            ["-f", "{{.Name}} {{.State.Status}} {{.RestartCount}} {{json .Args}} {{.Path}}", "@a"],
            ["-f", "{{range .Config.Env}}{{.}}{{end}} {{.Config.Labels}} {{json .Mounts}} {{.ExecIDs}}", "@a"],
            ["-f", "{{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig.Type}} {{len .HostConfig.Devices}}", "@a"],
            ["-f", "{{.State.Health}}", "@a"],
            ["-f", "{{.Nope}}", "@a"],
            ["-f", "{{.Name", "@a"],
            ["-f", "{{.Name}}", "@a", "@nosuch"],
            ["@nosuch"],
            ["--type", "image", "@a"],
            ["--type", "container", "IMAGE"],
            ["--type", "nosuch", "@a"],
            [],
        ):
            expected, got = (side("inspect", *argv) for side in sides)
            assert (got[0] != 0, got[1].strip()) == (expected[0] != 0, expected[1].strip()), argv
            assert bool(got[2]) == bool(expected[2]), argv
