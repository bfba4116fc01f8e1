"""``--check``: everything that can be said about a Dockerfile without building it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from minidock.build.dockerfile import config, parsing, scopes
from minidock.build.dockerfile.instructions import Dockerfile, DockerfileError
from minidock.build.dockerfile.linting import Linter, Warned, check_text
from minidock.build.ignore import Ignore
from minidock.images.platforms import Platform
from minidock.spec.oci_image import ExecutionConfig


class Checked(NamedTuple):
    """The warnings, by line, and what makes the Dockerfile impossible to build, or None."""

    warnings: list[Warned]
    error: DockerfileError | None


def check(
    data: bytes,
    image: Callable[[scopes.Base], ExecutionConfig | None],
    build_platform: Platform,
    target_platform: Platform,
    *,
    given: Mapping[str, str] | None = None,
    target: str = "",
    ignore: Ignore | None = None,
) -> Checked:
    """Check the stages that ``target`` needs, or all without one.

    ``image`` gives the configuration of a base image; for None a stage is read as if it began with nothing.
    """
    linter = Linter()
    try:
        dockerfile = parsing.parse(data)
        linter = Linter(dockerfile.check)
        check_text(dockerfile, linter)
        known = scopes.arguments(dockerfile, given or {}, build_platform, target_platform, target)
        found = scopes.bases(dockerfile, known, linter)
        needed = scopes.needed(dockerfile, found, target)
        wanted = needed if target else range(len(dockerfile.stages))
        states: dict[int, config.State] = {}
        for index in wanted:
            base = found[index]
            parent = None if base.parent is None else states[base.parent]
            begin = image(base) if parent is None and base.image != scopes.SCRATCH else None
            state = config.State(dockerfile, known, begin, parent=parent, linter=linter, ignore=ignore)
            _read(dockerfile, index, state)
            states[index] = state
        linter.finish()
    except DockerfileError as error:
        return Checked(_sorted(linter), error)
    return Checked(_sorted(linter), None)


def _read(dockerfile: Dockerfile, index: int, state: config.State) -> None:
    for instruction in state.instructions(dockerfile.stages[index]):
        state.apply(instruction)


def _sorted(linter: Linter) -> list[Warned]:
    return sorted(linter.warnings, key=lambda warning: warning.line)
