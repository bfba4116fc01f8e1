"""Arguments before the first FROM, what FROM lines mean with them, and which stages need which. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from minidock.build.dockerfile import words
from minidock.build.dockerfile.instructions import Copy, Dockerfile, DockerfileError, From, Instruction, Run, Stage
from minidock.build.dockerfile.linting import Linter
from minidock.build.dockerfile.text import quote, suggestion
from minidock.errors import MinidockError
from minidock.images import platforms, references
from minidock.images.platforms import Platform

SCRATCH = "scratch"
MAX_TEXT = 16 << 20
"""All words of a build together do not become longer than this many characters."""


class Arguments:
    """What ARGs can be worth: ``given`` by whoever builds, and ``values`` by name of the platforms and global ARGs.

    ``names`` are those of the global ARGs, also without a value.
    """

    def __init__(self, given: Mapping[str, str], values: dict[str, str], names: frozenset[str]) -> None:
        self.given = dict(given)
        self.values = values
        self.names = names
        self._spent = 0

    def spend(self, size: int) -> None:
        """Count text that came of expansions. Raises DockerfileError when it is too much."""
        self._spent += size
        if self._spent > MAX_TEXT:
            raise DockerfileError(f"the variables of this Dockerfile expand to more than {MAX_TEXT >> 20} MiB")


class Base(NamedTuple):
    """What a stage is based on: ``parent``, the index of an earlier stage, or else ``image`` (``scratch``: nothing).

    ``platform`` is what ``--platform`` says, or None.
    """

    image: str
    parent: int | None
    platform: Platform | None


def arguments(
    dockerfile: Dockerfile,
    given: Mapping[str, str],
    build_platform: Platform,
    target_platform: Platform,
    target: str = "",
) -> Arguments:
    """What the ARGs before the first FROM are worth. Raises DockerfileError."""
    stage = target or dockerfile.stages[-1].name or "default"
    values = {"TARGETSTAGE": stage}
    for prefix, platform in (("BUILD", build_platform), ("TARGET", target_platform)):
        values |= {
            f"{prefix}PLATFORM": str(platform),
            f"{prefix}OS": platform.os,
            f"{prefix}OSVERSION": "",
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    values |= {name: value for name, value in given.items() if name in values}
    return _global(dockerfile, given, values)


def _global(dockerfile: Dockerfile, given: Mapping[str, str], values: dict[str, str]) -> Arguments:
    values = dict(values)
    names: set[str] = set()
    for instruction in dockerfile.arguments:
        for name, default in instruction.pairs:
            names.add(name)
            if name in given:
                values[name] = given[name]
            elif default is not None:
                values[name] = _expand(default, values, dockerfile.escape, instruction).text
    return Arguments(given, values, frozenset(names))


def _expand(word: str, values: Mapping[str, str], escape: str, place: Instruction) -> words.Expansion:
    try:
        return words.expand(word, values, escape)
    except words.WordError as error:
        raise located(str(error), place) from None


def located(reason: str, place: Instruction) -> DockerfileError:
    """An error of an instruction that could be read but makes no sense."""
    return DockerfileError(reason, place.line, place.end_line, text=reason)


def bases(dockerfile: Dockerfile, known: Arguments, linter: Linter | None = None) -> list[Base]:
    """What each stage is based on. Raises DockerfileError."""
    if linter is not None:
        _check_defaults(dockerfile, known, linter)
    found: list[Base] = []
    by_name: dict[str, int] = {}
    for stage in dockerfile.stages:
        place = stage.from_
        name = _expand(place.image, known.values, dockerfile.escape, place)
        _undefined(name, place, known, linter)
        if not name.text:
            raise located(f"base name ({place.image}) should not be blank", place)
        platform = _platform(place, known, dockerfile.escape, linter) if place.platform else None
        parent = by_name.get(name.text)
        if parent is None and name.text != SCRATCH:
            _check_reference(name.text, place)
        found.append(Base(name.text, parent, platform))
        if stage.name:
            by_name[stage.name] = stage.index
    return found


def _check_reference(name: str, place: From) -> None:
    try:
        references.parse(name)
    except MinidockError as error:
        why = f"repository name (library/{name.partition(':')[0]}) must be lowercase" if name != name.lower() else ""
        reason = f"invalid reference format: {why}" if why and "/" not in name else str(error)
        raise located(f"failed to parse stage name {quote(name)}: {reason}", place) from None


def _platform(place: From, known: Arguments, escape: str, linter: Linter | None) -> Platform:
    try:
        written = words.expand(place.platform, known.values, escape)
    except words.WordError as error:
        raise located(f"failed to process arguments for platform : {error}", place) from None
    _undefined(written, place, known, linter)
    if linter is not None and list(written.matched) == ["TARGETPLATFORM"] and not written.unmatched:
        _redundant(written.text, place, known, linter)
    near = next(filter(None, (suggestion(name, known.values) for name in written.unmatched)), "")
    if not written.text:
        raise located(f"empty platform value from expression {place.platform}{near}", place)
    try:
        platform = platforms.parse(written.text)
    except MinidockError as error:
        raise located(f"failed to parse platform {place.platform}: {error}{near}", place) from None
    is_constant = not written.matched and not written.unmatched
    is_named = platform.os in place.stage or platform.architecture in place.stage
    if linter is not None and is_constant and not is_named:
        linter.report("FromPlatformFlagConstDisallowed", place, quote(written.text))
    return platform


def _redundant(text: str, place: From, known: Arguments, linter: Linter) -> None:
    if text == known.values["TARGETPLATFORM"]:
        linter.report("RedundantTargetPlatform", place, place.platform)


def _undefined(found: words.Expansion, place: From, known: Arguments, linter: Linter | None) -> None:
    if linter is None:
        return
    declared = known.names | known.values.keys()
    for name in found.unmatched:
        if name not in declared:
            linter.undefined("UndefinedArgInFrom", place, name, declared)


def _check_defaults(dockerfile: Dockerfile, known: Arguments, linter: Linter) -> None:
    """Warn of FROM lines that name no image when nothing is given."""
    predefined = {name: value for name, value in known.values.items() if name not in known.names}
    try:
        values = _global(dockerfile, {}, predefined).values
        for stage in dockerfile.stages:
            name = words.expand(stage.from_.image, values, dockerfile.escape).text
            if not _is_reference(name):
                linter.report("InvalidDefaultArgInFrom", stage.from_, stage.from_.image)
    except (DockerfileError, words.WordError):
        return  # it fails for its own reason later


def _is_reference(name: str) -> bool:
    try:
        references.parse(name)
    except MinidockError:
        return False
    return True


def stage_names(dockerfile: Dockerfile) -> dict[str, int]:
    """Indexes by name, in lower case; of several stages with one name the last."""
    return {stage.name: stage.index for stage in dockerfile.stages if stage.name}


def sources(instruction: Instruction, names: Mapping[str, int], count: int) -> list[int]:
    """The stages that an instruction reads; see :func:`copy_source`. Raises DockerfileError."""
    if isinstance(instruction, Copy):
        number = copy_source(instruction, names, count)
        return [] if number is None else [number]
    if isinstance(instruction, Run):
        found = (names.get(mount.from_.lower()) for mount in instruction.mounts if mount.from_)
        return [number for number in found if number is not None]
    return []


def copy_source(instruction: Copy, names: Mapping[str, int], count: int) -> int | None:
    """The stage that ``COPY --from`` means by number or name, of ``count``; None: an image or a named context.

    Raises DockerfileError for a number that no stage has.
    """
    name = instruction.from_
    digits = name[1:] if name[:1] in ("+", "-") else name
    if not (digits.isascii() and digits.isdigit()):
        found = names.get(name.lower())
        if found is None and "$" in name:
            raise located(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global "
                "scope as a workaround",
                instruction,
            )
        return found
    number = int(name[:10])
    if not 0 <= number < count:
        raise located(f"invalid stage index {number}", instruction)
    return number


def target_stage(dockerfile: Dockerfile, target: str = "") -> int:
    """The index of the stage to build. Raises DockerfileError."""
    if not target:
        return len(dockerfile.stages) - 1
    found = stage_names(dockerfile).get(target.lower())
    if found is None:
        names = [stage.name for stage in dockerfile.stages if stage.name]
        raise DockerfileError(f"target stage {quote(target)} could not be found{suggestion(target, names)}")
    return found


def needed(dockerfile: Dockerfile, found: list[Base], target: str = "", replaced: Collection[int] = ()) -> list[int]:
    """Indexes of the stages that the target needs, itself included, in the order in which they can be built.

    A stage of ``replaced`` needs no other one: something else takes its place.
    Raises DockerfileError for a target that is not there, and for stages that need each other or one that comes later.
    """
    direct = []
    names = stage_names(dockerfile)
    for stage in dockerfile.stages:
        parent = found[stage.index].parent
        reads: dict[int, Instruction] = {} if parent is None else {parent: stage.from_}
        for instruction in stage.instructions:
            reads |= dict.fromkeys(sources(instruction, names, len(dockerfile.stages)), instruction)
        direct.append(reads)
    _refuse_circles(dockerfile.stages, direct)
    wanted, queue = set(), [target_stage(dockerfile, target)]
    while queue:
        index = queue.pop()
        if index in wanted:
            continue
        wanted.add(index)
        for source, instruction in () if index in replaced else direct[index].items():
            if source > index:
                raise _too_early(dockerfile, source, index, instruction)
            queue.append(source)
    return sorted(wanted)


def _too_early(dockerfile: Dockerfile, source: int, index: int, instruction: Instruction) -> DockerfileError:
    earlier, later = (dockerfile.stages[number].name or f"stage-{number}" for number in (source, index))
    return located(
        f'cannot copy from stage "{earlier}", it needs to be defined before current stage "{later}"', instruction
    )


def check_triggers(dockerfile: Dockerfile, index: int, triggers: Sequence[Instruction]) -> None:
    """Raise DockerfileError when what ONBUILD of a stage's base says needs the stage itself, or a later one."""
    names = stage_names(dockerfile)
    for instruction in triggers:
        for source in sources(instruction, names, len(dockerfile.stages)):
            if source == index:
                raise _circular(dockerfile.stages[index], instruction)
            if source > index:
                raise _too_early(dockerfile, source, index, instruction)


def _circular(stage: Stage, instruction: Instruction) -> DockerfileError:
    return located(f"circular dependency detected on stage: {stage.name or f'stage-{stage.index}'}", instruction)


def _refuse_circles(stages: tuple[Stage, ...], direct: list[dict[int, Instruction]]) -> None:
    """Raises DockerfileError if a stage needs itself."""
    done: set[int] = set()
    for stage in stages:
        open_: dict[int, Iterator[int]] = {}
        current = stage.index
        if current not in done:
            open_[current] = iter(direct[current])
        while open_:
            following = next(open_[current], None)
            if following is None:
                done.add(current)
                open_.popitem()
                current = next(reversed(open_), current)
            elif following in open_:
                raise _circular(stage, direct[current][following])
            elif following not in done:
                open_[following] = iter(direct[following])
                current = following
