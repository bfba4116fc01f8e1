"""One container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from minidock.containers import states
from minidock.containers.contents import Contents
from minidock.errors import Conflict, ContainerNotFound, MinidockError

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from typing import Unpack

    from minidock._native import Supervisor
    from minidock.containers.attachment import Attachment
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.logs import Log
    from minidock.containers.options import UpdateOptions
    from minidock.containers.parse.times import Time
    from minidock.containers.processes import Top
    from minidock.containers.readiness import HostPort
    from minidock.containers.record import Record
    from minidock.containers.result import ExitStatus, Usage
    from minidock.containers.stats import Stats, StatsStream
    from minidock.spec.docker import ContainerInspect, ContainerState, ContainerSummary, PortBinding


class Container(Contents):
    """A container that exists: created, running or exited. Made by :class:`ContainerCollection`.

    Its attributes are as of its making or the last :meth:`reload`. As a context manager it is removed, running or not,
    at the end of the ``with`` block, and its anonymous volumes with it.
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
        """``created``, ``running``, ``paused``, ``restarting``, ``removing``, ``exited`` or ``dead``."""
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
        from minidock.containers import exec_records, inspect

        driver = self._lifecycle.storage_driver
        running = exec_records.ids(self._lifecycle, self.id) if self.state.running else None
        found = inspect.inspect(self.record, self.state, self._lifecycle.paths, driver, running)
        if size:
            found.size_rw, found.size_root_fs = self._sizes()
        return found

    def summary(self, *, size: bool = False) -> ContainerSummary:
        """What ``docker ps`` shows, as a struct; its status counts from now; with ``size`` its files are counted."""
        from minidock.containers import inspect
        from minidock.containers.listing import ImageNames

        image = ImageNames(self._lifecycle.engine).shown(self.record)
        found = inspect.summary(self.record, self.state, self._lifecycle.paths, image=image)
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

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.remove(force=True, volumes=True)
        except ContainerNotFound:
            return

    def start(self) -> None:
        """Start it in the background; one that runs stays as it is.

        Its input, where it has one, stays open for who attaches. Raises Conflict when it is paused, CommandNotFound,
        CommandNotExecutable, and others when it cannot be started.
        """
        from minidock.containers import control

        supervisor, warnings = control.start(self._lifecycle, self.record.id)
        if supervisor is not None:
            self._close()
            self.warnings += warnings
            if self.record.host_config.auto_remove:
                self._supervisor = supervisor  # nobody else can tell of its end
            else:
                supervisor.close()  # a thousand containers are not to take a thousand descriptors
        self._reload_or_ended()

    def start_attached(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        sig_proxy: bool = True,
        detach_keys: str | None = None,
    ) -> ExitStatus | None:
        """Start it with its streams on these descriptors (None: not attached), and wait for its end.

        If the container has a tty and ``stdin`` is a terminal, that is put into raw mode, its size is passed on, and it
        is restored on every way out. ``sig_proxy`` passes the signals that this process receives on to PID 1; for that
        this must be the main thread. ``detach_keys`` (``ctrl-p,ctrl-q`` if the container has a tty) end it early, and
        None is returned. Raises as :meth:`start`.
        """
        from minidock.containers.attach import start_attached

        return start_attached(
            self, self._lifecycle, (stdin, stdout, stderr), sig_proxy=sig_proxy, detach_keys=detach_keys
        )

    def attach(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        sig_proxy: bool = True,
        detach_keys: str | None = None,
    ) -> ExitStatus | None:
        """Connect its streams to these descriptors (None: not connected) and wait for its end.

        All else is as in :meth:`start_attached`.

        Any number of clients may be attached at once; each gets all output from then on. Raises Conflict unless
        it runs.
        """
        from minidock.containers.attach import attach

        return attach(self, self._lifecycle, (stdin, stdout, stderr), sig_proxy=sig_proxy, detach_keys=detach_keys)

    def attach_streams(self, *, stdin: bool = False) -> Attachment:
        """Connect to its streams: a context manager that yields pieces of output, and takes input if ``stdin``.

        Raises Conflict unless it runs.
        """
        from minidock.containers.attachment import Attachment

        return Attachment(self._lifecycle, self.record.id, stdin=stdin)

    def resize(self, rows: int, cols: int) -> None:
        """Set the size of its terminal, in characters. Raises Conflict when it has none, or does not run."""
        self._tell("resize", {"op": "resize", "rows": rows, "cols": cols})
        self._lifecycle.emit(self.record, "resize", height=str(rows), width=str(cols))

    def _tell(self, operation: str, request: dict[str, Any]) -> None:
        from minidock.containers import control

        self.reload()
        states.require(operation, self.state.status, self.record.id)
        if not control.tell(self._lifecycle, self.record, request):
            raise Conflict(f"container {self.record.id} is not running")

    def wait(self, timeout: float | None = None, condition: str = "not-running") -> int:
        """Wait until a condition holds, and return the exit code; one that was never started has 0, as in Docker.

        ``condition`` is ``not-running``, ``next-exit``, ``removed`` or ``healthy`` (it runs, and its health check, if
        it has one, succeeds). Raises Timeout after ``timeout`` seconds, ContainerNotFound when it was removed and
        nothing is known of it, and for ``healthy`` Conflict or SystemFailure when it can no longer be.
        """
        from minidock.containers import control

        # What is started again ends several times, and the first of these ends would be told here.
        once = self.record.host_config.restart_policy.name in ("", "no")
        if self._supervisor is not None and condition == "not-running" and once:
            from minidock.containers.attach import wait_exited

            code = wait_exited(self._supervisor, self.short_id, timeout)
            self._close()
            if code is None:
                code = control.wait_abandoned(self._lifecycle, self.record.id, timeout)
        else:
            code = control.wait(self._lifecycle, self.record.id, timeout, condition)
        self._reload_or_ended(code)
        return code

    def _close(self) -> None:
        if self._supervisor is not None:
            self._supervisor.close()
            self._supervisor = None

    def _reload_or_ended(self, code: int = 0) -> None:
        """Read the container again; if it has been removed at its end, that is how it was."""
        try:
            self.reload()
        except ContainerNotFound:
            self.state.status, self.state.exit_code = states.EXITED, code
            self.state.running, self.state.paused, self.state.pid = False, False, 0

    def stop(self, timeout: float | None = None, signal: str | int | None = None) -> None:
        """Ask it to end, and kill it if it has not after ``timeout`` seconds (negative: never); it may have ended.

        Without arguments its own signal and time count (SIGTERM and 10 s unless created with others). Raises
        InvalidArgument for a signal that is none.
        """
        from minidock.containers import control

        control.stop(self._lifecycle, self.record.id, timeout, signal)
        self._reload_or_ended(self.state.exit_code)

    def restart(self, timeout: float | None = None, signal: str | int | None = None) -> None:
        """Stop it if it runs, as :meth:`stop`, and start it. Raises as both."""
        from minidock.containers import control

        self._close()
        self.warnings += control.restart(self._lifecycle, self.record.id, timeout, signal)
        self._reload_or_ended()

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal to PID 1. Raises Conflict unless it is running, InvalidArgument for an unknown signal."""
        from minidock.containers import control

        control.kill(self._lifecycle, self.record.id, signal)

    def pause(self) -> None:
        """Stop all its processes, as they are. Raises Conflict unless it runs, Unsupported without a freezer."""
        from minidock.containers import control

        control.pause(self._lifecycle, self.record.id)
        self.reload()

    def unpause(self) -> None:
        """Let its processes run again. Raises Conflict unless it is paused."""
        from minidock.containers import control

        control.unpause(self._lifecycle, self.record.id)
        self.reload()

    def rename(self, name: str) -> None:
        """Give it another name. Raises NameInUse, InvalidArgument."""
        from minidock.containers import control

        control.rename(self._lifecycle, self.record.id, name)
        self.reload()

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; ``force`` kills it first. Raises Conflict when it runs and ``force`` is not set.

        ``volumes`` removes its anonymous volumes too, unless another container has them.
        """
        self._close()
        self._lifecycle.remove(self.record.id, force=force, volumes=volumes)

    def discard_unstarted(self) -> None:
        """Remove it if it was to be removed after its run, and could not be started."""
        try:
            self.reload()
            if self.record.host_config.auto_remove and self.state.status == states.CREATED:
                self.remove()
        except MinidockError:
            return

    def top(self, ps_args: str | None = None) -> Top:
        """Return its processes as ``ps`` shows them on the host; ``ps_args`` are ps's options, ``-ef`` unless given.

        No program is run. Raises Conflict unless it is running, InvalidArgument for options that make no sense,
        Unsupported for those of ps's options that are not here.
        """
        from minidock import _native
        from minidock.containers.processes import top
        from minidock.containers.runtime_spec import cgroups_path

        self.reload()
        states.require("top", self.state.status, self.record.id)
        found = top(lambda: _native.cgroup_processes(cgroups_path(self.record)), ps_args)
        self._lifecycle.emit(self.record, "top")
        return found

    @overload
    def stats(self, *, stream: Literal[False] = False, interval: float | None = None) -> Stats: ...
    @overload
    def stats(self, *, stream: Literal[True], interval: float | None = None) -> StatsStream: ...
    def stats(self, *, stream: bool = False, interval: float | None = None) -> Stats | StatsStream:
        """Return what it uses: one look at it, or with ``stream`` an iterator, to be closed, that ends when it ends.

        A stream looks every ``interval`` seconds (1 unless given). One look has no CPU use in percent, which takes two:
        with ``interval`` it is the second one, so many seconds after the first. A container that does not run uses 0.
        """
        from minidock.containers import stats

        if not stream:
            return stats.once(self, stats.check_interval(interval or 0))
        seconds = stats.check_interval(stats.INTERVAL if interval is None else interval)
        return stats.StatsStream(Container(self._lifecycle, self.record, self.state), seconds)

    @property
    def usage(self) -> Usage | None:
        """What its last run used, once that is over; None before, and after its supervisor was killed."""
        from minidock.containers.exits import usage

        return usage(self.record.usage) if self.record.usage and not self.state.running else None

    @property
    def ports(self) -> dict[str, list[dict[str, str]] | None]:
        """Where its ports are published, as docker-py has it: ``{"80/tcp": [{"HostIp": …, "HostPort": …}]}``.

        As of its making or the last :meth:`reload`. None for a port that is exposed only; empty while it does not run.
        """
        found: dict[str, list[dict[str, str]] | None] = self.attrs["NetworkSettings"]["Ports"]
        return found

    @property
    def ip(self) -> str:
        """Its first address, while it runs; empty without one."""
        shown = (one.ipv4 or one.ipv6 for one in self.record.endpoints.values()) if self.state.running else ()
        return next((address.partition("/")[0] for address in shown if address), "")

    def wait_for_port(self, port: int | str, timeout: float = 60.0) -> HostPort:
        """Wait until something in it listens on a port (80, ``"53/udp"``); return what to connect to from this host.

        That is a number, the host's port, which also has ``host`` and ``address``; of a port that is not published it
        is the port itself, and ``host`` the container's own address. Nothing is connected to for this.

        Raises Conflict when the container ends, or cannot be reached on the port from here, Timeout, InvalidArgument.
        """
        from minidock.containers.readiness import wait_for_port

        return wait_for_port(self, self._lifecycle, port, timeout)

    def wait_for_log(self, text: str | re.Pattern[str], timeout: float = 60.0) -> str:
        """Wait until it has written a line with ``text`` in it, or that a pattern finds, and return that line.

        Lines of the current run count, also those from before this call. Raises Conflict when it ends without,
        Timeout, Unsupported for a log driver that cannot be read.
        """
        from minidock.containers.readiness import wait_for_log

        return wait_for_log(self, self._lifecycle, text, timeout)

    def wait_for_http(
        self, path: str = "/", *, port: int | str = 80, status: int | range | None = 200, timeout: float = 60.0
    ) -> HostPort:
        """Wait until a GET of ``path`` is answered with ``status`` (None: any); return what to connect to.

        Raises as :meth:`wait_for_port`; the error of a timeout says what the last answer was.
        """
        from minidock.containers.readiness import wait_for_http

        return wait_for_http(self, self._lifecycle, path, port=port, status=status, timeout=timeout)

    def port(self, private_port: int | str | None = None) -> dict[str, list[PortBinding]]:
        """Return where its ports are published, by ``PORT/PROTOCOL``; with ``private_port`` (80, "80/udp") only that's.

        Raises InvalidArgument for a port that is none.
        """
        from minidock.containers.ports import published

        self.reload()
        return published(self.inspect().network_settings.ports, private_port)

    def update(self, **limits: Unpack[UpdateOptions]) -> list[str]:
        """Change limits, at once if it runs, and the restart policy; what is left out, 0 or empty stays as it is.

        Returns warnings. It happens wholly or not at all. Raises InvalidArgument for a value that makes no sense, and
        Conflict where it does not fit what is set, or the memory in use.
        """
        from minidock.containers.updating import update

        warnings = update(self._lifecycle, self.record.id, limits)
        self.reload()
        return warnings

    @overload
    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        stream: Literal[False] = False,
        follow: bool = False,
        since: Time | None = None,
        until: Time | None = None,
        tail: int | str | None = None,
        timestamps: bool = False,
        details: bool = False,
        timeout: float | None = None,
    ) -> bytes: ...
    @overload
    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        stream: Literal[True],
        follow: bool = False,
        since: Time | None = None,
        until: Time | None = None,
        tail: int | str | None = None,
        timeout: float | None = None,
    ) -> Log: ...
    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        stream: bool = False,
        follow: bool = False,
        since: Time | None = None,
        until: Time | None = None,
        tail: int | str | None = None,
        timestamps: bool = False,
        details: bool = False,
        timeout: float | None = None,
    ) -> bytes | Log:
        """Return what it has written, as ``docker logs`` prints it; with ``stream`` as an iterator of records.

        ``follow`` goes on until it ends. ``tail`` is how many records from the end, ``since`` and ``until`` are times
        (numbers, text as Docker takes it, datetimes). The iterator is to be closed; ``with`` does that.

        Raises Unsupported for a log driver that cannot be read, InvalidArgument, and Timeout when a container that is
        followed has not ended after ``timeout`` seconds.
        """
        from minidock.containers import logs

        log = logs.Log(
            self,
            self._lifecycle,
            stdout=stdout,
            stderr=stderr,
            follow=follow,
            since=since,
            until=until,
            tail=tail,
            timeout=timeout,
        )
        return log if stream else logs.whole(log, timestamps=timestamps, details=details)
