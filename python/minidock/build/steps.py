"""One instruction: what it does to the stage's configuration and files, by the cache where that knows."""

from __future__ import annotations

import contextlib
import functools
import os
from collections import deque
from typing import TYPE_CHECKING

from minidock.build import adding, keys, sources
from minidock.build.dockerfile import paths, remotes, scopes
from minidock.build.dockerfile.instructions import Add, Copy, Run, Workdir
from minidock.build.dockerfile.text import quote
from minidock.build.events import Output, Status
from minidock.build.failures import CommandFailed
from minidock.build.merged import Merged
from minidock.errors import InvalidArgument, Unsupported
from minidock.spec.oci_image import History

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.build import mounts, running
    from minidock.build.dockerfile import config as configs
    from minidock.build.dockerfile.instructions import From, Instruction
    from minidock.build.executor import Build, Stage
    from minidock.build.stages import Reported
    from minidock.images.layers import Unpacked
    from minidock.store.layers import LayerRow

_TAIL_BYTES = 64 << 10
_EXPORTED = "buildkit.exporter.image.v0"
"""Docker's comment on a layer that no instruction has made."""
_LIMITS = ("ulimits", "shm_size")
"""Options that a command sees, and that Docker's keys have, too."""


def carry_out(build: Build, stage: Stage, instruction: Instruction, title: Callable[[Instruction], str]) -> None:
    """Apply an instruction to a stage. Raises CommandFailed, DockerfileError, InvalidArgument and others."""
    done = stage.state.apply(instruction)
    expanded = done.instruction
    if isinstance(expanded, Run):
        _run(build, stage, expanded, done, title(instruction))
    elif isinstance(expanded, (Copy, Add)):
        _copy(build, stage, expanded, done.directory, title(instruction))
    elif isinstance(expanded, Workdir):
        _workdir(build, stage, expanded, done.user, title(instruction))


def begin_with(build: Build, stage: Stage, from_: From, name: str, title: str) -> None:
    """Put the files of a named context on an empty stage, which is based on them."""
    source = build.contexts.files(name)
    files = Copy(line=from_.line, end_line=from_.end_line, keyword="COPY", original="", sources=("/",), destination="/")
    with build.reported(build.step(title, from_.line)) as reported:
        _copy_in(build, stage, files, directory="/", source=source, reported=reported)
    stage.state.history.append(History(created_by=build.contexts.describe(name), comment=_EXPORTED))


def _layer(
    build: Build,
    stage: Stage,
    reported: Reported,
    make: Callable[[str], Unpacked | None],
    *,
    kind: str,
    key: str,
    settled: Callable[[], bool] = lambda: True,
) -> None:
    """Put the layer of a step on the stage: that of the cache, or the one that ``make`` makes in a directory.

    Where ``settled`` says afterwards that it was made of something else than the key tells of, it is not kept.
    """
    store, work = build.store, build.work
    fresh = build.options.no_cache or _is_filtered(build, stage)
    row = None if fresh else store.build_cache.find(key, work)
    reported.cached = row is not None
    if row is None:
        from minidock.build.locking import locked

        with locked(store.paths, key + build.options.namespace, build.stop):
            row = None if fresh else store.build_cache.find(key, work)
            if row is None and not fresh:
                row = build.imported(key)
                if row is not None:
                    store.build_cache.put(key, kind, reported.step.name, row)
            reported.cached = row is not None
            if row is None:
                row = _register(build, make)
                if not settled():
                    stage.layers.append(row)
                    return
                if not build.options.namespace:
                    store.build_cache.put(key, kind, reported.step.name, row)
    build.note(key, kind, reported.step.name, row)
    stage.layers.append(row)


def _is_filtered(build: Build, stage: Stage) -> bool:
    return bool(stage.name and stage.name in build.options.no_cache_filter)


