"""Each fuzz target on its kept corpus and on mutations: some in every run, many with ``MINIDOCK_SOAK=1``."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.driver import CORPUS
from tests.fuzz.targets import TARGETS

SOAK = os.environ.get("MINIDOCK_SOAK") == "1"


@pytest.mark.parametrize("name", sorted(TARGETS))
@pytest.mark.timeout(7200 if SOAK else 300)
def test_target(name: str, tmp_path: Path) -> None:
    rounds, seed = (100_000, random.randrange(1 << 30)) if SOAK else (500, 1)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.driver", name, str(rounds), str(seed)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MINIDOCK_FUZZ_OUT": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-6000:]}\n(the input is in {tmp_path})"
    print(done.stdout)


def test_every_corpus_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
