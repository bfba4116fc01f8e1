"""The store of one data root."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from minidock.store import recovery
from minidock.store.blobs import BlobTable
from minidock.store.containers import ContainerTable
from minidock.store.database import Database
from minidock.store.images import ImageTable
from minidock.store.layers import LayerTable
from minidock.store.names import NameTable
from minidock.store.paths import Paths

if TYPE_CHECKING:
    from minidock.store.build_cache import BuildCache
    from minidock.store.networks import NetworkTable
    from minidock.store.volumes import VolumeTable


class Store:
    """Paths, database and tables of a data root, opened (and repaired after a crash) when first used.

    Threads may share it. ``hooks`` are called by a repair, see :mod:`minidock.store.recovery`; append to it before the
    first use.
    """

    def __init__(self, data_root: str, run_root: str) -> None:
        self.paths = Paths(data_root, run_root)
        self.hooks: list[recovery.Hook] = []
        self._database = Database(self.paths)
        self._lock = threading.RLock()
        self._checked = False
        self._checking = False
        self._containers = ContainerTable(self._database)
        self._images = ImageTable(self._database)
        self._networks: NetworkTable | None = None
        self._build_cache: BuildCache | None = None
        self._volumes: VolumeTable | None = None

    @property
    def database(self) -> Database:
        """The database, open and repaired."""
        if not self._checked:
            with self._lock:
                # Under the lock only a hook of the repair below comes here twice: it uses this store.
                if not self._checked and not self._checking:
                    self._checking = True
                    try:
                        if recovery.needs_repair(self._database):
                            recovery.repair(self._database, self.hooks)
                        self._checked = True
                    finally:
                        self._checking = False
        return self._database

    @property
    def containers(self) -> ContainerTable:
        """The table of containers."""
        _ = self.database
        return self._containers

    @property
    def images(self) -> ImageTable:
        """The table of images."""
        _ = self.database
        return self._images

    @property
    def networks(self) -> NetworkTable:
        """The tables of networks and of containers on them."""
        _ = self.database
        if self._networks is None:
            from minidock.store.networks import NetworkTable

            self._networks = NetworkTable(self._database)
        return self._networks

    @property
    def build_cache(self) -> BuildCache:
        """The tables of what builds have made."""
        _ = self.database
        if self._build_cache is None:
            from minidock.store.build_cache import BuildCache

            self._build_cache = BuildCache(self._database)
        return self._build_cache

    @property
    def volumes(self) -> VolumeTable:
        """The tables of volumes, and of who uses them."""
        _ = self.database
        if self._volumes is None:
            from minidock.store.volumes import VolumeTable

            self._volumes = VolumeTable(self._database)
        return self._volumes

    @property
    def layers(self) -> LayerTable:
        """The table of layers."""
        return self.images.layer_table

    @property
    def blobs(self) -> BlobTable:
        """The table of blobs."""
        return self.images.blobs

    @property
    def names(self) -> NameTable:
        """The tables of tags and digests."""
        return self.images.names

    def repair(self) -> None:
        """Repair now."""
        recovery.repair(self._database, self.hooks)

    def close(self) -> None:
        """Close the database. The store opens and looks again when used."""
        with self._lock:
            self._database.close()
            self._checked = False
