"""What is so: kernel facts beat records. What died is settled, what is left behind is removed."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, TypeVar

from minidock import _native
from minidock.containers import liveness, states
from minidock.containers import record as records
from minidock.containers.base import Base, translated
from minidock.containers.status import now, parse_time
from minidock.errors import Conflict, ContainerNotFound, MinidockError, NoSpace, Timeout
from minidock.spec.docker import ZERO_TIME, ContainerState
from minidock.spec.oci_image import Healthcheck
from minidock.store.cleaner import cleaner

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.containers.record import Record
    from minidock.store.containers import ContainerRow
    from minidock.store.workspace import Workspace

_Result = TypeVar("_Result")
KILLED = 128 + 9
_LAST_SECONDS = 2.0
_SWEEP_SECONDS = 0.5
_ABANDONED_SECONDS = 2.0  # others wait for the database meanwhile
_KILL_SECONDS = 10.0
_LOOK_SECONDS = 0.01


class _OtherRun(Exception):  # noqa: N818 - control flow in this module
    """The container has been started again."""


class Settling(Base):
    """What finds out how containers are, and removes them."""

    @staticmethod
    def is_networked(record: Record) -> bool:
        """Whether a container gets interfaces of its own besides that of the loopback."""
        return any(name not in ("none", "host") for name in record.networks)

    def patiently(self, record: Record, act: Callable[[], _Result]) -> _Result:
        """Return what ``act`` returns, which calls :meth:`attach` in a transaction of its own.

        An address that is being taken down is waited for.
        """
        if not self.is_networked(record):
            return act()
        from minidock.networks.leases import patiently

        self.networks.prepare(record)
        return patiently(act)

    def attach(self, record: Record) -> None:
        """Give a container that is about to start what it has of networks; part of the caller's transaction.

        Raises as :func:`minidock.containers.attaching.attach`, and :func:`minidock.containers.attaching.donor`.
        """
        record.endpoints = {}
        if record.host_config.network_mode.startswith("container:"):
            from minidock.containers import attaching

            attaching.share(self, record)
        elif self.is_networked(record):
            from minidock.containers import attaching

            attaching.attach(self, record)

    def release(self, record: Record) -> None:
        """Give back what a container has of networks; part of the caller's transaction."""
        if record.endpoints:
            record.endpoints = {}
            with contextlib.suppress(NoSpace):  # given back with the next change of the record, or its removal
                self.store.networks.release(record.id)

    def settle(self, row: ContainerRow) -> tuple[Record, ContainerState]:
        """Return a container's record and its true state; what has changed since the last look is recorded.

        A supervisor that was killed leaves processes behind: they are killed, and the container is recorded as exited
        with 137. Raises ContainerNotFound when the container has ended and was to be removed then.
        """
        record = records.decode(row.record)
        if row.state in (states.CREATED, states.EXITED) and record.starter is not None:
            self._expect_starter(record)
        if row.state != states.RUNNING:
            if row.state in (states.REMOVING, states.DEAD):
                record.state.status = row.state
                record.state.dead = row.state == states.DEAD
            return record, record.state
        ended = self.exit_record(row.id)
        if ended is None or not ended.final:
            file = liveness.pid_file(self.paths.run_container(row.id))
            if file is not None and file.boot_id == self.host.boot_id:
                # PID 1 alone does not count: one that executed a setuid program outlives its supervisor.
                if liveness.alive(file.supervisor, file.supervisor_start):
                    return record, self._alive(record, file)
                ended = self.exit_record(row.id)
            elif record.starter is not None and liveness.alive(record.starter.pid, record.starter.start_time):
                ended = self.exit_record(row.id)
                if ended is None:
                    record.state.status = states.CREATED
                    return record, record.state
            if ended is None:
                return self._abandoned(record, row.record)
        return self._ended(record, ended)

    def _alive(self, record: Record, file: liveness.PidFile) -> ContainerState:
        """Return the state of a container that has a supervisor, into its record too."""
        state = record.state
        record.restart_count = file.restart_count
        if file.status == "starting":
            state.status = states.CREATED
            return state
        state.running = True
        state.started_at = file.started_at or state.started_at
        state.finished_at = file.finished_at or state.finished_at
        if file.status == states.RESTARTING:
            state.status, state.restarting = states.RESTARTING, True
            state.exit_code, state.oom_killed = file.exit_code, file.oom_killed
            self._check_health(record, state)
            return state
        if liveness.alive(file.pid, file.start_time):
            state.status, state.pid = states.RUNNING, file.pid
            if self._is_paused(record):
                state.status, state.paused = states.PAUSED, True
        # else: PID 1 is no longer there; the supervisor will tell how it ended.
        self._check_health(record, state)
        return state

    def _check_health(self, record: Record, state: ContainerState) -> None:
        """Put the health of a container that has a check into its state."""
        if isinstance(record.config.healthcheck, Healthcheck):
            from minidock.containers import health

            state.health = health.health(record, state, self.paths)

    def pause_mark(self, container_id: str) -> str:
        """The file that is there while a container is paused; then the freezer is asked whether it is so."""
        return f"{self.paths.run_container(container_id)}/paused"

    def _is_paused(self, record: Record) -> bool:
        if not os.path.exists(self.pause_mark(record.id)):
            return False
        from minidock.containers.runtime_spec import cgroups_path

        with translated():
            return _native.cgroup_frozen(cgroups_path(record))

    def _expect_starter(self, record: Record) -> None:
        """Remove a container whose maker died before it could start it, if it was to be removed after its run.

        And one that has ended, if it was to go with the process that started it. Raises ContainerNotFound then.
        """
        starter = record.starter
        if starter is None or liveness.alive(starter.pid, starter.start_time):
            return

        def check(row: ContainerRow) -> None:
            if row.state not in (states.CREATED, states.EXITED):
                raise Conflict(f"container {row.id} has been started meanwhile")

        with contextlib.suppress(Conflict):
            self.delete(record.id, check=check)
            raise ContainerNotFound(
                f"no such container: {record.id}; who was to start it, or owned it, died, so it was removed"
            )

    def _ended(self, record: Record, ended: liveness.ExitRecord) -> tuple[Record, ContainerState]:
        """Record the end of a run, unless another process has, and perhaps started it again: then that is returned."""
        if record.host_config.auto_remove or self._is_orphan(record):
            self._hear_out(record.id)
            self.delete(record.id)
            raise ContainerNotFound(f"no such container: {record.id}; it has ended and was to be removed then")
        run = (record.starter, record.state.started_at)

        def end(now_record: Record) -> None:
            if (now_record.starter, now_record.state.started_at) != run:
                raise _OtherRun
            if not now_record.owned:
                now_record.starter = None
            now_record.restart_count = ended.restart_count
            self.release(now_record)
            now_record.usage = ended.usage or None
            before = now_record.state
            now_record.state = ContainerState(
                status=states.EXITED,
                exit_code=ended.exit_code,
                oom_killed=ended.oom_killed,
                error=ended.error or "",
                started_at=ended.started_at or before.started_at,
                finished_at=ended.finished_at or now(),
            )
            self._check_health(now_record, now_record.state)

        try:
            settled = self.modify(record.id, end, state=states.EXITED, expected_state=states.RUNNING)
        except _OtherRun:
            settled = None
        except NoSpace:
            end(record)  # the next look finds the same exit record
            settled = record
        if settled is None:
            return self.settle(self.store.containers.get(record.id))
        self._let_volumes_go(settled)
        return settled, settled.state

    def _let_volumes_go(self, record: Record) -> None:
        """Let go of the volumes of a container that has ended, which a row that says ``running`` does not know."""
        if record.mounts:
            from minidock.containers.mounts import living

            living.after_end(self, record)

    def _is_orphan(self, record: Record) -> bool:
        """Whether a container has lost the process that it was to end with, and so is to be removed."""
        owner = record.starter
        return record.owned and owner is not None and not liveness.alive(owner.pid, owner.start_time)

    def _hear_out(self, container_id: str) -> None:
        """Let a supervisor that has recorded the end tell the host's events, so that they are in order.

        Its socket goes when it has; one that is stopped is not waited for long.
        """
        run_dir = self.paths.run_container(container_id)
        deadline = time.monotonic() + _LAST_SECONDS
        while os.path.exists(f"{run_dir}/sock") and time.monotonic() < deadline:
            file = liveness.pid_file(run_dir)
            if file is None or not liveness.alive(file.supervisor, file.supervisor_start):
                return
            time.sleep(_LOOK_SECONDS / 10)

    def _abandoned(self, record: Record, seen: bytes | None = None) -> tuple[Record, ContainerState]:
        """Kill what a dead supervisor left, and record the end.

        ``seen`` is the record's bytes that told so: when they have changed, another process has repaired, and perhaps
        started the container again, and what is so now is returned.
        """
        table = self.store.containers
        with table.database.transaction():
            row = table.find(record.id)
            current = row is not None and row.state == states.RUNNING and (seen is None or row.record == seen)
            # One of several who look at the same time does this.
            current = current and self.exit_record(record.id) is None
            if current:
                file = liveness.pid_file(self.paths.run_container(record.id))
                # What cannot be killed (it waits for a disk) is left for `_sweep_run`: nobody else is to wait for it.
                with contextlib.suppress(MinidockError):
                    self._kill_rest(record, _ABANDONED_SECONDS)
                ended = liveness.ExitRecord(
                    exit_code=KILLED,
                    signal=9,
                    started_at=record.state.started_at if record.state.started_at != ZERO_TIME else now(),
                    finished_at=now(),
                )
                # Whatever becomes of this process, the next look finds out no less.
                liveness.leave_exit_record(self.paths.run_container(record.id), ended)
        if not current:
            return self.settle(table.get(record.id))
        if file is not None and file.pid:
            lasted = max(0, int(time.time() - parse_time(file.started_at))) if file.started_at else 0
            self.emit(record, "die", execDuration=str(lasted), exitCode=str(KILLED))
        try:
            return self._ended(record, ended)
        finally:
            self._sweep_run(record.id)

    def _kill_rest(self, record: Record, patience: float = 10.0) -> None:
        """Kill what a dead supervisor left, and remove the cgroup."""
        from minidock.containers.runtime_spec import cgroups_path

        path = cgroups_path(record)
        try:
            with translated():
                _native.cgroup_kill(path, timeout=patience)
                _native.cgroup_remove(path, timeout=min(patience, 1.0))
        finally:
            if record.endpoints:
                from minidock.containers import attaching

                attaching.forget_live(self, record)

    def _sweep_up(self, record: Record) -> None:
        """Kill what is left in a container's cgroup, and remove the cgroup and the run directory."""
        from minidock.store.trees import remove_tree

        self._kill_rest(record)
        remove_tree(self.paths.run_container(record.id))

    def _sweep_run(self, name: str) -> None:
        """Remove the traces in the run root of a container that does not run, unless its supervisor still does so.

        What cannot be removed now stays for the next time: it must not keep anybody from working.
        """
        run_dir = self.paths.run_container(name)
        table = self.store.containers
        # Nobody can mark the container as running meanwhile, and so nobody can start it on the same cgroups.
        with table.database.transaction():
            rows = table.database.rows("SELECT state FROM containers WHERE id = ?", (name,))
            if rows and rows[0][0] == states.RUNNING:
                return
            file = liveness.pid_file(run_dir)
            with contextlib.suppress(MinidockError, _native.NativeError, OSError):
                if file is None and not os.path.exists(f"{run_dir}/pid"):
                    # Made before, or emptied after, everything else: there are no cgroups.
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(f"{run_dir}/pid.new")
                    os.rmdir(run_dir)
                    return
                if file is not None and file.boot_id == self.host.boot_id:
                    if liveness.alive(file.supervisor, file.supervisor_start):
                        return
                    if name in file.cgroup:  # never a group that holds others too
                        _native.cgroup_kill(file.cgroup, timeout=_SWEEP_SECONDS)
                        _native.cgroup_remove(file.cgroup, timeout=_SWEEP_SECONDS)
                from minidock.store.trees import remove_tree

                remove_tree(run_dir)

    def kill_all(self, record: Record, timeout: float = 10.0) -> None:
        """Kill a running container and wait until its supervisor has ended, or kill that too."""
        from minidock.containers import control
        from minidock.containers.waiting import Gone, send, wait_supervisor

        file = liveness.pid_file(self.paths.run_container(record.id))
        if file is not None and file.boot_id == self.host.boot_id:
            try:
                # Nothing is started again after this.
                told = control.tell(self, record, {"op": "stop", "signal": 9, "timeout_ms": 0})
                if not told and not file.pid:
                    raise Timeout("")
                # Without a socket it is cleaning up: it is not killed while it does so.
                wait_supervisor(file, timeout)
            except (Timeout, Conflict):
                with contextlib.suppress(Gone):
                    send(file, 9)
                self.kill_supervisor(file)
                self._sweep_run(record.id)
        with_row = self.store.containers.find(record.id)
        if with_row is not None:
            try:
                self.settle(with_row)
            except ContainerNotFound:
                return

    def kill_supervisor(self, file: liveness.PidFile) -> None:
        """Kill a supervisor that does not answer, and wait for its end; what it leaves is settled at the next look."""
        from minidock.containers import waiting

        waiting.kill_supervisor(file)
        waiting.wait_supervisor(file, _KILL_SECONDS)

    def sweep_runs(self) -> None:
        """Clean up after supervisors that were killed while they cleaned up. Costs one look when all is well.

        Those of containers that run are left to :meth:`settle`.
        """
        self._sweep_but(self._supervised())

    def _supervised(self) -> set[str]:
        """Return the ids of the containers that have a supervisor."""
        with translated():
            found = _native.survey(self.paths.run_containers, self.host.boot_id, False)
        return {name for name, (_, supervised, _, _) in found.items() if supervised}

    def _sweep_but(self, supervised: set[str]) -> None:
        if os.path.isdir(self.paths.run_containers):
            for name in set(os.listdir(self.paths.run_containers)) - supervised:
                self._sweep_run(name)

    def recover(self) -> None:
        """Settle every container whose record says that it runs: what died since the last look is cleaned up."""
        supervised = self._supervised()
        rows = self.store.containers.database.rows("SELECT id FROM containers WHERE state = 'running'")
        for (container_id,) in rows:
            if container_id in supervised:
                continue
            row = self.store.containers.find(container_id)
            if row is None:
                continue
            try:
                self.settle(row)
            except ContainerNotFound:
                continue
        self._sweep_but(supervised)

    def remove(self, container_id: str, *, force: bool = False, volumes: bool = False, later: bool = False) -> None:
        """Remove a container; ``force`` kills it first, and ``volumes`` takes its anonymous volumes along.

        With ``later`` its files go after the return, in the background.

        Raises Conflict when it runs, ContainerNotFound.
        """
        record, state = self.settle(self.store.containers.get(container_id))
        if state.status in states.ALIVE and not force:
            states.require("remove", state.status, container_id)
        row = self._killed(record) if force else self.store.containers.find(record.id)
        if row is None:
            return
        if row.state != states.CREATED:
            self._hear_out(row.id)
        if row.state == states.RUNNING:
            self._let_volumes_go(record)
        # From here on nobody can start it; one whose files cannot be removed stays, dead, until that is tried again.
        self._require_still(row)
        with contextlib.suppress(NoSpace):
            self.store.containers.update(record.id, state=states.REMOVING, expected_state=row.state)
        try:
            self.delete(record.id, later=later, check=self._require_still, volumes=volumes)
        except Conflict:
            raise
        except BaseException:
            with contextlib.suppress(MinidockError):
                self.store.containers.update(record.id, state=states.DEAD, expected_state=states.REMOVING)
            raise

    def _killed(self, record: Record) -> ContainerRow | None:
        """Kill a container, also one that is being started at this moment; returns its row, None when it is gone."""
        deadline = time.monotonic() + _KILL_SECONDS
        while True:
            self.kill_all(record)
            row = self.store.containers.find(record.id)
            if row is None or row.state != states.RUNNING or time.monotonic() > deadline:
                return row
            if self.exit_record(row.id) is not None:
                return row
            time.sleep(_LOOK_SECONDS)

    def _require_still(self, row: ContainerRow) -> None:
        """Refuse to remove a container that another process has started meanwhile."""
        if self.exit_record(row.id) is None:  # on a full disk the row says that it runs even after its end
            states.require("remove", row.state, row.id)

    def delete(
        self,
        container_id: str,
        *,
        later: bool = False,
        check: Callable[[ContainerRow], None] | None = None,
        volumes: bool = False,
    ) -> None:
        """Remove the row and the files of a container that does not run; one that is gone already is fine.

        With ``later`` the files go after the return, in the background. ``check`` may forbid it, see the table. With
        ``volumes`` its anonymous volumes go too, as they do if it was to be removed at its end.
        """
        table = self.store.containers
        row = table.find(container_id)
        if row is None:
            return
        record = records.decode(row.record)
        anonymous = volumes or record.host_config.auto_remove or record.owned
        taken: list[str] = []
        with_it = None
        if record.mounts and anonymous:
            from minidock.containers.mounts import living

            def with_it(trash: Workspace) -> None:
                taken.extend(living.remove_with(self, record, trash))

        try:
            try:
                table.remove(container_id, check, later=cleaner.later if later else None, with_it=with_it)
            except (NoSpace, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.ENOSPC:
                    raise
                # Even taking a row away needs a little space.
                taken.clear()
                row = table.find(container_id)
                if row is None:
                    return
                if check is not None:
                    check(row)
                from minidock.containers.full_disk import make_room

                make_room(self.paths, container_id)
                table.remove(container_id, check)
        except ContainerNotFound:
            return
        if row.state == states.RUNNING:
            self._let_volumes_go(record)
        self.emit(record, "destroy")
        if record.mounts:
            from minidock.containers.mounts import living

            living.removed(self, record, taken, anonymous=anonymous)
