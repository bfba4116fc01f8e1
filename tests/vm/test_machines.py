"""The suites inside machines; ``MINIDOCK_VM`` names the machines, with commas between them, or is ``all``.

``ci`` has the core of them, and ``speed`` no tests: ``benches/machine.py`` is for it.
"""

from __future__ import annotations

import os

import pytest

from tests.vm.boot import run
from tests.vm.machines import MACHINES

CHOSEN = os.environ.get("MINIDOCK_VM", "")
NAMES = (
    [name for name in MACHINES if name not in ("ci", "speed")]
    if CHOSEN == "all"
    else [name for name in CHOSEN.split(",") if name]
)
SECONDS = float(os.environ.get("MINIDOCK_VM_SECONDS", "3600"))


@pytest.mark.skipif(not NAMES, reason="no machine is chosen: set MINIDOCK_VM (just vm)")
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("name", NAMES or [""])
def test_the_suites(name: str, subtests: pytest.Subtests) -> None:
    """Each test inside is a part of this one."""
    machine = MACHINES[name]
    seen = 0
    for result in run(machine, machine.tests, SECONDS):
        seen += 1
        with subtests.test(f"{name}: {result.test}"):
            if result.outcome == "skipped":
                pytest.skip(result.reason)
            assert result.outcome == "passed", result.reason
    assert seen
