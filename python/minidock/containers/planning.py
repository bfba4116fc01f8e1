"""Planning containers and making them: from options to a row and a directory; nothing runs."""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING, Any

from minidock import _native
from minidock.containers import bundle, labelling, runtimes, states
from minidock.containers import record as records
from minidock.containers.cidfile import CidFile
from minidock.containers.draft import draft
from minidock.containers.draft.merge import merge
from minidock.containers.names import make as make_name
from minidock.containers.record import Record
from minidock.containers.settling import Settling
from minidock.containers.status import now
from minidock.errors import Corrupt, ImageNotFound, InvalidArgument, NameInUse, Unsupported
from minidock.images.references import is_id
from minidock.security import lsm
from minidock.store.cleaner import cleaner
from minidock.store.containers import ContainerRow
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.containers.walls import Walls
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.images import ImageRow
    from minidock.store.workspace import Workspace

_NAME_ATTEMPTS = 12


class Planned:
    """A container that does not exist yet. With ``tree``, that directory is its root as it is, no snapshot of one.

    With ``snapshot``, the section ``rootfs`` of the supervisor's document is there already.
    """

    __slots__ = ("cidfile", "named", "record", "snapshot", "tree", "volumes", "walls", "warnings")

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
        self.snapshot: dict[str, Any] | None = None
        self.warnings = warnings
        self.volumes: list[str] = []
        """The names of those that were made for it."""


