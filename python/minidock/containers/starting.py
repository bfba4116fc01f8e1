"""Starting containers, and running them to their end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from minidock import _native
from minidock._errors import exception_for, translate
from minidock.containers import bundle, liveness, runtimes, states
from minidock.containers import record as records
from minidock.containers.base import event_attributes, translated
from minidock.containers.cidfile import CidFile
from minidock.containers.exits import exit_status
from minidock.containers.parse.modes import joined
from minidock.containers.planning import Planned, Planning
from minidock.containers.record import Record
from minidock.containers.result import RunResult
from minidock.containers.settling import KILLED
from minidock.containers.status import now
from minidock.containers.stillness import held
from minidock.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ContainerNotFound,
    InvalidArgument,
    MinidockError,
    SystemFailure,
    Timeout,
)
from minidock.security import lsm
from minidock.spec.docker import ZERO_TIME, ContainerState

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from minidock.containers.walls import Walls

_NO_NETWORK = 128
"""What Docker records as exit code of a container whose networks could not be set up."""
_CLEANING_SECONDS = 15.0
_LOOK_SECONDS = 0.1


class Starting(Planning):
    """What starts containers."""

    def _start(
        self,
        record: Record,
        walls: Walls,
        *,
        stdio: str = "relay",
        attached: tuple[str, ...] = (),
        stdin: bool | None = None,
        detach_keys: str | None = None,
        owned: bool = False,
    ) -> bundle.Start:
        """Return what is decided anew at every start. ``stdin``: whether there is one, if the record is not to say."""
        host_config = record.host_config
        shared = host_config.network_mode.startswith("container:")
        start = bundle.Start(
            record=record,
            walls=walls,
            stdio=stdio,
            attached=attached,
            stdin=record.config.open_stdin if stdin is None else stdin,
            detach_keys=detach_keys,
            joined=self._joined(record),
            owner=self.owner() if owned or record.owned else None,
            runtime=runtimes.find(record, self.config),
            exit_command=self._exit_command(record),
            events=event_attributes(record),
        )
        if shared or host_config.extra_hosts or host_config.links or any(one.links for one in record.networks.values()):
            self._near(start)
        return start

    def _near(self, start: bundle.Start) -> None:
        """Find out what a container's files say of others, and of this host. Raises Conflict, Unsupported."""
        from minidock.containers import attaching

        record = start.record
        found = attaching.donor(self, record)
        if found is None:
            start.gateways = attaching.host_gateways(self, record)
            from minidock.containers import linking

            start.linked, start.linked_environment = linking.linked(self, record)
            return
        donor, state = found
        attaching.share(self, record)
        start.joined = {**start.joined, "network": state.pid}
        # Its own donor's, if it has one.
        start.files_of = donor.host_config.network_mode.partition(":")[2] or donor.id
        if record.mount_label:
            from minidock.containers.runtime_spec.mounts import NETWORK_FILES

            for _, name in NETWORK_FILES:
                bundle.label(f"{self.paths.container(start.files_of)}/{name}", record, common=True)

    def _exit_command(self, record: Record) -> list[str]:
        """Return what the supervisor starts at the end, where something is left to do then that nobody else may do."""
        needed = record.host_config.auto_remove or record.owned
        if not needed and record.mounts:
            from minidock.containers.mounts import living

            needed = living.has_own_file_systems(self, record)
        if not needed or not sys.executable:
            return []
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        code = "import sys; sys.path.insert(0, sys.argv[1]); from minidock.containers.leaving import main; main()"
        engine = self.engine
        return [sys.executable, "-I", "-c", code, package, engine.data_root, engine.run_root, engine.config_path or "",
                record.id]  # fmt: skip

    def _joined(self, record: Record) -> dict[str, int]:
        """Return, by namespace type, the host pid of the container that is joined."""
        found: dict[str, int] = {}
        for kind, mode in (("pid", record.host_config.pid_mode), ("ipc", record.host_config.ipc_mode)):
            name = joined(mode)
            if name is None:
                continue
            donor, state = self.settle(self.store.containers.get(name))
            if donor.id == record.id:
                raise InvalidArgument(f"{mode}: a container cannot join its own namespace")
            if state.status != states.RUNNING:
                raise Conflict(f"cannot join the {kind} namespace of container {name}: it is not running")
            if kind == "ipc" and donor.host_config.ipc_mode != "shareable":
                raise Conflict(
                    f"cannot join IPC of a non-shareable container {name}: start it with the IPC mode shareable"
                )
            found[kind] = state.pid
        return found

    def begin(self, record: Record) -> Record:
        """Mark a container as being started by this process; returns its record as it is then.

        Raises Conflict when it runs or is being started.
        """
        before = record.state.status
        states.require("start", before, record.id)
        failed: list[MinidockError] = []

        def mark(now_record: Record) -> None:
            now_record.starter = self.owner()
            now_record.has_been_manually_stopped = False
            now_record.restart_count = 0
            now_record.usage = None
            now_record.app_armor_profile = record.app_armor_profile
            finished = now_record.state.finished_at
            now_record.state = ContainerState(status=states.RUNNING, started_at=now(), finished_at=finished)
            try:
                if now_record.host_config.device_requests:
                    from minidock.containers import device_requests

                    device_requests.refuse(now_record.host_config.device_requests)
                self.attach(now_record)
            except MinidockError as error:
                failed.append(error)
                raise

        # Who has its files mounted for a copy holds this lock: no two mounts write to the same layer.
        def begin() -> Record:
            failed.clear()
            with held(self.paths, record.id), self.store.database.transaction():
                begun = self.modify(record.id, mark, state=states.RUNNING, expected_state=before)
                if begun is None:
                    raise Conflict(f"container {record.id} is already running")
                # Before anybody can see that it runs: the end of the run before is not that of this one.
                self.unlink_exit_record(record.id)
            return begun

        try:
            return self.patiently(record, begin)
        except MinidockError as error:
            if failed and error is failed[-1]:
                self._not_begun(record, error)
            raise

    def _not_begun(self, record: Record, error: MinidockError) -> None:
        """Record why a container cannot be started, or remove it if it asked for that."""
        if record.host_config.auto_remove:
            self.delete(record.id)
            return

        def note(now_record: Record) -> None:
            now_record.state.error, now_record.state.exit_code = str(error), _NO_NETWORK

        self.modify(record.id, note, expected_state=record.state.status)

    def start(
        self,
        container_id: str,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        framed: bool = False,
        detach_keys: str | None = None,
    ) -> tuple[_native.Supervisor, list[str]]:
        """Start an existing container with these descriptors attached; returns its supervisor and warnings.

        ``framed``: ``stdout`` gets both outputs, each piece behind Docker's header of 8 bytes.

        Raises CommandNotFound, CommandNotExecutable and others when it cannot be started; it is as before then.
        """
        record, state = self.settle(self.store.containers.get(container_id))
        record.state = state
        if state.status in (states.CREATED, states.EXITED):
            self.wait_for_the_last_run(record.id)
        walls = self.walls.walls(record.host_config)
        # Decided anew: the kernel may be another one than when it was made, and after a boot no profile is loaded.
        profile, complaints = lsm.apparmor(walls.options, privileged=record.host_config.privileged)
        if (profile or "") == record.app_armor_profile:
            complaints = []  # it was made with these, or they were told when they were new
        record.app_armor_profile = profile or ""
        streams = (("stdin", stdin), ("framed" if framed else "stdout", stdout), ("stderr", stderr))
        attached = tuple(name for name, fd in streams if fd is not None)
        record = self.begin(record)
        spawned = False
        try:
            if record.mounts:
                from minidock.containers.mounts import living

                living.before_start(self, record, first=state.started_at == ZERO_TIME)
            start = self._start(record, walls, attached=attached, detach_keys=detach_keys)
            if record.mounts:
                start.exchanged = living.exchanged(self, record)
            directory = self.paths.container(record.id)
            bundle.rewrite(directory, bundle.files(start, self.paths, self.host), record)
            if record.host_config.network_mode == "none" and not record.endpoints:
                from minidock.containers import attaching

                start.network = attaching.nothing(self)  # it may be connected to a network later
            self.write_late(start, directory)
            if attached:
                self.emit(record, "attach")
            with translated(), self._scope(record):
                supervisor = _native.Supervisor.spawn(self.helper, directory, stdin=stdin, stdout=stdout, stderr=stderr)
                spawned = True
                try:
                    warnings = self._check_started(record, _decode(supervisor.wait_started()))
                except BaseException:
                    supervisor.close()
                    raise
            self._tell_name(record)
            return supervisor, [*complaints, *warnings]
        except MinidockError as error:
            self._not_started(record, error, state)
            raise
        except BaseException:
            # Interrupted: what has a supervisor goes on, as with Docker's daemon; `settle` finds out how it went.
            if not spawned:
                self._not_started(record, None, state)
            raise

    def _scope(self, record: Record) -> AbstractContextManager[object]:
        """Return systemd's scope for a container that is to be in one, for the time until its supervisor is."""
        if not record.host_config.cgroup_parent.endswith(".slice"):
            return contextlib.nullcontext()
        from minidock.containers import scopes

        return scopes.scope(record, self.helper)

    def _tell_name(self, started: Record) -> None:
        """Tell a new supervisor the container's name if it was renamed while it was started."""
        name = self.store.database.row("SELECT name FROM containers WHERE id = ?", (started.id,))
        if name is not None and name[0] != started.name:
            from minidock.containers import control

            control.tell_name(self, records.decode(self.store.containers.get(started.id).record))

    def wait_for_the_last_run(self, container_id: str) -> None:
        """Return when the supervisor of the run before has cleaned up: the next uses the same cgroups and directory.

        Raises Timeout, and Conflict when somebody else starts it meanwhile: then it is the supervisor of the next run.
        """
        file = liveness.pid_file(self.paths.run_container(container_id))
        if file is None or file.boot_id != self.host.boot_id:
            return
        from minidock.containers.waiting import wait_supervisor

        deadline = time.monotonic() + _CLEANING_SECONDS
        while True:
            left = deadline - time.monotonic()
            try:
                wait_supervisor(file, min(left, _LOOK_SECONDS))
                break
            except Timeout:
                row = self.store.containers.find(container_id)
                if row is not None and row.state == states.RUNNING:
                    raise Conflict(f"container {container_id} has been started meanwhile") from None
                if left <= 0:
                    raise Timeout(
                        f"start container {container_id}: the supervisor of its last run has not ended within "
                        f"{_CLEANING_SECONDS:g} s"
                    ) from None
        self._sweep_run(container_id)

    def run(self, planned: Planned, data: bytes | None, limit: int) -> RunResult:
        """Make a container, run it to its end with its output captured, and remove it if it asked for it."""
        record = planned.record
        record.starter = self.owner()
        record.state = ContainerState(status=states.RUNNING, started_at=record.created)
        captured = ("stdout", "stderr") if data is None else ("stdin", "stdout", "stderr")
        plain = record.host_config.log_config.type == "none"
        start = self._start(
            record,
            planned.walls,
            # SELinux does not let the container have the caller's pipes.
            stdio="inherit" if plain and not record.process_label else "relay",
            attached=captured,
            stdin=data is not None,
            owned=True,
        )
        helper = self.helper
        with CidFile(planned.cidfile) as cidfile:
            self.insert(planned, states.RUNNING, start)
            cidfile.write(record.id)
        self.emit(record, "create")
        self.emit(record, "attach")
        try:
            if record.mounts:
                self._ready(planned, start)
            with self._scope(record):
                first, stdout, stderr, packet = _native.run_captured(
                    helper, self.paths.container(record.id), input=data, limit=limit
                )
            warnings = self._check_started(record, _decode(first))
        except MinidockError as error:
            self._not_started(record, error)
            raise
        except _native.NativeError as error:
            self._broken_off(record)
            raise translate(error) from error
        except BaseException:
            self._broken_off(record)
            raise
        if packet is None:
            raise SystemFailure(f"run container {record.id}: its supervisor said that it started, and no more")
        if record.host_config.auto_remove:
            self.delete(record.id, later=True)
        else:
            self._ended(record, liveness.decode_exit(packet))
        ended = exit_status(packet)
        return RunResult(
            stdout=stdout,
            stderr=stderr,
            exit_code=ended.exit_code,
            oom_killed=ended.oom_killed,
            timed_out=ended.timed_out,
            usage=ended.usage,
            container_id=record.id,
            signal=ended.signal,
            warnings=(*planned.warnings, *warnings),
        )

    def _ready(self, planned: Planned, start: bundle.Start) -> None:
        """Make the mounts of a container that is about to run ready."""
        from minidock.containers.mounts import living
        from minidock.volumes import using

        record = planned.record
        using.created(self.engine, planned.volumes)
        living.before_start(self, record, first=True)
        start.exchanged = living.exchanged(self, record)
        if start.exchanged:
            contents = bundle.files(start, self.paths, self.host)
            bundle.rewrite(self.paths.container(record.id), contents, record)

    def _check_started(self, record: Record, first: dict[str, Any]) -> list[str]:
        """Return the warnings of a ``started`` packet; raise what an ``error`` packet says."""
        try:
            return _check_started(first)
        except Conflict as error:
            from minidock.containers import attaching

            raise attaching.explained(self, record, error) from error

    def _broken_off(self, record: Record) -> None:
        """Record the end of a container whose run was interrupted; nothing of it runs any more afterwards."""
        ended = self.exit_record(record.id)
        try:
            if ended is None:
                self._abandoned(record)
            else:
                self._ended(record, ended)
        except ContainerNotFound:
            return

    def _not_started(self, record: Record, error: MinidockError | None, before: ContainerState | None = None) -> None:
        """Record that a start failed, or remove a container that asked for it; ``before`` is how it was."""
        code = error.exit_code if error is not None else KILLED
        self._sweep_up(record)
        if record.host_config.auto_remove:
            self.delete(record.id)
            return

        status = states.EXITED if before is not None and before.status == states.EXITED else states.CREATED

        def undo(now_record: Record) -> None:
            if not now_record.owned:
                now_record.starter = None
            self.release(now_record)
            now_record.state = ContainerState(status=status, error=str(error or ""), exit_code=code)
            if before is not None:
                now_record.state.started_at, now_record.state.finished_at = before.started_at, before.finished_at

        self.modify(record.id, undo, state=status, expected_state=states.RUNNING)
        if record.mounts:
            from minidock.containers.mounts import living

            living.after_end(self, record)


def _decode(packet: bytes) -> dict[str, Any]:
    import msgspec

    decoded: dict[str, Any] = msgspec.json.decode(packet)
    return decoded


def _check_started(first: dict[str, Any]) -> list[str]:
    """Return the warnings of a ``started`` packet; raise what an ``error`` packet says."""
    if first.get("event") == "started":
        return list(first.get("warnings") or ())
    text = str(first.get("message") or "the container could not be started")
    code = first.get("exit_code")
    if code == 127:
        raise CommandNotFound(text)
    if code == 126:
        raise CommandNotExecutable(text)
    raise exception_for(str(first.get("kind")), text, first.get("errno"))
