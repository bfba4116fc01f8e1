"""Templates against the real Docker of the peers, asked now."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from minidock.cli.documents import typed
from minidock.cli.gotemplate import TemplateError, parse
from tests.compat.template_corpus import record

PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))


def test_same_as_the_peer() -> None:
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    docker = [str(PEERS), "docker"]
    if subprocess.run(
        [*docker, "image", "inspect", "busybox"], capture_output=True, timeout=60, check=False
    ).returncode:
        pytest.skip("the peers' docker does not run or has no image busybox")
    answers = record(docker)
    document = typed(answers["document"])
    different = []
    for template, output, complaint in answers["cases"]:
        try:
            got = [parse(template).render(document), ""]
        except TemplateError as error:
            got = ["", f"template parsing error: {error}"]
        if got != [output, complaint]:
            different.append((template, got, [output, complaint]))
    assert different == []
