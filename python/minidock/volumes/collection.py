"""``engine.volumes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock import events
from minidock.containers.sizes import tree_size
from minidock.errors import InvalidArgument, VolumeNotFound
from minidock.spec.docker_volume import UsageData, VolumeInspect, VolumesPruned
from minidock.store.volumes import DATA
from minidock.volumes.record import DRIVER, decode, inspect
from minidock.volumes.volume import Volume

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence

    from minidock.engine import Engine
    from minidock.errors import MinidockError
    from minidock.store.volumes import VolumeTable


class VolumeCollection:
    """The volumes of an engine's data root."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def table(self) -> VolumeTable:
        """Rows and directories of volumes."""
        return self._engine.store.volumes

    def mountpoint(self, name: str) -> str:
        """The directory of a volume's files."""
        return f"{self._engine.store.paths.volume(name)}/{DATA}"

    def create(
        self,
        name: str | None = None,
        driver: str | None = DRIVER,
        driver_opts: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | Sequence[str] | None = None,
    ) -> Volume:
        """Make a volume and return it; one that is there already is returned as it is, as Docker does.

        Without a name it is anonymous. ``driver_opts`` are Docker's of the driver local: ``type``, ``device`` and ``o``
        of a file system to mount, and ``size`` where the file system has project quotas. Raises InvalidArgument,
        NotFound for another driver, Unsupported without quotas, NoSpace.
        """
        from minidock.volumes import making

        record, new = making.make(
            self.table,
            name or making.new_name(),
            driver=driver or DRIVER,
            labels=_labels(labels),
            options={_text(key): str(value) for key, value in (driver_opts or {}).items()},
            anonymous=not name,
        )
        if new:
            self._tell_created(record.name)
        return Volume(self, record)

    def get(self, name: str) -> Volume:
        """Return the volume of this name. Raises VolumeNotFound."""
        if not name:
            raise InvalidArgument("invalid volume name or ID: value is empty")
        return Volume(self, decode(self.table.get(name).record))

    def list(self, filters: Mapping[str, Any] | Sequence[str] | None = None) -> builtins.list[Volume]:
        """Return the volumes by name. ``filters`` are Docker's: dangling, driver, label, name.

        Raises InvalidArgument for a filter that makes no sense.
        """
        from minidock.volumes import filtering

        wanted = filtering.parse(filters)
        used = self.table.links() if "dangling" in wanted else {}
        records = [decode(row.record) for row in self.table.all()]
        return [Volume(self, record) for record in filtering.select(records, wanted, used)]

    def remove(self, names: Sequence[str], *, force: bool = False) -> builtins.list[MinidockError | None]:
        """Remove volumes in one go; returns for each what kept it, or None.

        That is VolumeInUse, or VolumeNotFound unless ``force`` is given.
        """
        from minidock.volumes import removing

        if not all(names):
            raise InvalidArgument("invalid volume name or ID: value is empty")
        failures = removing.remove(self.table, names)
        outcome: builtins.list[MinidockError | None] = []
        for at, name in enumerate(names):
            error = failures.get(name)
            if error is None and name in names[:at]:
                error = VolumeNotFound(f"get {name}: no such volume")
            outcome.append(None if force and isinstance(error, VolumeNotFound) else error)
        return outcome

    def prune(self, all: bool = False, filters: Mapping[str, Any] | Sequence[str] | None = None) -> VolumesPruned:
        """Remove the anonymous volumes that no container has, with ``all`` named ones too; never one with options.

        Filters: label, label!, all. Raises InvalidArgument for one that makes no sense.
        """
        from minidock.volumes import filtering, removing

        chosen = filtering.prunable(filters, all=all)
        used = self.table.links()
        records = [decode(row.record) for row in self.table.all() if row.name not in used]
        sizes = {record.name: tree_size(self.mountpoint(record.name)) for record in records if chosen(record)}
        kept = removing.remove(self.table, list(sizes)) if sizes else {}
        names = [name for name in sizes if name not in kept]
        reclaimed = sum(sizes[name] for name in names)
        events.append(self.table.paths, "volume", "prune", "", {"reclaimed": str(reclaimed)})
        return VolumesPruned(names or None, reclaimed)

    def usage(self) -> builtins.list[VolumeInspect]:
        """What ``system df`` shows: the volumes without driver options, how large they are, and who has them."""
        links = self.table.links()
        found = []
        for row in self.table.all():
            record = decode(row.record)
            if not record.options:
                document = inspect(record, self.mountpoint(record.name))
                document.usage_data = UsageData(links.get(record.name, 0), tree_size(document.mountpoint))
                found.append(document)
        return found

    def clone(self, volume: Volume, name: str | None = None) -> Volume:
        """Copy a volume, see :meth:`Volume.clone`."""
        from minidock.volumes import archives

        record = archives.clone(self.table, volume.record, name)
        self._tell_created(record.name)
        return Volume(self, record)

    def _tell_created(self, name: str) -> None:
        events.append(self.table.paths, "volume", "create", name, {"driver": DRIVER})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"text is needed, not {type(value).__name__}")
    return value


def _labels(value: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    if value is None:
        return {}
    if hasattr(value, "items"):
        return {_text(key): str(text) for key, text in value.items()}
    parted = (_text(entry).partition("=") for entry in ([value] if isinstance(value, str) else value))
    return {key: text for key, _, text in parted}