def _register(build: Build, make: Callable[[str], Unpacked | None]) -> LayerRow:
    from minidock.images import reproducible
    from minidock.store.layers import NewLayer

    directory = build.work.join(f"step-{os.urandom(6).hex()}")
    made = make(directory)
    if made is None:
        directory += "-empty"
        made = reproducible.layer_of(lambda fd: _write(fd, bytes(1024)), directory)
        return build.store.layers.register(build.work, NewLayer(made.diff_id, made.size, directory, made.tar_size))
    path = directory if os.path.isdir(f"{directory}/fs") else f"{directory}/layer"
    return build.store.layers.register(build.work, NewLayer(made.diff_id, made.size, path, made.tar_size))


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


# RUN


def _run(build: Build, stage: Stage, instruction: Run, done: configs.Step, name: str) -> None:
    options = build.options
    if instruction.security != "sandbox":
        raise Unsupported("RUN --security=insecure: a build never runs privileged commands")
    if instruction.devices:
        raise Unsupported("RUN --device: a build gives no devices to commands")
    network = options.network if instruction.network == "default" else instruction.network
    network = "bridge" if network in ("", "default") else network
    found = None
    if instruction.mounts:
        from minidock.build import mounts

        found = mounts.sources_of(build, instruction)
    with build.reported(build.step(name, instruction.line)) as reported:
        _run_in(build, stage, instruction, done, network=network, found=found, reported=reported)


def _run_in(
    build: Build,
    stage: Stage,
    instruction: Run,
    done: configs.Step,
    *,
    network: str,
    found: mounts.Sources | None,
    reported: Reported,
) -> None:
    options = build.options
    below = build.paths(stage.layers)
    argv = list(done.argv)
    env = [f"{name}={value}" for name, value in (done.environment | done.proxies).items()]
    wanted = None
    if instruction.mounts or done.script is not None:
        from minidock.build import mounts

        wanted = mounts.wanted(instruction, done, found)
        wanted.note(build)
    key = keys.key(
        "run",
        stage.chain,
        argv,
        # Proxies that ENV or ARG name count like any variable, those that are given only do not, as with Docker.
        [f"{name}={value}" for name, value in done.environment.items()],
        done.user,
        done.directory,
        network,
        options.run.get("extra_hosts") or (),
        [] if wanted is None else wanted.facts,
        "" if build.date is None else str(build.date),
        *({name: repr(options.run[name])} for name in _LIMITS if options.run.get(name)),
    )

    step = reported.step
    tail: deque[bytes] = deque()

    def make(directory: str) -> Unpacked | None:
        kept = 0

        def output(data: bytes) -> None:
            nonlocal kept
            tail.append(data)
            kept += len(data)
            while kept - len(tail[0]) > _TAIL_BYTES:
                kept -= len(tail.popleft())
            build.tell(Output(step, data, reported.seconds))

        from minidock.build import running

        command = running.Command(
            argv,
            env=env,
            user=done.user,
            working_dir=done.directory,
            options={**options.run, "network": network},
            platform=(stage.image.os or "linux", stage.image.architecture, stage.image.variant),
        )
        room = running.Room(directory, below)
        with contextlib.nullcontext() if wanted is None else wanted.ready(build, directory) as mounted:
            code, made = running.run(
                build.engine,
                command,
                room,
                stop=build.stop,
                output=output,
                clamp=options.epoch,
                mounts=mounted,
                failed=None if build.shell is None else failed,
            )
        if code:
            shown = quote(" ".join(argv))
            raise CommandFailed(
                f"process {shown} did not complete successfully: exit code: {code}", code, b"".join(tail), step.name
            )
        return made

    def failed(again: running.Again) -> None:
        shell = (stage.state.config.shell or ["/bin/sh"])[:1]
        build.failed(step.name, b"".join(tail), functools.partial(again, shell))

    def settled() -> bool:
        return wanted is None or wanted.is_settled()

    _layer(build, stage, reported, make, kind="exec", key=key, settled=settled)


# WORKDIR


