"""After a power failure: nothing is torn, and what is to run runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.oracle import assert_sound
from tests.vm.inside.reboot.shared import ROOT, minidock, names, status


@pytest.mark.parametrize("name", ["always", "unless", "never-stopped", "late", "failing", "sliced"])
def test_runs_again(name: str) -> None:
    wait_for(lambda: status(name) == "running 0", 60)


def test_found_as_it_was_cut_off() -> None:
    assert status("plain").startswith("exited ")
    assert not status("plain").endswith(" 0")
    assert status("made") == "created 0"
    assert names() == {"always", "unless", "plain", "failing", "stopped", "never-stopped", "made", "late", "sliced"}


def test_uninstall() -> None:
    """The units go, whatever they are doing, and containers run on."""
    before = [minidock("inspect", "--format", "{{.State.Pid}}", name) for name in ("always", "sliced")]
    minidock("system", "uninstall")
    for unit in ("minidock.service", "minidock-api.socket", "minidock-api.service"):
        words = ["systemctl", "show", "--property=LoadState,ActiveState", unit]
        found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        assert sorted(found) == ["ActiveState=inactive", "LoadState=not-found"], unit
    assert list(Path("/etc/systemd/system").glob("**/minidock*")) == []
    assert not Path("/run/minidock.sock").exists()
    assert [minidock("inspect", "--format", "{{.State.Pid}}", name) for name in ("always", "sliced")] == before
    assert status("always") == "running 0"


def test_all_of_it_goes() -> None:
    minidock("rm", "--force", "--volumes", *sorted(names()))
    minidock("rmi", "busybox")
    assert_sound(ROOT)