class Planning(Settling):
    """What makes containers that have not been started."""

    def plan(
        self,
        image: str | None,
        command: str | Sequence[str] | None,
        options: Mapping[str, Any],
        environ: Mapping[str, str],
        base: ImageConfig | None = None,
    ) -> Planned:
        """Return the container that these arguments mean. Raises as :meth:`ContainerCollection.create` says.

        ``base``: the configuration of an image that does not exist (yet); the caller sets the plan's ``snapshot``.
        """
        made = draft(image, command, options, self.config, environ)
        row: ImageRow | None = None
        configuration = base
        if base is not None:
            pass
        elif made.rootfs is None:
            if not image:
                raise InvalidArgument("an image is needed, or the option rootfs")
            row, configuration = self.image_to_use(image, made.pull, made.platform)
        elif image:
            raise InvalidArgument("image and rootfs exclude each other")
        container_id = os.urandom(32).hex()
        host_config, config = made.host_config, made.config
        merge(made, configuration, self.host)
        if not config.hostname:
            on_host = host_config.uts_mode == "host" or host_config.network_mode == "host"
            config.hostname = self.host.name if on_host else container_id[:12]
        host_config.runtime = runtimes.name(host_config.runtime, self.config)
        labelling.complete(self, host_config)
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
            health_on_failure=made.health_on_failure,
            networks=made.networks,
            owned=made.owned,
        )
        if config.volumes or host_config.binds or host_config.mounts or host_config.tmpfs or host_config.volumes_from:
            from minidock.containers.mounts import planning

            planning.plan(self, record, made.points, pull=made.pull)
        if made.endpoint_given or host_config.network_mode not in ("bridge", "none", "host"):
            from minidock.containers import attaching

            attaching.checked(self, record)
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

    def image_to_use(self, name: str, pull: str, platform: str | None) -> tuple[ImageRow, ImageConfig]:
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
        labels = lsm.labels(
            walls.options,
            privileged=record.host_config.privileged,
            selinux=self.config.selinux_enabled,
            used_levels=self._used_levels,
        )
        record.app_armor_profile = labels.apparmor_profile or ""
        record.process_label = labels.process_label or ""
        record.mount_label = labels.mount_label or ""
        return labels.warnings

    def _used_levels(self) -> set[str]:
        """Return the SELinux levels that containers have."""
        rows = (records.decode(row.record).process_label for row in self.store.containers.all())
        return {label.split(":", 3)[3] for label in rows if label.count(":") > 2}

    def insert(self, planned: Planned, state: str, start: bundle.Start | None) -> None:
        """Make a container's row and directory as one step, with the files of a ``start`` that follows at once.

        Raises NameInUse, ImageNotFound, InvalidArgument for a device that does not exist.
        """
        record = planned.record
        table = self.store.containers
        contents = {} if start is None else bundle.files(start, self.paths, self.host)
        for attempt in range(_NAME_ATTEMPTS):
            workspace = table.workspace(record.id)
            try:
                directory = workspace.join(record.id)
                self._prepare(planned, directory)
                bundle.make(directory, contents, record)
                self.patiently(record, functools.partial(self._insert_row, planned, workspace, state, start))
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

    def _insert_row(self, planned: Planned, workspace: Workspace, state: str, start: bundle.Start | None) -> None:
        record = planned.record
        with self.store.database.transaction():
            self._require_layers(record)
            if record.mounts:
                from minidock.containers.mounts import living

                planned.volumes = living.claim(self, record)
            if start is not None:
                self.attach(record)
                self.write_late(start, workspace.join(record.id))
            row = ContainerRow(
                id=record.id,
                name=record.name,
                image_id=record.image or None,
                created=time.time_ns(),
                state=state,
                record=records.encode(record),
            )
            self.store.containers.insert(row, workspace)

    def write_late(self, start: bundle.Start, directory: str) -> None:
        """Write what of a bundle depends on the container's endpoints."""
        record = start.record
        if record.endpoints:
            from minidock.containers import attaching

            start.network = attaching.section(self, record)
        if record.mounts:
            from minidock.containers.mounts import living

            start.sources = living.sources_of(self, record)
        contents = bundle.late_files(start, self.paths, self.config, self.host)
        bundle.rewrite(directory, contents, record)

    def _prepare(self, planned: Planned, directory: str) -> None:
        """Make the container's directory and its writable layer."""
        record = planned.record
        try:
            os.mkdir(directory, 0o700)
        except OSError as error:
            raise from_os(error, "make", directory) from error
        if record.mounts:
            from minidock.containers.mounts import living

            living.make_overlays(record, directory)
        if planned.snapshot is not None:
            record.snapshot = planned.snapshot
            return
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
        if record.mount_label and made.rootfs["type"] == "directory":
            bundle.label(made.rootfs["path"], record)
        if record.host_config.storage_opt:
            self._limit(record, f"{directory}/rw")
        planned.warnings += [warning for warning in made.warnings if warning not in planned.warnings]

    def _limit(self, record: Record, directory: str) -> None:
        """Limit what a container may write to its layer. Raises Unsupported where the file system cannot."""
        from minidock._errors import translate
        from minidock.containers.parse import sizes

        if record.snapshot["type"] == "directory":
            raise Unsupported("storage option size: without overlayfs a container's layer has no limit")
        limit = sizes.size((record.host_config.storage_opt or {})["size"])
        try:
            _native.quota_set(directory, limit)
        except _native.NativeError as error:
            failure = translate(error)
            raise type(failure)(f"storage option size: {failure}") from error

    def _require_layers(self, record: Record) -> None:
        """Raise ImageNotFound when the layers below a new container are its image's no more: it went, and came anew."""
        if record.image and record.snapshot["type"] == "overlay":
            layers = self.layers_of(record.image)
            if layers and record.snapshot["lower"] != layers:
                raise ImageNotFound(_removed_meanwhile(record))

    def _require_image(self, record: Record) -> None:
        """Raise ImageNotFound when an image that has lost layers was removed, perhaps to come anew, and not damaged."""
        if self.store.images.by_id(record.image) is None or all(map(os.path.isdir, self.layers_of(record.image))):
            raise ImageNotFound(_removed_meanwhile(record))

    def layers_of(self, image_id: str) -> list[str]:
        """Return the directories of an image's layers, highest first."""
        return [f"{self.paths.layer(number)}/fs" for number in reversed(self.store.images.stack(image_id))]

    def create(self, planned: Planned) -> Record:
        """Make a container that has not been started."""
        with CidFile(planned.cidfile) as cidfile:
            self.insert(planned, states.CREATED, None)
            cidfile.write(planned.record.id)
        self.emit(planned.record, "create")
        if planned.record.mounts:
            self.fill(planned)
        return planned.record

    def fill(self, planned: Planned) -> None:
        """Give a new container's volumes what its image has for them; if that fails, it is removed again."""
        from minidock.containers.mounts import living
        from minidock.volumes import using

        using.created(self.engine, planned.volumes)
        try:
            living.fill(self, planned.record)
        except BaseException:
            self.delete(planned.record.id, volumes=True)
            raise


def _removed_meanwhile(record: Record) -> str:
    return f"no such image: {record.config.image}; it was removed meanwhile"
