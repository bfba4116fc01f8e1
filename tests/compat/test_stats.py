"""``stats`` beside the real Docker: the same fields, and the same figures for containers that do the same."""

from __future__ import annotations

import json
import os
import socket
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import minidock
from tests.compat.beside import Side, both, words
from tests.conftest import Cli

FIELDS = ("Container", "Name", "ID", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


def start(side: Side) -> None:
    side.start("a", "-m", "64m", "--pids-limit", "50", "IMAGE", "sleep", "1000")
    side.start("b", "IMAGE", "sh", "-c", "sleep 1000 & sleep 2000 & wait")
    side.raw("create", "--name", "@c", "--network", "none", "IMAGE", "true")


def test_figures(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        for side in sides:
            start(side)
        for argv in (
            ("--format", "{{.Container}} {{.Name}} {{.ID}} {{.PIDs}} {{.NetIO}}", "@a", "@b", "@c"),
            ("--format", "table {{.Name}}\t{{.PIDs}}", "@b"),
            ("--no-trunc", "--format", "{{.ID}}", "@c"),
            ("--format", " ".join(f"{{{{.{field}}}}}" for field in FIELDS), "@c"),
            ("@c",),
            ("@c", "@c"),
        ):
            expected, got = (side("stats", "--no-stream", *argv) for side in sides)
            assert got[0] == expected[0] == 0
            assert words(got[1]) == words(expected[1]), argv
        limits = [side("stats", "--no-stream", "--format", "{{.MemUsage}}", "@a", "@b")[1] for side in sides]
        assert [line.split(" / ")[1] for line in limits[1].splitlines()] == [
            line.split(" / ")[1] for line in limits[0].splitlines()
        ]
        forms = [json.loads(side.raw("stats", "--no-stream", "--format", "json", "@a")[1]) for side in sides]
        assert set(forms[0]) == set(FIELDS)
        assert set(forms[1]) == {*FIELDS, "Pressure"}


def test_words(cli_busybox: Cli) -> None:
    with both(cli_busybox) as sides:
        for side in sides:
            side.start("a", "IMAGE", "sleep", "1000")
        for argv in (
            ["@nosuch"],
            ["@nosuch", "@a"],
            ["@a", "--format", "{{.Nope}}"],
            ["@a", "--format", "{{"],
            ["--foo"],
        ):
            expected, got = (side("stats", "--no-stream", *argv) for side in sides)
            assert (got[0] != 0, got[1]) == (expected[0] != 0, expected[1]), argv
            assert got[2], argv
        expected, got = (side("stats", "--no-stream", "@nosuch") for side in sides)
        assert got[2] == expected[2]


class _Unix(HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        # The socket is in the peers' root, and its path may be too long for an address.
        folder = os.open(PEERS_RUN, os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/peers-docker.sock")
        finally:
            os.close(folder)


PEERS_RUN = Path(os.environ.get("PEERS_ROOT", "/var/tmp/peers")) / "run"


def api(path: str) -> Any:
    """What the peers' Docker Engine answers."""
    connection = _Unix("localhost", timeout=30)
    connection.request("GET", f"/v1.51{path}")
    response: HTTPResponse = connection.getresponse()
    assert response.status == 200, response.read()
    body = json.loads(response.read())
    connection.close()
    return body


def shape(value: Any, path: str = "") -> dict[str, str]:
    """The type at each path; those of maps that the kernel fills are left out."""
    if isinstance(value, dict):
        found = {path: "object"}
        for key, item in value.items():
            found |= shape(item, f"{path}.{key}")
        return found
    if isinstance(value, list):
        return {path: "list", **(shape(value[0], f"{path}[]") if value else {})}
    return {path: type(value).__name__}


def test_the_api_body(cli_busybox: Cli, engine: minidock.Engine) -> None:
    """The body of the Engine API: the same keys with the same types, for containers that run and that do not."""
    with both(cli_busybox) as (docker, ours):
        for side in (docker, ours):
            start(side)
        for name in ("a", "b", "c"):
            expected = api(f"/containers/{docker.prefix}{name}/stats?stream=false")
            got = engine.containers.get(ours.prefix + name).stats(interval=0.05).body()
            theirs, own = shape(expected), shape(got)
            disks = ".blkio_stats.io_service"
            differ = {key for key in theirs.keys() ^ own.keys() if not key.startswith(disks)}
            assert differ == set(), name
            assert {key: own[key] for key in own if key in theirs} == {key: theirs[key] for key in own if key in theirs}
            for key in ("limit", "pids_stats"):
                assert got["memory_stats"].get(key) == expected["memory_stats"].get(key)
            assert got["pids_stats"] == expected["pids_stats"]
