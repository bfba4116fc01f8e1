"""Carrying out a build: the stages that its target needs, each in a thread where there are several, step by step."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from minidock.build import keys, publishing, steps
from minidock.build.dockerfile import config as configs
from minidock.build.dockerfile import linting, parsing, scopes
from minidock.build.dockerfile.instructions import DockerfileError
from minidock.build.events import Built, Finished, Started, Status, Step, Warned
from minidock.build.failures import Failed, excerpt, located
from minidock.build.merged import Merged
from minidock.build.named import Named
from minidock.build.sources import Context, Source
from minidock.build.stages import Future, Reported, copied, titles, transferring
from minidock.build.stopping import Stop
from minidock.errors import Cancelled, ImageNotFound, MinidockError, RegistryError
from minidock.images import platforms, references
from minidock.images.inspection import format_time
from minidock.spec.oci_image import ExecutionConfig, ImageConfig, RootFS
from minidock.store.cleaner import cleaner
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.build.contexts import BuildContext
    from minidock.build.dockerfile import instructions
    from minidock.build.dockerfile.instructions import Dockerfile, Instruction
    from minidock.build.events import Report
    from minidock.build.exchange import Imported, Place
    from minidock.build.options import Options
    from minidock.build.running import Terminal
    from minidock.engine import Engine
    from minidock.store.images import ImageRow
    from minidock.store.layers import LayerRow

_T = TypeVar("_T")
_ID_DIGITS = 12
"""Of an image's id, as ``images`` shows it."""


class Stage:
    """What a stage has come to: its layers, lowest first, and its configuration."""

    def __init__(self, name: str, layers: list[LayerRow], image: ImageConfig, state: configs.State) -> None:
        self.name = name
        self.layers = layers
        self.image = image
        """That of the base image: platform and more that no instruction changes."""
        self.state = state

    @property
    def chain(self) -> str:
        """What stands for the files in keys."""
        return keys.chain([layer.diff_id for layer in self.layers])


