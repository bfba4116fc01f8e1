"""An image of Python as what a build carries out: its stages in order, as those of a Dockerfile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from minidock.build import contexts
from minidock.build.contexts import BuildContext
from minidock.build.dockerfile.instructions import Copy, Dockerfile, From, Instruction, Run, Stage, Transfer
from minidock.build.python.image import Image, Step
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.build.python.places import Place
    from minidock.build.sources import Context
    from minidock.store.build_cache import BuildCache
    from minidock.store.workspace import Workspace

_NOT_HERE = "skip=FromPlatformFlagConstDisallowed,ConsistentInstructionCasing,StageNameCasing,FromAsCasing"
"""Rules about what a Dockerfile looks like."""


class Program:
    """Stages of Python: ``dockerfile`` has numbers of :attr:`places`, from 1, where one of a file has lines."""

    def __init__(self, image: Image) -> None:
        """Raises InvalidArgument."""
        self.places: list[Place] = []
        self.contexts: dict[str, str] = {}
        """Directories and URLs by the names that instructions have for them."""
        self._numbers: dict[str, str] = {}
        images = _ordered(image)
        self._names = _names(images)
        stages = tuple(self._stage(index, one) for index, one in enumerate(images))
        self.file = image._step.place.file
        self.dockerfile = Dockerfile(arguments=(), stages=stages, lines=(), check=_NOT_HERE)

    def place(self, line: int) -> Place:
        """Where a step is written that has this number in :attr:`dockerfile`."""
        return self.places[line - 1]

    def _stage(self, index: int, image: Image) -> Stage:
        first, *rest = [self._instruction(step) for step in image.steps]
        assert isinstance(first, From)  # noqa: S101 - nothing else begins an image
        base = image.steps[0].image
        name = self._names[id(image)]
        from_ = replace(
            first, stage=name, stage_written=name, image=first.image if base is None else self._names[id(base)]
        )
        if base is not None:
            from_ = replace(from_, original=f"FROM {from_.image}")
        return Stage(index=index, from_=from_, instructions=tuple(rest))

    def _instruction(self, step: Step) -> Instruction:
        self.places.append(step.place)
        number = len(self.places)
        found = replace(step.instruction, line=number, end_line=number)
        if isinstance(found, Copy) and step.image is not None:
            name = self._names[id(step.image)]
            return replace(found, from_=name, original=found.original.replace("COPY", f"COPY --from={name}", 1))
        if isinstance(found, Transfer) and step.context and found.sources:
            return replace(found, context=self._named(step.context))
        if isinstance(found, Run) and step.mounts:
            mounts = []
            for mount in step.mounts:
                if isinstance(mount.from_, Image):
                    source = self._names[id(mount.from_)]
                elif mount.context is not None:
                    source = self._named(mount.context)
                else:
                    source = mount.from_ or ""
                mounts.append(mount.instruction(source))
            return replace(found, mounts=tuple(mounts))
        return found

    def _named(self, context: str) -> str:
        # No image and no stage has a name with a blank.
        name = self._numbers.setdefault(context, f"context {len(self._numbers) + 1}")
        self.contexts[name] = context
        return name


def _reads(image: Image) -> list[Image]:
    """The images that one needs to be built before it."""
    found = []
    for step in image.steps:
        given = [step.image, *(mount.from_ for mount in step.mounts)]
        found += [one for one in given if isinstance(one, Image)]
    return found


def _ordered(image: Image) -> list[Image]:
    """The images that one needs, each once, those before it that it needs; itself last."""
    done: dict[int, Image] = {}
    pending: list[tuple[Image, list[Image]]] = [(image, _reads(image)[::-1])]
    while pending:
        current, wanted = pending[-1]
        if wanted:
            following = wanted.pop()
            if id(following) not in done:
                pending.append((following, _reads(following)[::-1]))
        else:
            done.setdefault(id(current), current)
            pending.pop()
    return list(done.values())


def _names(images: list[Image]) -> dict[int, str]:
    """A name for each stage that no other has, and no image that one of them names."""
    steps = [step for image in images for step in image.steps]
    taken = {step.instruction.image.lower() for step in steps if isinstance(step.instruction, From)}
    taken |= {step.instruction.from_.lower() for step in steps if isinstance(step.instruction, Copy)}
    taken |= {mount.from_.lower() for step in steps for mount in step.mounts if isinstance(mount.from_, str)}
    names: dict[int, str] = {}
    for index, image in enumerate(images):
        first = image.steps[0].instruction
        assert isinstance(first, From)  # noqa: S101 - nothing else begins an image
        wanted = first.stage
        if not wanted and index == len(images) - 1:
            names[id(image)] = ""  # nothing refers to it, and TARGETSTAGE is as in a Dockerfile without names
            continue
        wanted = wanted or f"stage-{index}"
        name, count = wanted, 1
        while name in taken:
            count += 1
            name = f"{wanted}-{count}"
        taken.add(name)
        names[id(image)] = name
    return names


class ProgramContext(BuildContext):
    """What takes the place of a build's context for a program."""

    def __init__(self, image: Image) -> None:
        self.program: Program = Program(image)
        super().__init__("", b"", self.program.file, None, keep=True)

    def open(self, work: Workspace, cache: BuildCache) -> Context:
        """Return the files that ONBUILD of a base image means: steps name their own."""
        return contexts.load_directory(".").open(work, cache)


def opened(image: object) -> ProgramContext:
    """Return an image of Python as a context. Raises InvalidArgument for what is none."""
    if not isinstance(image, Image):
        raise InvalidArgument(
            f"build context {image!r}: a path, a URL, a tar, a file object, a descriptor, or a minidock.build.Image is "
            "needed"
        )
    return ProgramContext(image)
