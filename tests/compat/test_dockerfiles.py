"""Dockerfiles mean to minidock what they mean to Docker: the recorded corpus of tests/compat/dockerfiles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from minidock.build.dockerfile import config, parsing, scopes
from minidock.build.dockerfile.checking import check
from minidock.build.dockerfile.instructions import DockerfileError
from minidock.build.dockerfile.linting import Linter, check_text
from minidock.images.platforms import Platform
from minidock.spec.oci_image import ExecutionConfig, ImageConfig
from tests.compat import record_dockerfiles as corpus
from tests.compat.beside import PEERS

_AMD64 = Platform("linux", "amd64")
_CASES = {case.name: case for case in corpus.cases()}
_RECORDED = corpus.expected()
_IMAGES = {name: msgspec.convert(found, ExecutionConfig) for name, found in _RECORDED["bases"].items()}

WHEN_IT_RUNS = {
    "copy-flag-order",  # the build context has no such file
    *("here-run-herestring", "run-mount-secret-required"),
    *(name for name in _CASES if name.startswith("files-")),
}
"""Docker refuses these when it builds them, not when it reads them."""

OTHER_WORDS = {
    "from-platform-invalid",
    "lex-invalid-utf8-run",
    "run-mount-secret-from",  # Docker asks a registry for the image first
}
"""Refused by both, in other words."""

LINE_BEFORE = {"dir-check-twice", "dir-escape-twice"}
"""Docker names the line before the one that is wrong."""


def _ours(case: corpus.Case) -> corpus.Outcome:
    """What minidock makes of one, in the form of the record."""
    try:
        dockerfile = parsing.parse(case.data)
        arguments = scopes.arguments(dockerfile, case.args, _AMD64, _AMD64, case.target)
        found = scopes.bases(dockerfile, arguments)
        linter = Linter(dockerfile.check)
        check_text(dockerfile, linter)
        states: dict[int, config.State] = {}
        needed = scopes.needed(dockerfile, found, case.target)
        for index in needed:
            base = found[index]
            parent = None if base.parent is None else states[base.parent]
            begin = _IMAGES[base.image] if parent is None and base.image != scopes.SCRATCH else None
            states[index] = config.State(dockerfile, arguments, begin, parent=parent, linter=linter)
            for instruction in states[index].instructions(dockerfile.stages[index]):
                states[index].apply(instruction)
        linter.finish()
    except DockerfileError as error:
        outcome: corpus.Outcome = {"error": str(error)}
        if error.line:
            outcome["lines"] = [error.line, error.end_line]
        return outcome
    state = states[needed[-1]]
    made: corpus.Outcome = {"config": msgspec.to_builtins(state.config)}
    if state.author:
        made["author"] = state.author
    made["history"] = [[step.created_by, step.empty_layer] for step in state.history]
    checked = check(
        case.data,
        lambda name, _: ImageConfig("", "", config=_IMAGES[name]),
        _AMD64,
        _AMD64,
        given=case.args,
        target=case.target,
    )
    made["warnings"] = sorted([w.rule, w.detail, w.line, w.end_line] for w in checked.warnings)
    return made


@pytest.mark.parametrize("name", sorted(_CASES))
def test_means_what_it_means_to_docker(name: str) -> None:
    case, wanted = _CASES[name], _RECORDED["outcomes"][name]
    ours = _ours(case)
    if name in WHEN_IT_RUNS and "error" in wanted:
        assert "error" not in ours
    elif "error" in wanted:
        if name not in OTHER_WORDS:
            assert ours.get("error") == wanted["error"].replace("\n", "\\n")
        assert "error" in ours
        if "lines" in wanted and name not in LINE_BEFORE:
            assert ours["lines"] == wanted["lines"]
    else:
        assert ours == wanted


def test_there_are_enough() -> None:
    outcomes = _RECORDED["outcomes"]
    assert outcomes.keys() == _CASES.keys()
    assert len(outcomes) >= 150


def test_docker_still_says_so() -> None:
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    if corpus._docker("info").returncode != 0:
        pytest.skip("the peers' docker does not run: peers up")
    recorded, layers = _RECORDED["outcomes"], corpus.expected_layers()
    every = list(_CASES.values())[::24]
    with corpus.base_images(), ThreadPoolExecutor(3) as pool:
        for case, made in zip(every, pool.map(corpus.outcome, every), strict=True):
            assert made.pop("layers", None) == layers.get(case.name), case.name
            assert made == recorded[case.name], case.name
