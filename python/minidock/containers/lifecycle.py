"""Making, starting, settling and removing containers, on one engine's store. The hot path of ``run`` is here."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Any

from minidock import _native
from minidock._errors import exception_for, translate
from minidock.containers import bundle, liveness, runtimes, states
from minidock.containers import record as records
from minidock.containers.cidfile import CidFile
from minidock.containers.document import Owner
from minidock.containers.draft import draft
from minidock.containers.draft.merge import merge
from minidock.containers.exits import exit_status
from minidock.containers.host import Host
from minidock.containers.names import make as make_name
from minidock.containers.parse.modes import joined
from minidock.containers.record import Record
from minidock.containers.result import RunResult
from minidock.containers.status import now
from minidock.containers.walls import Builder
from minidock.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ContainerNotFound,
    Corrupt,
    ImageNotFound,
    InvalidArgument,
    MinidockError,
    NameInUse,
    NoSpace,
    SystemFailure,
    Unsupported,
)
from minidock.images.references import is_id
from minidock.security import lsm
from minidock.spec.docker import ZERO_TIME, ContainerState
from minidock.store.cleaner import cleaner
from minidock.store.containers import ContainerRow
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from minidock.containers.walls import Walls
    from minidock.engine import Engine
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.images import ImageRow

KILLED = 128 + 9
_NAME_ATTEMPTS = 12
_CLEANING_SECONDS = 15.0
_SWEEP_SECONDS = 0.5


class Planned:
    """A container that does not exist yet. With ``tree``, that directory is its root as it is, no snapshot of one."""

    __slots__ = ("cidfile", "named", "record", "tree", "walls", "warnings")

    def __init__(
        self,
        record: Record,
        walls: Walls,
        *,
        named: bool,
        cidfile: str | None,
        warnings: list[str],
    ) -> None:
        self.record = record
        self.walls = walls
        self.named = named
        self.cidfile = cidfile
        self.tree: str | None = None
        self.warnings = warnings


class Lifecycle:
    """What containers need of one engine, opened once: store, host facts, compiled filters, the helper's file."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store
        self.paths = self.store.paths
        self.config = engine.config
        self.host = Host()
        self.walls = Builder(engine.config, self.paths.seccomp)
        self._images: dict[str, ImageConfig] = {}
        self._helper: _native.HelperFile | None = None
        self._self: Owner | None = None
        self._maps: tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]] | None = None

    # Planning: nothing on disk changes.

    def plan(
        self,
        image: str | None,
        command: str | Sequence[str] | None,
        options: Mapping[str, Any],
        environ: Mapping[str, str],
    ) -> Planned:
        """Return the container that these arguments mean. Raises as :meth:`ContainerCollection.create` says."""
        made = draft(image, command, options, self.config, environ)
        row: ImageRow | None = None
        configuration: ImageConfig | None = None
        if made.rootfs is None:
            if not image:
                raise InvalidArgument("an image is needed, or the option rootfs")
            row, configuration = self._image(image, made.pull, made.platform)
        elif image:
            raise InvalidArgument("image and rootfs exclude each other")
        container_id = os.urandom(32).hex()
        host_config, config = made.host_config, made.config
        merge(made, configuration, self.host)
        if not config.hostname:
            on_host = host_config.uts_mode == "host" or host_config.network_mode == "host"
            config.hostname = self.host.name if on_host else container_id[:12]
        host_config.runtime = runtimes.name(host_config.runtime, self.config)
        walls = self.walls.walls(host_config)
        if walls.options.systempaths_unconfined:
            host_config.masked_paths = host_config.readonly_paths = None
        record = Record(
            id=container_id,
            name=made.name or make_name(),
            created=now(),
            config=config,
            host_config=host_config,
            image=row.id if row is not None else "",
            rootfs=made.rootfs,
            timeout_ms=made.timeout_ms,
        )
        if host_config.userns_mode == "remap":
            if made.rootfs is not None:
                raise Unsupported("rootfs: a directory of the host cannot be remapped; use userns host, or an image")
            record.uid_map, record.gid_map = self._id_maps()
        runtimes.find(record, self.config)
        made.warnings += self._label(record, walls)
        return Planned(
            record,
            walls,
            named=made.name is not None,
            cidfile=made.cidfile,
            warnings=made.warnings,
        )

    def _image(self, name: str, pull: str, platform: str | None) -> tuple[ImageRow, ImageConfig]:
        """Return the row and configuration of an image, pulled if ``pull`` says so: always, missing or never."""
        row = None
        if pull != "always":
            try:
                row, _ = self.engine.images.resolve(name, platform)
            except ImageNotFound:  # it is there for other platforms
                if pull == "never":
                    raise
        if row is None:
            images = self.engine.images
            if pull == "never" or is_id(name):
                row = images.get(name, platform=platform).row  # raises, in the right words
            else:
                row = images.pull(name, platform=platform).row
        known = self._images.get(row.id)
        if known is None:
            if len(self._images) > 256:
                self._images.clear()
            known = self._images[row.id] = self.engine.images.decode_config(row)
        return row, known

    def _id_maps(self) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """Return the maps of remapped containers. Raises InvalidArgument when the host has no such ranges."""
        if self._maps is None:
            from minidock.security.subids import remap

            maps = remap(self.config.userns_remap or "default")
            self._maps = (
                [(part.container, part.host, part.size) for part in maps.uid],
                [(part.container, part.host, part.size) for part in maps.gid],
            )
        return self._maps

    def _label(self, record: Record, walls: Walls) -> tuple[str, ...]:
        """Put the AppArmor profile and the SELinux labels into the record; returns warnings."""
        labels = lsm.labels(walls.options, privileged=record.host_config.privileged, used_levels=self._used_levels)
        record.app_armor_profile = labels.apparmor_profile or ""
        record.process_label = labels.process_label or ""
        record.mount_label = labels.mount_label or ""
        return labels.warnings

    def _used_levels(self) -> set[str]:
        """Return the SELinux levels that containers have."""
        rows = (records.decode(row.record).process_label for row in self.store.containers.all())
        return {label.split(":", 3)[3] for label in rows if label.count(":") > 2}

    # Existence

    def insert(self, planned: Planned, state: str, start: bundle.Start | None) -> None:
        """Make a container's row and directory as one step, with the files of a ``start`` that follows at once.

        Raises NameInUse, ImageNotFound, InvalidArgument for a device that does not exist.
        """
        record = planned.record
        table = self.store.containers
        contents = {} if start is None else bundle.files(start, self.paths, self.config, self.host)
        for attempt in range(_NAME_ATTEMPTS):
            workspace = table.workspace(record.id)
            try:
                directory = workspace.join(record.id)
                self._prepare(planned, directory)
                if start is not None:
                    contents["minidock.json"] = bundle.supervisor_document(start, self.paths)
                bundle.make(directory, contents, _root_ids(record))
                row = ContainerRow(
                    id=record.id,
                    name=record.name,
                    image_id=record.image or None,
                    created=time.time_ns(),
                    state=state,
                    record=records.encode(record),
                )
                with self.store.database.transaction():
                    self._require_layers(record)
                    table.insert(row, workspace)
            except NameInUse:
                workspace.close()
                if planned.named or attempt == _NAME_ATTEMPTS - 1:
                    raise
                record.name = make_name(attempt)
            except BaseException:
                workspace.close()
                raise
            else:
                cleaner.later(workspace)
                return

    def _prepare(self, planned: Planned, directory: str) -> None:
        """Make the container's directory and its writable layer."""
        record = planned.record
        try:
            os.mkdir(directory, 0o700)
        except OSError as error:
            raise from_os(error, "make", directory) from error
        if planned.tree is not None:
            record.snapshot = {"type": "directory", "path": planned.tree}
            return
        snapshots = self.engine.snapshots
        volatile = record.host_config.auto_remove
        idmap = {"uid": record.uid_map, "gid": record.gid_map} if record.uid_map else None
        if record.rootfs is not None:
            made = snapshots.prepare_host(record.id, record.rootfs, directory)
        else:
            try:
                made = snapshots.prepare(record.id, record.image, directory, volatile=volatile, idmap=idmap)
            except Corrupt:
                self._require_image(record)
                raise
        record.snapshot = made.rootfs
        planned.warnings += [warning for warning in made.warnings if warning not in planned.warnings]

    def _require_layers(self, record: Record) -> None:
        """Raise ImageNotFound when the layers below a new container are its image's no more: it went, and came anew."""
        if record.image and record.snapshot["type"] == "overlay":
            layers = self._layers(record.image)
            if layers and record.snapshot["lower"] != layers:
                raise ImageNotFound(_removed_meanwhile(record))

    def _require_image(self, record: Record) -> None:
        """Raise ImageNotFound when an image that has lost layers was removed, perhaps to come anew, and not damaged."""
        if self.store.images.by_id(record.image) is None or all(map(os.path.isdir, self._layers(record.image))):
            raise ImageNotFound(_removed_meanwhile(record))

    def _layers(self, image_id: str) -> list[str]:
        return [f"{self.paths.layer(number)}/fs" for number in reversed(self.store.images.layers(image_id))]

    def create(self, planned: Planned) -> Record:
        """Make a container that has not been started."""
        with CidFile(planned.cidfile) as cidfile:
            self.insert(planned, states.CREATED, None)
            cidfile.write(planned.record.id)
        return planned.record

    def remove(self, container_id: str, *, force: bool = False) -> None:
        """Remove a container; ``force`` kills it first. Raises Conflict when it runs, ContainerNotFound."""
        record, state = self.settle(self.store.containers.get(container_id))
        if state.status == states.RUNNING and not force:
            states.require("remove", state.status, container_id)
        if force:
            self.kill_all(record)
        self.delete(record.id, check=self._require_still)

    def _require_still(self, row: ContainerRow) -> None:
        """Refuse to remove a container that another process has started meanwhile."""
        if self._exit_record(row.id) is None:  # on a full disk the row says that it runs even after its end
            states.require("remove", row.state, row.id)

    def delete(
        self, container_id: str, *, later: bool = False, check: Callable[[ContainerRow], None] | None = None
    ) -> None:
        """Remove the row and the files of a container that does not run; one that is gone already is fine.

        With ``later`` the files go after the return, in the background. ``check`` may forbid it, see the table.
        """
        table = self.store.containers
        try:
            try:
                table.remove(container_id, check, later=cleaner.later if later else None)
            except (NoSpace, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.ENOSPC:
                    raise
                # Even taking a row away needs a little space: that of the files which go anyway.
                row = table.find(container_id)
                if row is None:
                    return
                if check is not None:
                    check(row)
                from minidock.store.trees import remove_tree

                remove_tree(f"{self.paths.container(container_id)}/rw")
                table.remove(container_id, check)
        except ContainerNotFound:
            return

    # Starting

    @property
    def helper(self) -> _native.HelperFile:
        """The helper's file, opened once."""
        if self._helper is None:
            from minidock.helper import installed

            with _translated():
                self._helper = _native.open_helper(installed(self.paths))
        return self._helper

    def owner(self) -> Owner:
        """This process, as the kernel knows it."""
        pid = os.getpid()
        if self._self is None or self._self.pid != pid:
            self._self = Owner(pid, liveness.start_time(pid) or 0)
        return self._self

    def _start(self, record: Record, walls: Walls, *, stdio: str, stdin: bool, owned: bool) -> bundle.Start:
        """Return what is decided anew at every start."""
        return bundle.Start(
            record=record,
            walls=walls,
            stdio=stdio,
            stdin=stdin,
            joined=self._joined(record),
            owner=self.owner() if owned else None,
            runtime=runtimes.find(record, self.config),
        )

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

    def begin(self, record: Record) -> None:
        """Mark a container as being started by this process. Raises Conflict when it runs or is being started."""
        table = self.store.containers
        before = record.state.status
        states.require("start", before, record.id)
        record.starter = self.owner()
        record.state = ContainerState(status=states.RUNNING, started_at=now())
        with table.database.transaction():
            if not table.update(record.id, state=states.RUNNING, record=records.encode(record), expected_state=before):
                table.get(record.id)
                raise Conflict(f"container {record.id} is already running")
            # Before anybody can see that it runs: the end of the run before is not that of this one.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.paths.container(record.id)}/exit.json")

    def start(
        self,
        container_id: str,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> tuple[_native.Supervisor, list[str]]:
        """Start an existing container with these descriptors (None: ``/dev/null``); returns its supervisor, warnings.

        Raises CommandNotFound, CommandNotExecutable and others when it cannot be started; it is as before then.
        """
        record, state = self.settle(self.store.containers.get(container_id))
        record.state = state
        if state.status != states.RUNNING:
            self.wait_for_the_last_run(record.id)
        walls = self.walls.walls(record.host_config)
        if record.app_armor_profile not in ("", lsm.UNCONFINED):
            with _translated():
                _native.apparmor_ensure(record.app_armor_profile)  # gone after a boot
        start = self._start(
            record, walls, stdio="relay", stdin=stdin is not None or record.config.open_stdin, owned=False
        )
        contents = bundle.files(start, self.paths, self.config, self.host)
        contents["minidock.json"] = bundle.supervisor_document(start, self.paths)
        self.begin(record)
        spawned = False
        try:
            directory = self.paths.container(record.id)
            bundle.rewrite(directory, contents, _root_ids(record))
            with _translated():
                supervisor = _native.Supervisor.spawn(self.helper, directory, stdin=stdin, stdout=stdout, stderr=stderr)
            spawned = True
            try:
                with _translated():
                    first = _decode(supervisor.wait_started())
                warnings = _check_started(first)
            except BaseException:
                supervisor.close()
                raise
            return supervisor, warnings
        except MinidockError as error:
            self._not_started(record, error)
            raise
        except BaseException:
            # Interrupted: what has a supervisor goes on, as with Docker's daemon; `settle` finds out how it went.
            if not spawned:
                self._not_started(record, None)
            raise

    def wait_for_the_last_run(self, container_id: str) -> None:
        """Return when the supervisor of the run before has cleaned up: the next uses the same cgroups and directory.

        Raises Timeout.
        """
        file = liveness.pid_file(self.paths.run_container(container_id))
        if file is None or file.boot_id != self.host.boot_id:
            return
        from minidock.containers.waiting import wait_supervisor

        wait_supervisor(file, _CLEANING_SECONDS)
        self._sweep_run(container_id)

    def run(self, planned: Planned, data: bytes | None, limit: int) -> RunResult:
        """Make a container, run it to its end with its output captured, and remove it if it asked for it."""
        record = planned.record
        record.starter = self.owner()
        record.state = ContainerState(status=states.RUNNING, started_at=record.created)
        start = self._start(record, planned.walls, stdio="inherit", stdin=data is not None, owned=True)
        helper = self.helper
        with CidFile(planned.cidfile) as cidfile:
            self.insert(planned, states.RUNNING, start)
            cidfile.write(record.id)
        try:
            first, stdout, stderr, packet = _native.run_captured(
                helper, self.paths.container(record.id), input=data, limit=limit
            )
            warnings = _check_started(_decode(first))
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

    def _broken_off(self, record: Record) -> None:
        """Record the end of a container whose run was interrupted; nothing of it runs any more afterwards."""
        ended = self._exit_record(record.id)
        try:
            if ended is None:
                self._abandoned(record)
            else:
                self._ended(record, ended)
        except ContainerNotFound:
            return

    def _not_started(self, record: Record, error: MinidockError | None) -> None:
        """Record that a start failed, or remove a container that asked for it."""
        record.starter = None
        code = error.exit_code if error is not None else KILLED
        record.state = ContainerState(status=states.CREATED, error=str(error or ""), exit_code=code)
        self._sweep_up(record)
        if record.host_config.auto_remove:
            self.delete(record.id)
        else:
            self.store.containers.update(
                record.id, state=states.CREATED, record=records.encode(record), expected_state=states.RUNNING
            )

    # Kernel facts beat records

    def settle(self, row: ContainerRow) -> tuple[Record, ContainerState]:
        """Return a container's record and its true state; what has changed since the last look is recorded.

        A supervisor that was killed leaves processes behind: they are killed, and the container is recorded as exited
        with 137. Raises ContainerNotFound when the container has ended and was to be removed then.
        """
        record = records.decode(row.record)
        if row.state == states.CREATED and record.starter is not None:
            self._expect_start(record)
        if row.state != states.RUNNING:
            return record, record.state
        ended = self._exit_record(row.id)
        if ended is None:
            file = liveness.pid_file(self.paths.run_container(row.id))
            if file is not None and file.boot_id == self.host.boot_id:
                # PID 1 alone does not count: one that executed a setuid program outlives its supervisor.
                if liveness.alive(file.supervisor, file.supervisor_start):
                    if not file.pid:
                        record.state.status = states.CREATED
                        return record, record.state
                    record.state.running = True
                    if liveness.alive(file.pid, file.start_time):
                        record.state.status, record.state.pid = states.RUNNING, file.pid
                    # else: PID 1 is no longer there; the supervisor will tell how it ended.
                    return record, record.state
                ended = self._exit_record(row.id)
            elif record.starter is not None and liveness.alive(record.starter.pid, record.starter.start_time):
                ended = self._exit_record(row.id)
                if ended is None:
                    record.state.status = states.CREATED
                    return record, record.state
            if ended is None:
                return self._abandoned(record, row.record)
        return self._ended(record, ended)

    def _expect_start(self, record: Record) -> None:
        """Remove a container whose maker died before it could start it, if it was to be removed after its run.

        Raises ContainerNotFound then.
        """
        starter = record.starter
        if starter is None or liveness.alive(starter.pid, starter.start_time):
            return

        def check(row: ContainerRow) -> None:
            if row.state != states.CREATED:
                raise Conflict(f"container {row.id} has been started meanwhile")

        with contextlib.suppress(Conflict):
            self.delete(record.id, check=check)
            raise ContainerNotFound(f"no such container: {record.id}; whoever was to start it died, so it was removed")

    def _exit_record(self, container_id: str) -> liveness.ExitRecord | None:
        """Return how a container ended; with a full data root its supervisor left that in the run root."""
        found = liveness.exit_record(self.paths.container(container_id))
        return found or liveness.exit_record(self.paths.run_container(container_id))

    def _ended(self, record: Record, ended: liveness.ExitRecord) -> tuple[Record, ContainerState]:
        record.starter = None
        record.state = ContainerState(
            status=states.EXITED,
            exit_code=ended.exit_code,
            oom_killed=ended.oom_killed,
            started_at=ended.started_at or record.state.started_at,
            finished_at=ended.finished_at or now(),
        )
        if record.host_config.auto_remove:
            self.delete(record.id)
            raise ContainerNotFound(f"no such container: {record.id}; it has ended and was to be removed then")
        # On a full disk the next look finds the same exit record.
        with contextlib.suppress(NoSpace):
            self.store.containers.update(
                record.id, state=states.EXITED, record=records.encode(record), expected_state=states.RUNNING
            )
        return record, record.state

    def _abandoned(self, record: Record, seen: bytes | None = None) -> tuple[Record, ContainerState]:
        """Kill what a dead supervisor left, and record the end.

        ``seen`` is the record's bytes that told so: when they have changed, another process has repaired, and perhaps
        started the container again, and what is so now is returned.
        """
        table = self.store.containers
        with table.database.transaction():
            row = table.find(record.id)
            current = row is not None and (seen is None or row.record == seen)
            if current:
                self._sweep_up(record)
        if not current:
            return self.settle(table.get(record.id))
        ended = liveness.ExitRecord(
            exit_code=KILLED,
            signal=9,
            started_at=record.state.started_at if record.state.started_at != ZERO_TIME else now(),
            finished_at=now(),
        )
        return self._ended(record, ended)

    def _sweep_up(self, record: Record) -> None:
        """Kill what is left in a container's cgroup, and remove the cgroup and the run directory."""
        from minidock.containers.runtime_spec import cgroups_path
        from minidock.store.trees import remove_tree

        path = cgroups_path(record)
        with _translated():
            _native.cgroup_kill(path)
            _native.cgroup_remove(path)
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
                if file is None:
                    # Made before, or emptied after, everything else: there are no cgroups.
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(f"{run_dir}/pid.new")
                    os.rmdir(run_dir)
                    return
                if file.boot_id == self.host.boot_id:
                    if liveness.alive(file.supervisor, file.supervisor_start):
                        return
                    if name in file.cgroup:  # never a group that holds others too
                        _native.cgroup_kill(file.cgroup, timeout=_SWEEP_SECONDS)
                        _native.cgroup_remove(file.cgroup, timeout=_SWEEP_SECONDS)
                from minidock.store.trees import remove_tree

                remove_tree(run_dir)

    def kill_all(self, record: Record, timeout: float = 10.0) -> None:
        """Kill a running container and wait until its supervisor has ended. Raises Timeout."""
        from minidock.containers.waiting import Gone, send, wait_supervisor

        file = liveness.pid_file(self.paths.run_container(record.id))
        if file is not None and file.boot_id == self.host.boot_id:
            with contextlib.suppress(Gone):
                send(file, 9)
            wait_supervisor(file, timeout)
        with_row = self.store.containers.find(record.id)
        if with_row is not None:
            try:
                self.settle(with_row)
            except ContainerNotFound:
                return

    def sweep_runs(self) -> None:
        """Clean up after supervisors that were killed while they cleaned up. Costs one directory read when all is well.

        Those of containers that run are left to :meth:`settle`.
        """
        for name in _names(self.paths.run_containers):
            file = liveness.pid_file(self.paths.run_container(name))
            if file is None or not liveness.alive(file.supervisor, file.supervisor_start):
                self._sweep_run(name)

    def recover(self) -> None:
        """Settle every container whose record says that it runs: what died since the last look is cleaned up."""
        rows = self.store.containers.database.rows("SELECT id FROM containers WHERE state = 'running'")
        for (container_id,) in rows:
            row = self.store.containers.find(container_id)
            if row is None:
                continue
            try:
                self.settle(row)
            except ContainerNotFound:
                continue
        self.sweep_runs()

    @property
    def storage_driver(self) -> str:
        """``overlay2``, or ``vfs`` where overlay cannot be used."""
        return "overlay2" if self.engine.snapshots.backend.overlay else "vfs"

    def close(self) -> None:
        """Close the helper's file, and wait for what is being removed."""
        cleaner.flush()
        if self._helper is not None:
            self._helper.close()
            self._helper = None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _root_ids(record: Record) -> tuple[int, int]:
    """Return the host's uid and gid of the container's root user."""
    if not record.uid_map:
        return 0, 0
    from minidock.security.subids import Range, to_host

    uid = to_host(tuple(Range(*part) for part in record.uid_map), 0)
    return uid, to_host(tuple(Range(*part) for part in record.gid_map), 0)


class _translated:  # noqa: N801 - reads as the statement it is; contextlib's is slower
    """Turns a native error inside a ``with`` block into one of minidock's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, _native.NativeError):
            raise translate(error) from error


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


def _removed_meanwhile(record: Record) -> str:
    return f"no such image: {record.config.image}; it was removed meanwhile"
