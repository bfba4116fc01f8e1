"""kill -9 of any process at the system calls that make networks: the next command works, and nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests import net
from tests.conftest import Cli, Roots, wait_for
from tests.faults.state import assert_clean, containers

STEPS = 60 if os.environ.get("MINIDOCK_SOAK") == "1" else 4

# Netlink messages, the way into the container's namespace, ports, and the files and locks in between.
CALLS = ["sendto", "sendmsg", "setns", "bind", "listen", "getsockname", "flock", "rename,renameat,renameat2"]


def _strace(cli: Cli, inject: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    strace = shutil.which("strace")
    assert strace, "strace is missing: apt-get install strace (just setup does it)"
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"inject={inject}", *cli.argv, *args]
    return subprocess.run(command, env=cli.env, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)


def _veths() -> set[str]:
    return {name for name in net.interfaces() if name.startswith("veth")}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.timeout(300)
def test_process_killed_at_a_system_call(net_cli: Cli, net_roots: Roots, call: str) -> None:
    """Whichever process makes the call for the n-th time dies there, between interface and rules, too."""
    net_cli.ok("network", "create", "web")
    before, port = _veths(), net.free_port()
    words = ["run", "--rm", "--network", "web", "-p", f"{port}:80", "busybox"]
    for when in [1, 2, 3, 5, 8, 12, *range(16, 200, 4)][:STEPS]:
        _strace(net_cli, f"{call}:signal=SIGKILL:when={when}", *words, "true")
    for line in containers(net_cli):
        net_cli("rm", "-f", line["ID"])
    assert_clean(net_cli, net_roots)
    wait_for(lambda: _veths() <= before, 5, "the end of the interfaces")
    assert net_cli.ok(*words, "hostname", "-i").strip()
    net_cli.ok("network", "rm", "web")


@pytest.mark.parametrize("call", ["sendto", "setns", "bind", "socket"])
@pytest.mark.parametrize("error", ["ENOBUFS", "EPERM"])
@pytest.mark.timeout(300)
def test_error_of_a_system_call(net_cli: Cli, net_roots: Roots, call: str, error: str) -> None:
    """One failing call is one line and 125, or the run does without it; a network is made whole or not at all."""
    for number, when in enumerate((1, 2, 4)):
        name = f"web{number}"
        for words in (["network", "create", name], ["run", "--rm", "--network", name, "-p", "80", "busybox", "true"]):
            done = _strace(net_cli, f"{call}:error={error}:when={when}", *words)
            text = done.stderr.decode()
            assert "Traceback" not in text
            if done.returncode:
                assert len(text.strip().splitlines()) == 1, text
            if words[0] == "network" and done.returncode:
                net_cli.ok("network", "create", name)
        assert done.returncode in (0, 125), (done.returncode, text)
        net_cli.ok("network", "rm", name)
    assert_clean(net_cli, net_roots)
