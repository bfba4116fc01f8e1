"""A part of the corpus of tests/compat/dockerfiles, built by the peers' buildx: what Docker made of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compat import corpus_files
from tests.compat import record_dockerfiles as corpus
from tests.compat.buildx import Docker, docker, module_roots
from tests.compat.test_dockerfile_images import INTENDED, check, outcome
from tests.compat.test_dockerfiles import WHEN_IT_RUNS

__all__ = ["docker", "module_roots"]
_INTENDED = INTENDED.keys() - {"files-mount-bind-modes"}
"""A client's files have no owners, as in Docker."""
_CASES = {case.name: case for case in corpus.cases()}
_RECORDED = corpus.expected()["outcomes"]
_WITH_FILES = [name for name, layers in corpus.expected_layers().items() if layers or name in WHEN_IT_RUNS]
_SAMPLE = (
    sorted(_RECORDED)
    if os.environ.get("MINIDOCK_SOAK") == "1"
    else sorted({*sorted(_RECORDED)[::90], *sorted(_WITH_FILES)[::40]})
)


@pytest.fixture(scope="module")
def files(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name, changes in corpus.BASES.items():
        docker.engine.images.import_(corpus.base_tar(name), repository=name, changes=changes)
    return corpus_files.context(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("name", _SAMPLE)
def test_makes_what_docker_makes(docker: Docker, files: Path, tmp_path: Path, name: str) -> None:
    case, wanted = _CASES[name], _RECORDED[name]
    options = [word for key, value in case.args.items() for word in ("--build-arg", f"{key}={value}")]
    if case.target:
        options += ["--target", case.target]
    iid = tmp_path / "iid"
    failed = 1 if "error" in wanted else 0
    options += ["--iidfile", str(iid)]
    if case.context == "files":
        docker.build(files, *options, "-f", "-", ".", data=case.data, code=failed)
    else:
        docker.build(tmp_path, *options, "-", data=corpus.context(case), code=failed)
    if not failed:
        check(name, outcome(docker.engine, iid.read_text()), _INTENDED)
