"""The corpus of tests/compat/dockerfiles, built: each image has the files, configuration and history of Docker's."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import minidock
from minidock.errors import MinidockError
from tests.compat import corpus_files
from tests.compat import record_dockerfiles as corpus
from tests.compat.test_dockerfiles import WHEN_IT_RUNS
from tests.conftest import roots_of_their_own
from tests.integration.test_load import files_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_CASES = {case.name: case for case in corpus.cases()}
_RECORDED = corpus.expected()["outcomes"]
_LAYERS = corpus.expected_layers()
_FILES = [name for name in sorted(_CASES) if _LAYERS.get(name) or name in WHEN_IT_RUNS]
_OTHERS = [name for name, layers in _LAYERS.items() if not layers and name not in _FILES]
_BUILT = sorted([*_FILES, *(_OTHERS if os.environ.get("MINIDOCK_SOAK") == "1" else _OTHERS[::4])])
"""Those with files, and some without: what they mean test_dockerfiles.py knows, and which of them are refused."""
_COMMENT = "buildkit.dockerfile.v0"

INTENDED = {
    "files-mount-bind-modes": "the context's files have the host's owners in a bind, and root in Docker",
    "files-mount-over-etc": "hosts and resolv.conf are there although something is mounted on /etc",
}
"""Other files than Docker's, as docs/build.md says."""


class Builder:
    """An engine with the base images, and the context of files."""

    def __init__(self, engine: minidock.Engine, directory: Path) -> None:
        self._engine = engine
        self._directory = directory

    def build(self, case: corpus.Case) -> corpus.Outcome:
        """Build one; what it is, in the form of the record."""
        options: dict[str, Any] = {"args": case.args, "target": case.target, "network": "none"}
        if case.context == "files":
            image = self._engine.images.build(self._directory, dockerfile=case.data, **options)
        else:
            image = self._engine.images.build(corpus.context(case), **options)  # type: ignore[arg-type]
        return outcome(self._engine, image.id)


def outcome(engine: minidock.Engine, image: str) -> corpus.Outcome:
    """What an image is, in the form of the record."""
    archive = b"".join(engine.images.save(image))
    files = files_of(archive)
    manifest = json.loads(files["manifest.json"])[0]
    config = json.loads(files[manifest["Config"]])
    below = sum(step.get("comment") != _COMMENT and not step.get("empty_layer") for step in config["history"])
    made: corpus.Outcome = {"config": config["config"]}
    if config.get("author"):
        made["author"] = config["author"]
    made["history"] = [
        [step["created_by"], bool(step.get("empty_layer"))]
        for step in config["history"]
        if step.get("comment") == _COMMENT
    ]
    made["layers"] = corpus_files.layers(archive, below)
    return made


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """One engine for all: what each test makes is its own image."""
    directory = corpus_files.context(tmp_path_factory.mktemp("corpus"))
    with roots_of_their_own({"bridge": "none"}) as roots:
        root, run = str(roots.data), str(roots.run)
        with minidock.Engine(data_root=root, run_root=run, config=str(roots.config)) as engine:
            for name, changes in corpus.BASES.items():
                engine.images.import_(corpus.base_tar(name), repository=name, changes=changes)
            yield Builder(engine, directory)


def shown(entries: list[str]) -> list[str]:
    """Without /etc, which Docker's RUN touches where it mounts files, and /, of which Docker's layers say nothing."""
    odd = {'"."'} if any(' "etc/' in entry for entry in entries) else {'"."', '"etc"'}
    return [entry for entry in entries if not (entry.startswith("d ") and entry.rpartition(" ")[2] in odd)]


@pytest.mark.parametrize("name", _BUILT)
def test_makes_what_docker_makes(builder: Builder, name: str) -> None:
    case, wanted = _CASES[name], _RECORDED[name]
    if "error" in wanted:
        with pytest.raises(MinidockError):
            builder.build(case)
        return
    check(name, builder.build(case))


def check(name: str, made: corpus.Outcome, intended: Collection[str] = INTENDED) -> None:
    """Compare what was made with the record; ``intended`` have other files."""
    layers, theirs = ([shown(layer) for layer in found] for found in (made.pop("layers"), _LAYERS[name]))
    assert (layers != theirs) == (name in intended), (layers, theirs)
    assert made == {key: value for key, value in _RECORDED[name].items() if key != "warnings"}


def test_all_are_recorded() -> None:
    assert _LAYERS.keys() == {name for name, made in _RECORDED.items() if "error" not in made}
