"""What all of a container's life needs of one engine, opened once: store, host facts, filters, the helper's file."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from minidock import _native
from minidock._errors import translate
from minidock.containers import liveness
from minidock.containers import record as records
from minidock.containers.document import Owner
from minidock.containers.host import Host
from minidock.containers.walls import Builder

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.containers.attaching import Networks
    from minidock.containers.record import Record
    from minidock.engine import Engine
    from minidock.spec.oci_image import ImageConfig


class translated:  # noqa: N801 - reads as the statement it is; contextlib's is slower
    """Turns a native error inside a ``with`` block into one of minidock's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, _native.NativeError):
            raise translate(error) from error


class Base:
    """The ground floor of :class:`minidock.containers.lifecycle.Lifecycle`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store
        self.paths = self.store.paths
        self.config = engine.config
        self.host = Host()
        self.walls = Builder(engine.config, self.paths.seccomp)
        self._networks: Networks | None = None
        self._images: dict[str, ImageConfig] = {}
        self._helper: _native.HelperFile | None = None
        self._self: Owner | None = None
        self._maps: tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]] | None = None

    @property
    def helper(self) -> _native.HelperFile:
        """The helper's file, opened once."""
        if self._helper is None:
            from minidock.helper import installed

            with translated():
                self._helper = _native.open_helper(installed(self.paths))
        return self._helper

    @property
    def networks(self) -> Networks:
        """The networks that containers are on, as this engine knows them."""
        if self._networks is None:
            from minidock.containers.attaching import Networks

            self._networks = Networks(self)
        return self._networks

    def owner(self) -> Owner:
        """This process, as the kernel knows it."""
        pid = os.getpid()
        if self._self is None or self._self.pid != pid:
            self._self = Owner(pid, liveness.start_time(pid) or 0)
        return self._self

    def emit(self, record: Record, action: str, **more: str) -> None:
        """Append an event of a container to the host's events; a log that cannot be written stops nothing."""
        from minidock import events

        events.append(self.paths, "container", action, record.id, {**event_attributes(record), **more})

    def connect(self, container_id: str) -> _native.Supervisor:
        """Return a connection to the supervisor of a container that runs. Raises NotFound without one."""
        with translated():
            return _native.Supervisor.connect(self.paths.run_container(container_id))

    def tell(self, record: Record, request: dict[str, Any]) -> bool:
        """Have the supervisor of a container carry out a request of docs/supervisor.md; False when it has none.

        Raises Conflict when it refuses, Timeout when it does not answer.
        """
        from minidock.containers import control

        return control.tell(self, record, request)

    def modify(
        self,
        container_id: str,
        change: Callable[[Record], None],
        *,
        state: str | None = None,
        expected_state: str | None = None,
    ) -> Record | None:
        """Change a container's record as one step, whatever other processes do to it meanwhile; returns it.

        ``change`` gets the record as it is then, and may raise to leave it so. None: ``expected_state`` is not its
        state. Raises ContainerNotFound.
        """
        table = self.store.containers
        with table.database.transaction():
            row = table.find(container_id)
            if row is None or row.id != container_id:
                table.get(container_id)
                return None
            if expected_state is not None and row.state != expected_state:
                return None
            record = records.decode(row.record)
            change(record)
            name = record.name if record.name != row.name else None
            table.update(container_id, state=state, record=records.encode(record), name=name)
        return record

    def exit_record(self, container_id: str) -> liveness.ExitRecord | None:
        """Return how a container ended; with a full data root its supervisor left that in the run root."""
        found = liveness.exit_record(self.paths.container(container_id))
        return found or liveness.exit_record(self.paths.run_container(container_id))

    def unlink_exit_record(self, container_id: str) -> None:
        """Forget how a container ended before."""
        for folder in (self.paths.container(container_id), self.paths.run_container(container_id)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/exit.json")

    @property
    def storage_driver(self) -> str:
        """``overlay2``, or ``vfs`` where overlay cannot be used."""
        return "overlay2" if self.engine.snapshots.backend.overlay else "vfs"


def event_attributes(record: Record) -> dict[str, Any]:
    """Return what every event of a container says of it: labels, image, name."""
    return {**(record.config.labels or {}), "image": record.config.image or record.rootfs or "", "name": record.name}
