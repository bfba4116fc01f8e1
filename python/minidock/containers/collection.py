"""``engine.containers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from minidock.containers.container import Container
    from minidock.containers.options import CreateOptions
    from minidock.containers.result import RunResult
    from minidock.engine import Engine


class ContainerCollection:
    """The containers of an engine's data root."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self, image: str | None, command: str | Sequence[str] | None = None, **options: Unpack[CreateOptions]
    ) -> Container:
        """Create a container of ``image`` (None with ``rootfs``) and return it; nothing runs yet.

        ``command`` as text is one word. Raises InvalidArgument for an option that makes no sense, ImageNotFound,
        NameInUse; nothing is left on disk then. ``container.attrs["Warnings"]`` holds what the host cannot enforce.
        """
        raise NotImplementedError

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
    ) -> RunResult:
        """Create a container, start it, wait for its end, and return what came of it. See :func:`minidock.run`."""
        raise NotImplementedError

    def get(self, container: str) -> Container:
        """Return the container of this id, unambiguous start of an id, or name. Raises ContainerNotFound."""
        raise NotImplementedError

    def list(
        self,
        *,
        all: bool = False,
        filters: Mapping[str, str | Sequence[str]] | None = None,
        limit: int | None = None,
    ) -> builtins.list[Container]:
        """Return the running containers, newest first; with ``all`` those that do not run too.

        ``filters`` are Docker's: ancestor, before, exited, id, label, name, since, status, …
        """
        raise NotImplementedError

    def prune(self, filters: Mapping[str, str | Sequence[str]] | None = None) -> builtins.list[str]:
        """Remove every container that does not run and return their ids. Filters: label, label!, until."""
        raise NotImplementedError
