"""``engine.containers``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, overload

from minidock.containers.container import Container
from minidock.errors import ContainerFailed, InvalidArgument

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from minidock.containers.document import Owner
    from minidock.containers.halting import Halted
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.options import CreateOptions
    from minidock.containers.restoring import Restored
    from minidock.containers.result import RunResult
    from minidock.engine import Engine
    from minidock.spec.docker import ContainerSummary
    from minidock.spec.docker_system import ContainersPruned

OUTPUT_LIMIT = 64 << 20
"""Bytes of stdout, and of stderr, that ``run`` keeps unless told otherwise."""


class ContainerCollection:
    """The containers of an engine's data root."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def _lifecycle(self) -> Lifecycle:
        return self._engine.lifecycle

    def create(
        self, image: str | None, command: str | Sequence[str] | None = None, **options: Unpack[CreateOptions]
    ) -> Container:
        """Create a container of ``image`` (None with the option ``rootfs``) and return it; nothing runs yet.

        ``command`` as text is split into words as a shell does. What the host cannot enforce, or what Docker warns of,
        is in ``container.warnings``.

        Raises InvalidArgument for an option that makes no sense, Unsupported for one that this version or host does not
        have, ImageNotFound, NameInUse, and Conflict for a ``cidfile`` that exists; nothing is left on disk then.
        """
        return self._create(image, command, options)

    def create_to_start(
        self, image: str | None, command: str | Sequence[str] | None = None, **options: Unpack[CreateOptions]
    ) -> Container:
        """Like :meth:`create`, for who starts it at once: with ``remove`` it goes too if this process dies before."""
        return self._create(image, command, options, starter=self._lifecycle.owner())

    def _create(
        self,
        image: str | None,
        command: str | Sequence[str] | None,
        options: CreateOptions,
        starter: Owner | None = None,
    ) -> Container:
        lifecycle = self._lifecycle
        planned = lifecycle.plan(image, command, options, os.environ)
        if planned.record.host_config.auto_remove or planned.record.owned:
            planned.record.starter = starter
        record = lifecycle.create(planned)
        return Container(lifecycle, record, record.state, warnings=planned.warnings)

    @overload
    def run(
        self,
        image: str | None,
        command: str | Sequence[str] | None = None,
        *,
        input: bytes | None = None,
        check: bool = False,
        output_limit: int | None = None,
        detach: Literal[False] = False,
        **options: Unpack[CreateOptions],
    ) -> RunResult: ...
    @overload
    def run(
        self,
        image: str | None,
        command: str | Sequence[str] | None = None,
        *,
        detach: Literal[True],
        **options: Unpack[CreateOptions],
    ) -> Container: ...
    def run(
        self,
        image: str | None,
        command: str | Sequence[str] | None = None,
        *,
        input: bytes | None = None,
        check: bool = False,
        output_limit: int | None = None,
        detach: bool = False,
        **options: Unpack[CreateOptions],
    ) -> RunResult | Container:
        """Create a container and start it; wait for its end and return what came of it, or with ``detach`` return it.

        ``input`` is what the command reads; without it, its input is ``/dev/null``. ``output_limit`` bounds stdout and
        stderr, each, in bytes (64 MiB unless given); a command that writes more is killed. ``check`` raises
        ContainerFailed unless the command ends with 0. The container dies with this process, unless it is detached and
        ``owner`` is not ``"process"``; the option ``remove`` removes it at its end. A detached one is a context manager
        that removes it.

        Raises what :meth:`create` raises; CommandNotFound and CommandNotExecutable; LimitExceeded for too much output.
        """
        if detach:
            if input is not None or check or output_limit is not None:
                raise InvalidArgument("detach: input, check and output_limit are for containers that are waited for")
            container = self._create(image, command, options, starter=self._lifecycle.owner())
            try:
                container.start()
            except BaseException:
                container.discard_unstarted()
                raise
            return container
        if input is not None and not isinstance(input, (bytes, bytearray, memoryview)):
            raise InvalidArgument(f"input: bytes are needed, not {type(input).__name__}")
        if output_limit is not None and output_limit < 0:
            raise InvalidArgument(f"output_limit: {output_limit} is negative")
        lifecycle = self._lifecycle
        planned = lifecycle.plan(image, command, options, os.environ)
        result = lifecycle.run(planned, input, OUTPUT_LIMIT if output_limit is None else output_limit)
        if check and result.exit_code:
            words = " ".join(planned.record.args)[:200]
            raise ContainerFailed(f"command {words!r} in container {result.container_id[:12]}: exit code "
                                  f"{result.exit_code}", result)  # fmt: skip
        return result

    def get(self, container: str) -> Container:
        """Return the container of this id, unambiguous start of an id, or name. Raises ContainerNotFound."""
        lifecycle = self._lifecycle
        record, state = lifecycle.settle(lifecycle.store.containers.get(container))
        return Container(lifecycle, record, state)

    def list(
        self,
        *,
        all: bool = False,
        filters: Mapping[str, Any] | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> builtins.list[Container]:
        """Return the running containers, newest first; with ``all`` or ``limit`` those that do not run too.

        ``filters`` are Docker's: ancestor, before, exited, expose, health, id, is-task, isolation, label, name,
        network, publish, since, status (which looks at all of them), volume; a mapping whose values are texts or
        lists, or ``NAME=VALUE`` entries. ``limit`` keeps the newest only.

        Raises InvalidArgument for a filter that makes no sense, ContainerNotFound for a container that one names.
        """
        from minidock.containers.listing import containers

        found = containers(self._engine, all=all, filters=filters, limit=limit)
        return [Container(self._lifecycle, record, state) for record, state in found]

    def summaries(
        self,
        *,
        all: bool = False,
        filters: Mapping[str, Any] | Sequence[str] | None = None,
        limit: int | None = None,
        size: bool = False,
    ) -> builtins.list[ContainerSummary]:
        """Return what ``docker ps`` shows of those that :meth:`list` returns; with ``size`` their files are counted."""
        from minidock.containers.listing import summaries

        return summaries(self._engine, all=all, filters=filters, limit=limit, size=size)

    def unlink(self, name: str) -> None:
        """Remove the link ``container/alias``, and no container. Raises ContainerNotFound, Conflict."""
        from minidock.containers import linking

        linking.unlink(self._lifecycle, name)

    def prune(self, filters: Mapping[str, Any] | Sequence[str] | None = None) -> ContainersPruned:
        """Remove every container that does not run; returns their ids and what they had written, in bytes.

        Filters: label, label!, until. Raises InvalidArgument for one that makes no sense.
        """
        from minidock.containers.pruning import prune

        return prune(self._lifecycle, self.list(all=True), filters)

    def restore(self) -> Restored:
        """Start what its restart policy wants to run, as Docker's daemon does when it starts; for after a boot.

        ``always`` counts even for what somebody stopped, ``unless-stopped`` does not; ``on-failure`` counts for what
        did not end with 0 and has restarts left. What runs stays as it is. One that cannot be started is in the
        result, and keeps no other from being started.
        """
        from minidock.containers.restoring import restore

        return restore(self._lifecycle)

    def halt(self) -> Halted:
        """Stop whatever runs, as Docker's daemon does when it ends; for before a shutdown.

        Each gets its own stop signal, and is killed after its own stop timeout. Nobody has stopped them for good: their
        restart policies hold at the next :meth:`restore`. Waits for as long as the longest stop timeout, at least
        the configuration's ``shutdown-timeout`` (15 seconds); what still runs then is in the result.
        """
        from minidock.containers.halting import halt

        return halt(self._lifecycle)
