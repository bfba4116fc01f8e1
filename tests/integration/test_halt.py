"""``system stop``: before a shutdown everything is stopped, and it ends by itself: its unit sets no limit."""

from __future__ import annotations

import json
import time

from tests.conftest import Cli, Roots, wait_for

_ENDS = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"
_IGNORES = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


def started(cli: Cli, name: str, script: str, *flags: str) -> None:
    cli.ok("run", "-d", "--name", name, "--network", "none", *flags, "busybox", "sh", "-c", script)
    wait_for(lambda: "ready" in cli.ok("logs", name), 30)


def state(cli: Cli, name: str) -> str:
    return cli.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name).strip()


def test_each_by_its_own_timeout(cli_busybox: Cli) -> None:
    """The longest that there is, too: more milliseconds than one poll(2) takes."""
    cli = cli_busybox
    started(cli, "longest", _ENDS, "--stop-timeout", str((1 << 31) - 1))
    started(cli, "paused", _ENDS, "--restart", "always")
    started(cli, "deaf", _IGNORES, "--stop-timeout", "1")
    cli.ok("pause", "paused")
    assert sorted(cli.ok("system", "stop", timeout=60).split()) == ["deaf", "longest", "paused"]
    assert [state(cli, name) for name in ("longest", "paused", "deaf")] == ["exited 7", "exited 7", "exited 137"]
    assert cli.ok("system", "stop") == ""
    # Nobody has stopped it for good.
    assert cli.ok("system", "restore").split() == ["paused"]
    cli.ok("rm", "-f", "longest", "paused", "deaf")


def test_it_ends_before_a_container_that_never_does(cli_busybox: Cli, roots: Roots) -> None:
    cli = cli_busybox
    roots.config.write_text(json.dumps({**json.loads(roots.config.read_text()), "shutdown-timeout": 1}))
    started(cli, "deaf", _IGNORES, "--stop-timeout", "-1")
    began = time.monotonic()
    done = cli("system", "stop")
    assert time.monotonic() - began < 30
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"minidock: stop deaf: it still runs\n"
    cli.ok("rm", "-f", "deaf")
