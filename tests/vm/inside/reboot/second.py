"""After a reboot: everything was stopped in order, and what is to run runs by the unit of `system install`."""

from __future__ import annotations

import http.client
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.vm.inside.reboot.shared import minidock, names, status


def said(name: str) -> list[str]:
    return Path(f"/var/lib/minidock/volumes/{name}/_data/said").read_text().split()


def test_the_unit_did_it() -> None:
    assert (
        subprocess.run(["systemctl", "is-active", "minidock.service"], check=False, capture_output=True).stdout
        == b"active\n"
    )
    log = subprocess.run(
        ["journalctl", "--boot", "--unit=minidock.service", "--output=cat"], check=True, capture_output=True, text=True
    )
    assert {"always", "unless", "never-stopped", "sliced"} <= set(log.stdout.split())


@pytest.mark.parametrize("name", ["always", "unless"])
def test_started_again(name: str) -> None:
    wait_for(lambda: said(name)[-1] == "hello", 30)
    # Each got its stop signal, and time for what it had to do.
    assert said(name) == ["hello", "bye", "hello"]
    assert status(name) == "running 0"
    assert minidock("port", name, "80").startswith("0.0.0.0:")


def test_a_slice_is_stopped_afterwards() -> None:
    """The container in it has been stopped by minidock.service, with its own signal, and had the time for it."""
    wait_for(lambda: said("sliced")[-1] == "hello", 30)
    assert said("sliced") == ["hello", "bye", "hello"]
    assert status("sliced") == "running 0"


@pytest.mark.parametrize("name", ["plain", "failing"])
def test_found_stopped(name: str) -> None:
    assert said(name) == ["hello", "bye"]
    assert status(name) == "exited 0"


def test_the_others() -> None:
    assert status("stopped") == "exited 137"
    assert status("never-stopped") == "running 0"
    assert status("made") == "created 0"
    assert "leaving" not in names()


def test_the_socket_is_there() -> None:
    """The first request starts the server."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(120)
    connection.sock.connect("/run/minidock.sock")
    connection.request("GET", "/_ping")
    assert connection.getresponse().read() == b"OK"
    connection.close()
    # A restart of the server is nothing to a container.
    pid = minidock("inspect", "--format", "{{.State.Pid}}", "always")
    subprocess.run(["systemctl", "restart", "minidock-api.service"], check=True)
    assert minidock("inspect", "--format", "{{.State.Pid}}", "always") == pid


def test_power_fails_next() -> None:
    """What runs when the power fails, and what has just been made."""
    minidock("run", "-d", "--name", "late", "--restart", "on-failure", "-v", "late:/data", "busybox", "sleep", "100000")
    minidock("start", "failing", "plain")
    assert status("late") == "running 0"
