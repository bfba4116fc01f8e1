"""After a power failure: nothing is torn, and what is to run runs."""

from __future__ import annotations

import pytest

from tests.conftest import wait_for
from tests.oracle import assert_sound
from tests.vm.inside.reboot.shared import ROOT, minidock, names, status


@pytest.mark.parametrize("name", ["always", "unless", "never-stopped", "late", "failing"])
def test_runs_again(name: str) -> None:
    wait_for(lambda: status(name) == "running 0", 60)


def test_found_as_it_was_cut_off() -> None:
    assert status("plain").startswith("exited ")
    assert not status("plain").endswith(" 0")
    assert status("made") == "created 0"
    assert names() == {"always", "unless", "plain", "failing", "stopped", "never-stopped", "made", "late"}


def test_all_of_it_goes() -> None:
    minidock("rm", "--force", "--volumes", *sorted(names()))
    minidock("rmi", "busybox")
    assert_sound(ROOT)
    minidock("system", "uninstall")
