"""``--check``: everything that can be said about a Dockerfile without building it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from minidock.build.dockerfile import config, parsing, scopes
from minidock.build.dockerfile.instructions import Copy, Dockerfile, DockerfileError, Instruction, Run
from minidock.build.dockerfile.linting import Linter, Warned, check_text
from minidock.build.ignore import Ignore
from minidock.images.platforms import Platform
from minidock.spec.oci_image import ImageConfig


class Checked(NamedTuple):
    """The warnings, by line, and what makes the Dockerfile impossible to build, or None."""

    warnings: list[Warned]
    error: DockerfileError | None


def check(
    data: bytes,
    image: Callable[[str, Platform | None], ImageConfig | None],
    build_platform: Platform,
    target_platform: Platform,
    *,
    given: Mapping[str, str] | None = None,
    target: str = "",
    ignore: Ignore | None = None,
) -> Checked:
    """Check the stages that ``target`` needs, or all without one.

    ``image`` gives what an image is, by its name and the platform that is named; for None a stage is read as if it
    began with nothing.
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
            begin = None
            if parent is None and base.image != scopes.SCRATCH:
                made = image(base.image, base.platform)
                begin = None if made is None else made.config
                from_ = dockerfile.stages[index].from_
                _check_platform(linter, from_, base.image, base.platform or target_platform, made)
            state = config.State(dockerfile, known, begin, parent=parent, linter=linter, ignore=ignore)
            for instruction in _read(dockerfile, index, state):
                for name in _images(dockerfile, instruction):
                    _check_platform(linter, instruction, name, target_platform, image(name, None))
            states[index] = state
        linter.finish()
    except DockerfileError as error:
        return Checked(_sorted(linter), error)
    return Checked(_sorted(linter), None)


def _read(dockerfile: Dockerfile, index: int, state: config.State) -> Iterator[Instruction]:
    for instruction in state.instructions(dockerfile.stages[index]):
        yield state.apply(instruction).instruction


def _images(dockerfile: Dockerfile, instruction: Instruction) -> list[str]:
    """The images that files come from; a name that is a stage's is none."""
    names = scopes.stage_names(dockerfile)
    if isinstance(instruction, Run):
        return [mount.from_ for mount in instruction.mounts if mount.from_ and mount.from_.lower() not in names]
    if not isinstance(instruction, Copy) or not instruction.from_:
        return []
    found = scopes.copy_source(instruction, names, len(dockerfile.stages))
    return [instruction.from_] if found is None else []


def _check_platform(
    linter: Linter, place: Instruction, name: str, expected: Platform, image: ImageConfig | None
) -> None:
    if image is not None:
        linter.platform(place, name, expected, Platform(image.os, image.architecture, image.variant))


def _sorted(linter: Linter) -> list[Warned]:
    return sorted(linter.warnings, key=lambda warning: warning.line)