def _workdir(build: Build, stage: Stage, instruction: Workdir, user: str, name: str) -> None:
    path = instruction.path
    if path == "/":
        return
    below = Merged(build.paths(stage.layers))
    key = keys.key("workdir", stage.chain, path, user, "" if build.date is None else str(build.date))

    def tell(text: str) -> None:
        build.tell(Status(reported.step, f"warning: {text}"))

    def make(directory: str) -> Unpacked | None:
        from minidock.build import copying, owners
        from minidock.images import reproducible

        node = below.look(below.resolve(path))
        if node is not None:
            if not node.is_directory:
                raise InvalidArgument(f"mkdir {path}: not a directory")
            return None
        owner = owners.owner(below, user, tell) if user else None
        placing = copying.Placing(below, owner=owner, mode="", date=build.date, now=build.now)
        placing.directory(path)
        return reproducible.layer_of(placing.write_tar, directory)

    with build.reported(build.step(name, instruction.line)) as reported:
        _layer(build, stage, reported, make, kind="workdir", key=key)


# COPY and ADD


def _copy(build: Build, stage: Stage, instruction: Copy | Add, directory: str, name: str) -> None:
    source = _source(build, instruction)
    with build.reported(build.step(name, instruction.line)) as reported:
        _copy_in(build, stage, instruction, directory=directory, source=source, reported=reported)


def _source(build: Build, instruction: Copy | Add) -> sources.Source | None:
    """The tree that files come from; None where all are fetched or written in the Dockerfile."""
    if isinstance(instruction, Copy) and instruction.from_:
        index = scopes.copy_source(instruction, build.names, len(build.dockerfile.stages))
        return build.source(instruction.from_, instruction) if index is None else build.stage_source(index)
    if isinstance(instruction, Add) and all(map(remotes.kind, instruction.sources)):
        return None
    return build.source(instruction.context, instruction) if instruction.sources else None


def _copy_in(
    build: Build,
    stage: Stage,
    instruction: Copy | Add,
    *,
    directory: str,
    source: sources.Source | None,
    reported: Reported,
) -> None:
    below = Merged(build.paths(stage.layers))
    destination = paths.destination(directory, instruction.destination)
    parts = [_part(build, instruction, source, text) for text in instruction.sources]
    keep = build.date is None
    facts: list[keys.Fact] = [
        instruction.chown,
        instruction.chmod,
        destination,
        [[heredoc.name, heredoc.text()] for heredoc in instruction.heredocs],
        "" if build.date is None else str(build.date),
        [part.fact(times=keep) for part in parts],
    ]
    if isinstance(instruction, Add):
        facts.append([str(instruction.unpack)])
    # With --link the same files come out, as with Docker: its engine has no layers that know nothing of those below.
    key = keys.key("copy", stage.chain, *facts)

    def tell(text: str) -> None:
        build.tell(Status(reported.step, f"warning: {text}"))

    def make(directory: str) -> Unpacked | None:
        from minidock.build import copying, owners
        from minidock.images import reproducible

        owner = owners.owner(below, instruction.chown, tell) if instruction.chown else None
        placing = copying.Placing(
            below, owner=owner, mode=instruction.chmod, date=build.date, now=build.now, check=build.stop.check
        )
        with contextlib.ExitStack() as stack:
            for part in parts:
                part.place(placing, destination, stack)
            for heredoc in instruction.heredocs:
                placing.write(heredoc.name, heredoc.text().encode("utf-8", "surrogateescape"), destination)
            if not placing.items:
                return None
            return reproducible.layer_of(placing.write_tar, directory)

    _layer(build, stage, reported, make, kind="copy", key=key)


def _part(
    build: Build, instruction: Copy | Add, source: sources.Source | None, text: str
) -> adding.Local | adding.Fetched | adding.Cloned:
    if isinstance(instruction, Add):
        remote = adding.remote(build, instruction, text)
        if remote is not None:
            return remote
    assert source is not None  # noqa: S101 - something is to be found in it
    prune = None
    if instruction.exclude:
        from minidock.build import ignore

        prune = ignore.of(instruction.exclude, "--exclude")
    matches = source.match(text, prune, deep=isinstance(instruction, Copy) and instruction.parents)
    if not matches and not sources.is_pattern(text):
        from minidock.build import missing

        raise missing.not_found(source, text)
    return adding.Local(instruction, source, matches, text=text, directory=build.work.path)
