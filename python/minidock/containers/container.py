"""One container."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, overload

from minidock.containers import liveness, states
from minidock.containers.parse import signals
from minidock.errors import Conflict, ContainerNotFound, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from minidock._native import Supervisor
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.options import UpdateOptions
    from minidock.containers.record import Record
    from minidock.containers.result import ExitStatus
    from minidock.images.image import Image
    from minidock.images.outputs import Out
    from minidock.spec.docker import ContainerInspect, ContainerState, ContainerSummary


class Container:
    """A container that exists: created, running or exited. Made by :class:`ContainerCollection`.

    Its attributes are as of its making or the last :meth:`reload`.
    """

    def __init__(
        self, lifecycle: Lifecycle, record: Record, state: ContainerState, warnings: Sequence[str] = ()
    ) -> None:
        self._lifecycle = lifecycle
        self._supervisor: Supervisor | None = None
        self._attrs: dict[str, Any] | None = None
        self.record = record
        self.state = state
        self.warnings = list(warnings)
        """What creating or starting it warned of, one line each."""

    @property
    def id(self) -> str:
        """The full id, 64 hexadecimal digits."""
        return self.record.id

    @property
    def short_id(self) -> str:
        """The first 12 digits of the id."""
        return self.record.id[:12]

    @property
    def name(self) -> str:
        """The name, without a leading slash."""
        return self.record.name

    @property
    def status(self) -> str:
        """``created``, ``running`` or ``exited``."""
        return self.state.status

    @property
    def labels(self) -> dict[str, str]:
        """The container's labels, the image's among them."""
        return dict(self.record.config.labels or {})

    @property
    def image(self) -> str:
        """What the container was created from, as the caller named it."""
        return self.record.config.image or self.record.rootfs or self.record.image

    @property
    def attrs(self) -> dict[str, Any]:
        """What ``docker inspect`` prints."""
        if self._attrs is None:
            import msgspec

            attrs: dict[str, Any] = msgspec.to_builtins(self.inspect())
            self._attrs = attrs
        return self._attrs

    def inspect(self, *, size: bool = False) -> ContainerInspect:
        """What ``docker inspect`` prints, as a struct; with ``size`` its files are counted."""
        from minidock.containers import inspect

        driver = self._lifecycle.storage_driver
        found = inspect.inspect(self.record, self.state, self._lifecycle.paths, driver)
        if size:
            found.size_rw, found.size_root_fs = self._sizes()
        return found

    def summary(self, *, size: bool = False) -> ContainerSummary:
        """What ``docker ps`` shows, as a struct; its status counts from now; with ``size`` its files are counted."""
        from minidock.containers import inspect

        found = inspect.summary(self.record, self.state)
        if size:
            found.size_rw, found.size_root_fs = self._sizes()
        return found

    def _sizes(self) -> tuple[int, int]:
        from minidock.containers.sizes import sizes

        return sizes(self.record, self._lifecycle)

    def __repr__(self) -> str:
        return f"<Container {self.short_id} {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.record.id == self.record.id

    def __hash__(self) -> int:
        return hash(self.record.id)

    def reload(self) -> None:
        """Read the container again. Raises ContainerNotFound when it is gone."""
        row = self._lifecycle.store.containers.get(self.record.id)
        self.record, self.state = self._lifecycle.settle(row)
        self._attrs = None

    def start(self) -> None:
        """Start it with ``/dev/null`` as its input; its output is thrown away (log drivers come with issue 4).

        Raises Conflict when it runs, CommandNotFound, CommandNotExecutable, and others when it cannot be started.
        """
        self._supervisor, warnings = self._lifecycle.start(self.record.id)
        self.warnings += warnings
        try:
            self.reload()
        except ContainerNotFound:  # it has ended already, and was to be removed then; wait() knows how it ended
            self.state.status = states.EXITED

    def start_attached(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        sig_proxy: bool = True,
    ) -> ExitStatus:
        """Start it with its streams on these descriptors (None: ``/dev/null``), and wait for its end.

        If the container has a tty and ``stdin`` is a terminal, that is put into raw mode, its size is passed on, and it
        is restored on every way out. ``sig_proxy`` passes the signals that this process receives on to PID 1; for that
        this must be the main thread. Raises as :meth:`start`.
        """
        from minidock.containers.attach import attached

        return attached(self, self._lifecycle, stdin=stdin, stdout=stdout, stderr=stderr, sig_proxy=sig_proxy)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended and return its exit code; one that was never started returns 0 at once, as in Docker.

        Raises Timeout after ``timeout`` seconds, and ContainerNotFound when it was removed and nothing is known of it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._supervisor is not None:
            from minidock.containers.attach import wait_exited

            ended = wait_exited(self._supervisor, timeout)
            if ended is None:
                raise Timeout(f"wait for container {self.short_id}: it has not ended within {timeout:g} s")
            self._supervisor.close()
            self._supervisor = None
            try:
                self.reload()
            except ContainerNotFound:
                self.state.status, self.state.exit_code = states.EXITED, ended.exit_code
            return ended.exit_code
        from minidock.containers.waiting import wait_supervisor

        while True:
            self.reload()
            if self.state.status != states.RUNNING and self.record.starter is None:
                return self.state.exit_code
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise Timeout(f"wait for container {self.short_id}: it has not ended within {timeout:g} s")
            file = liveness.pid_file(self._lifecycle.paths.run_container(self.record.id))
            if file is not None:
                wait_supervisor(file, left)
            else:
                time.sleep(0.005)

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal to PID 1. Raises Conflict unless it is running, InvalidArgument for an unknown signal."""
        from minidock.containers.waiting import Gone, send

        number = signals.signal(signal)
        self.reload()
        states.require("kill", self.state.status, self.record.id)
        file = liveness.pid_file(self._lifecycle.paths.run_container(self.record.id))
        try:
            if file is None:
                raise Gone
            send(file, number)
        except Gone as error:
            raise Conflict(f"cannot kill container: {self.record.id}: container is not running") from error

    def remove(self, *, force: bool = False) -> None:
        """Remove it; ``force`` kills it first. Raises Conflict when it runs and ``force`` is not set."""
        self._lifecycle.remove(self.record.id, force=force)

    @overload
    def export(self, out: None = None, *, chunk_size: int = 2 << 20) -> Iterator[bytes]: ...
    @overload
    def export(self, out: Out, *, chunk_size: int = 2 << 20) -> None: ...
    def export(self, out: Out | None = None, *, chunk_size: int = 2 << 20) -> Iterator[bytes] | None:
        """Write its root filesystem as a plain tar; what is mounted in it (volumes, /proc) is no part of that.

        ``out`` is a path (replaced when all went well), a descriptor, or a binary file; without it the tar is returned
        as an iterator of chunks. The container may run; when a file changes while it is read, that is an error.

        Raises Conflict for that, Unsupported for a directory of the host with other file systems in it, NoSpace.
        """
        from minidock.containers import exporting
        from minidock.images import outputs

        def write(fd: int) -> None:
            exporting.write(self._lifecycle, self.record.id, fd)

        if out is None:
            return outputs.piped(write, chunk_size)
        outputs.write_to(out, write, "export")
        return None

    def commit(
        self,
        repository: str | None = None,
        tag: str | None = None,
        *,
        message: str = "",
        author: str = "",
        changes: Sequence[str] = (),
    ) -> Image:
        """Make an image of it: one more layer over its image with what it has written, and its configuration.

        The container must not run. ``changes`` are Dockerfile instructions, as for ``images.import_``. The same files
        give the same layer; no time in it is later than the environment's ``SOURCE_DATE_EPOCH``.

        Raises Unsupported for one that runs, that has no image or no writable layer of its own; InvalidArgument,
        NoSpace.
        """
        from minidock.images.committing import commit

        collection = self._lifecycle.engine.images
        target = collection.target(repository, tag)
        changes = [changes] if isinstance(changes, str) else changes
        row = commit(self._lifecycle, self.record.id, target, message=message, author=author, changes=changes)
        return collection.get(row.id)

    def top(self) -> list[int]:
        """Return the host pids of its processes. Raises Conflict unless it is running."""
        from minidock import _native
        from minidock.containers.runtime_spec import cgroups_path

        self.reload()
        if self.state.status != states.RUNNING:
            raise Conflict(f"container {self.record.id} is not running")
        return _native.cgroup_processes(cgroups_path(self.record))

    def update(self, **limits: Unpack[UpdateOptions]) -> list[str]:
        """Change limits, at once if it runs, and the restart policy; what is left out, 0 or empty stays as it is.

        Returns warnings. It happens wholly or not at all. Raises InvalidArgument for a value that makes no sense, and
        Conflict where it does not fit what is set, or the memory in use.
        """
        from minidock.containers.updating import update

        warnings = update(self._lifecycle, self.record.id, limits)
        self.reload()
        return warnings