class Build:
    """One build, from its Dockerfile to its image."""

    def __init__(
        self,
        engine: Engine,
        context: BuildContext,
        options: Options,
        report: Report,
        shell: Callable[[Failed], None] | None = None,
        *,
        first: Build | None = None,
        stop: Stop | None = None,
    ) -> None:
        """``shell`` is called for the first command that fails, while nothing else is reported; ``stop`` ends it."""
        self.engine = engine
        self.store = engine.store
        self.context = context
        self.options = options
        self.stop: Stop = (stop or Stop()) if first is None else first.stop
        self.date = None if options.epoch is None else options.epoch * 10**9
        self.now = time.time_ns() if self.date is None else self.date
        self.shell = shell
        self._first = first
        """The build that this one does again, with its images and contexts."""
        self._report = report
        self._report_lock = threading.Lock()
        self._numbers = 0
        self._context: Context | None = None if first is None else first._context
        self._context_lock = threading.RLock()
        self.imports: list[Imported] = []
        """Caches of other machines."""
        self.mounts_named: dict[str, tuple[str, str]] = {}
        """Id and sharing of cache mounts, by their names."""
        self.steps_done: dict[str, tuple[str, str, LayerRow]] = {}
        self.contexts: Named = Named(self) if first is None else first.contexts
        self._replaced: frozenset[int] = frozenset()
        """Stages that a named context takes the place of."""
        self._images: dict[str, tuple[ImageRow, ImageConfig, list[LayerRow]]] = {} if first is None else first._images
        self._images_lock = threading.RLock()
        self._futures: dict[int, Future] = {}
        self.work: Workspace
        self.dockerfile: Dockerfile
        self.bases: list[scopes.Base] = []
        self.arguments: scopes.Arguments
        self.names: dict[str, int] = {}
        self.platform: platforms.Platform
        self.linter: linting.Linter

    def tell(self, event: Any) -> None:
        """Report an event; one at a time."""
        with self._report_lock:
            self._report(event)

    def failed(self, step: str, output: bytes, again: Callable[[Terminal], None]) -> None:
        """Have whoever builds look at a command that has failed, the first one only."""
        with self._report_lock:
            shell, self.shell = self.shell, None
            if shell is not None and not self.stop.is_set:
                shell(Failed(step, output, again))

    def step(self, name: str, line: int = 0) -> Step:
        """Return the next step's name and number."""
        if self._first is not None:
            return self._first.step(f"again: {name}", line)
        with self._report_lock:
            self._numbers += 1
            return Step(self._numbers, name, self.place(line)[1])

    def place(self, line: int, end_line: int = 0) -> tuple[str, int, int, tuple[str, ...]]:
        """Return file, first and last line of an instruction, and the file's lines."""
        program = self.context.program
        if program is None:
            if hasattr(self, "dockerfile"):
                return self.context.dockerfile_shown, line, end_line, self.dockerfile.lines
            lines = self.context.dockerfile.decode("utf-8", "replace").splitlines()
            return self.context.dockerfile_shown, line, end_line, tuple(lines)
        if not line:
            return program.file, 0, 0, ()
        place = program.place(line)
        return place.file, place.line, place.end_line, place.lines

    # What a build consists of

    def run(self) -> ImageRow:
        """Build, and return the image. Raises DockerfileError, BuildFailed, and others that have no line."""
        return self._working(lambda: self.publish(self._run()))

    def files(self, use: Callable[[list[str]], None]) -> None:
        """Build, and have ``use`` do something with the layers, highest first. Raises as :meth:`run`."""

        def work_of() -> None:
            stage = self._run()
            step = self.step("exporting to client")
            with self.reported(step):
                use(self.paths(stage.layers))

        self._working(work_of)

    def having(self, use: Callable[[Stage], None]) -> None:
        """Build, and have ``use`` look at what the target has come to. Raises as :meth:`run`."""
        self._working(lambda: use(self._run()))

    def _working(self, work_of: Callable[[], _T]) -> _T:
        _ = self.store.database  # the data root is there
        work = self.work = Workspace(self.store.paths, "build")
        try:
            return work_of()
        except DockerfileError as error:
            self.stop.set()
            file, line, end_line, lines = self.place(error.line, error.end_line)
            if self.context.program is not None and line:
                error = DockerfileError(error.reason, line, end_line, text=f"{file}:{line}: {error.reason}")
                error.file = file
            error.excerpt = excerpt(file, lines, line, end_line)
            raise error from error.__cause__
        except BaseException:
            self._end()
            raise
        finally:
            try:
                self._join()
                if self._context is not None:
                    self._context.remember()
                if self._first is None:
                    self.contexts.close()
                self.store.layers.release(work)
            finally:
                cleaner.later(work)

    def _prepare(self) -> list[int]:
        """Read the Dockerfile; returns the stages to build, the target last."""
        data = self.context.dockerfile
        step = self.step(f"[internal] load build definition from {self.context.dockerfile_shown}")
        with self.reported(step):
            if self.context.program is not None:
                self.dockerfile = self.context.program.dockerfile
            else:
                self.tell(Status(step, f"transferring dockerfile: {len(data)}B done"))
                self.dockerfile = parsing.parse(data)
        options = self.options
        host = platforms.host()
        self.platform = host if options.platform is None else platforms.parse(options.platform)
        self.arguments = scopes.arguments(self.dockerfile, options.args, host, self.platform, options.target)
        self.linter = linting.Linter(self.dockerfile.check)
        linting.check_text(self.dockerfile, self.linter)
        self.bases = scopes.bases(self.dockerfile, self.arguments, self.linter)
        self.names = scopes.stage_names(self.dockerfile)
        self._replaced = frozenset(
            stage.index
            for stage in self.dockerfile.stages
            if stage.name and self.contexts.value(stage.name) is not None
        )
        return scopes.needed(self.dockerfile, self.bases, options.target, self._replaced)

    def _run(self) -> Stage:
        needed = self._prepare()
        self.context.expected = copied(self.dockerfile.stages[index] for index in needed)
        for place in self.options.cache_from:
            self._import(place)
        self._futures = {index: Future() for index in needed}
        for index in needed[:-1]:
            self._futures[index].start(functools.partial(self._stage, index), self.stop)
        try:
            done = self._stage(needed[-1])
        except Cancelled:
            self._raise_first()
            raise
        self._raise_first()
        if self.options.verify:
            from minidock.build.verifying import verify

            verify(self, done)
        if self.options.cache_to:
            self._export(done)
        for warning in self.linter.warnings:
            _, line, end_line, _ = self.place(warning.line, warning.end_line)
            self.tell(Warned(warning._replace(line=line, end_line=end_line)))
        self.linter.finish()
        return done

    def _end(self) -> None:
        """End all that goes on, whoever interrupts again meanwhile: it uses what is removed afterwards."""
        while True:
            try:
                self.stop.set()
                self._join()
                return
            except KeyboardInterrupt:
                continue

    def _join(self) -> None:
        for future in list(self._futures.values()):  # a stage may begin another one meanwhile
            future.join()

    def _raise_first(self) -> None:
        """Raise what made another stage fail, rather than that this one was cancelled for it."""
        for future in list(self._futures.values()):
            future.join()
            if future.error is not None and not isinstance(future.error, Cancelled):
                raise future.error

    def reported(self, step: Step) -> Reported:
        """A context manager that tells of a step's beginning and end."""
        return Reported(self, step)

    # Where files come from

    def build_context(self) -> Context:
        """The build context, loaded when it is first needed."""
        with self._context_lock:
            if self._context is None:
                step = self.step("[internal] load build context")
                with self.reported(step):
                    self._context = self.context.open(self.work, self.store.build_cache)
            return self._context

    def source(self, name: str, place: Instruction | None = None) -> Source:
        """The build context for an empty name, or the image of this name, which ``place`` names (None: no matter)."""
        if not name:
            return self.build_context()
        if self.contexts.is_files(name):
            return self.contexts.files(name)
        image, layers = self.contexts.image(name, "")
        if place is not None:
            self._check_platform(place, name, self.platform, image)
        return Source(Merged(self.paths(layers)), name)

    def _check_platform(self, place: Instruction, name: str, wanted: platforms.Platform, image: ImageConfig) -> None:
        if self.contexts.value(name) is None:
            self.linter.platform(place, name, wanted, platforms.Platform(image.os, image.architecture, image.variant))

    def stage_source(self, index: int) -> Source:
        """The files of an earlier stage."""
        shown = self.dockerfile.stages[index].name or f"stage {index}"
        return Source(Merged(self.paths(self.wait(index).layers)), shown)

    def imported(self, key: str) -> LayerRow | None:
        """The layer of a step that a cache of another machine has."""
        for cache in self.imports:
            row = cache.find(self, key)
            if row is not None:
                return row
        return None

    def note(self, key: str, kind: str, description: str, layer: LayerRow) -> None:
        """Remember a step of this build, for the caches that it is to write."""
        with self._images_lock:
            self.steps_done[key] = (kind, description, layer)

    def _import(self, place: Place) -> None:
        from minidock.build import exchange

        # As with Docker, a cache that cannot be had is told, and no error.
        with contextlib.suppress(RegistryError, ImageNotFound):
            if place.type == "local":
                self.imports.append(exchange.opened(self, place))
                return
            with self.reported(self.step(f"importing cache manifest from {place}")):
                self.imports.append(exchange.opened(self, place))

    def _export(self, stage: Stage) -> None:
        from minidock.build import exchange

        for place in self.options.cache_to:
            if place.type == "inline":
                continue  # it goes into the image
            wanted = self.steps_done if place.everything else self._steps_of(stage)
            failures = (MinidockError,) if place.lenient else ()
            with contextlib.suppress(*failures), self.reported(self.step(f"exporting cache to {place}")):
                exchange.export(self, place, wanted)

    def _steps_of(self, stage: Stage) -> dict[str, tuple[str, str, LayerRow]]:
        own = {layer.id for layer in stage.layers}
        return {key: one for key, one in self.steps_done.items() if one[2].id in own}

    def wait(self, index: int) -> Stage:
        """Return what an earlier stage has come to."""
        with self._images_lock:
            future = self._futures.get(index)
            if future is None:  # only what ONBUILD of a base image says needs it
                future = self._futures[index] = Future()
                future.start(functools.partial(self._stage, index), self.stop)
        return future.result()

    def paths(self, layers: list[LayerRow]) -> list[str]:
        """The directories of layers, highest first."""
        # Each once: overlayfs takes no directory twice.
        return [f"{self.store.paths.layer(number)}/fs" for number in dict.fromkeys(one.id for one in reversed(layers))]

    def image(self, name: str, platform: str = "") -> tuple[ImageRow, ImageConfig, list[LayerRow]]:
        """Return an image that a Dockerfile names, pulled if it is not here; its layers stay for this build."""
        with self._images_lock:
            known = self._images.get(f"{name} {platform}")
            if known is None:
                known = self._images[f"{name} {platform}"] = self._load_image(name, platform)
            return known

    def _load_image(self, name: str, platform: str) -> tuple[ImageRow, ImageConfig, list[LayerRow]]:
        images = self.engine.images
        reference = references.parse(name).with_default_tag()
        step = self.step(f"[internal] load metadata for {reference.canonical}")
        with self.reported(step):
            wanted = platform or self.options.platform
            row = None
            if not self.options.pull:
                try:
                    # A short name is no id, whatever images there are: it may be a stage's that is misspelled.
                    short = len(name) < _ID_DIGITS and references.id_digits(name) is not None
                    row, _ = images.resolve(reference.canonical if short else name, wanted)
                except ImageNotFound:
                    row = None
            if row is None:
                with self.stop.cancelling() as cancel:
                    report = transferring(self, step)
                    asker = self.options.asker
                    login = None if asker is None else asker.login(reference.domain)
                    row = images.pull(
                        reference.canonical, platform=wanted, auth_config=login, progress=report, cancel=cancel
                    ).row
            layers = self.store.layers.of_image(row.id)
            held = self.store.layers.lease(self.work, [layer.diff_id for layer in layers])
            if len({layer.id for layer in held}) != len({layer.id for layer in layers}):
                raise ImageNotFound(f"no such image: {name}; it was removed meanwhile")
            return row, images.decode_config(row), layers

    # Stages

    def _stage(self, index: int) -> Stage:
        stage = self.dockerfile.stages[index]
        base = self.bases[index]
        self.stop.check()
        title = titles(self, index)
        with located(self, stage.from_):
            if index in self._replaced:
                return self._based(stage, stage.name, base, title)
            if base.parent is not None:
                below = self.wait(base.parent)
                state = configs.State(
                    self.dockerfile, self.arguments, parent=below.state, linter=self.linter, ignore=self.context.ignore
                )
                done = Stage(stage.name, list(below.layers), below.image, state)
            else:
                done = self._based(stage, base.image, base, title)
        scopes.check_triggers(self.dockerfile, index, done.state.triggers(stage))
        for instruction in done.state.instructions(stage):
            self.stop.check()
            with located(self, instruction):
                steps.carry_out(self, done, instruction, title)
        return done

    def _based(
        self, stage: instructions.Stage, name: str, base: scopes.Base, title: Callable[[Instruction], str]
    ) -> Stage:
        """A stage that begins with nothing, with the files of a named context, or with an image."""
        if name == scopes.SCRATCH or self.contexts.is_files(name):
            wanted = base.platform or self.platform
            image = ImageConfig(architecture=wanted.architecture, os=wanted.os, variant=wanted.variant)
            # As with Docker, what takes the place of a stage has no configuration at all.
            config = ExecutionConfig() if stage.index in self._replaced else None
            state = configs.State(
                self.dockerfile, self.arguments, config, linter=self.linter, ignore=self.context.ignore
            )
            if config is not None:
                state.config.env = None
            done = Stage(stage.name, [], image, state)
            if name != scopes.SCRATCH:
                steps.begin_with(self, done, stage.from_, name, title(stage.from_))
            return done
        image, layers = self.contexts.image(name, "" if base.platform is None else str(base.platform))
        self._check_platform(stage.from_, name, base.platform or self.platform, image)
        state = configs.State(self.dockerfile, self.arguments, image.config, author=image.author, linter=self.linter)
        step = self.step(title(stage.from_), stage.from_.line)
        self.tell(Started(step))
        self.tell(Finished(step, 0.0, cached=True))
        return Stage(stage.name, list(layers), image, state)

    def _inline(self, stage: Stage) -> dict[str, str]:
        """What the image tells of its own steps, with ``--cache-to type=inline``: layers by key."""
        if not any(place.type == "inline" for place in self.options.cache_to):
            return {}
        return {key: layer.diff_id for key, (_, _, layer) in sorted(self._steps_of(stage).items())}

    def _annotations(self, image: ImageConfig) -> dict[str, str]:
        if not self.options.annotations:
            return {}
        from minidock.build import annotating

        return annotating.chosen(self.options.annotations, annotating.MANIFEST, image)

    def image_of(self, stage: Stage) -> ImageConfig:
        """The configuration of the image that the target has come to."""
        state, base = stage.state, stage.image
        config = state.config
        if self.options.labels:
            config.labels = {**(config.labels or {}), **self.options.labels}
        created = format_time(self.now)
        return ImageConfig(
            architecture=base.architecture,
            os=base.os or "linux",
            variant=base.variant,
            os_version=base.os_version,
            os_features=base.os_features,
            author=state.author,
            created=created,
            config=config,
            history=[
                *(base.history or ()),
                *(msgspec.structs.replace(entry, created=created) for entry in state.history),
            ],
            rootfs=RootFS("layers", [layer.diff_id for layer in stage.layers]),
            build_cache=self._inline(stage),
        )

    def publish(self, stage: Stage) -> ImageRow:
        """Make an image of what the target has come to, within :meth:`having`."""
        step = self.step("exporting to image")
        with self.reported(step):
            image = self.image_of(stage)
            self.tell(Status(step, "exporting layers done"))
            row = publishing.publish(
                self.store,
                self.work,
                image,
                stage.layers,
                tags=self.options.tags,
                created=self.now // 10**9,
                annotations=self._annotations(image),
            )
            self.tell(Status(step, f"writing image {row.id} done"))
            for tag in self.options.tags:
                self.tell(Status(step, f"naming to {tag} done"))
        self.tell(Built(row.id, tuple(self.options.tags)))
        return row
