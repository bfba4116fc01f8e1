"""The engine: one data root, one run root, one configuration."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from minidock import config as configuration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.build.cache import Builder
    from minidock.containers.collection import ContainerCollection
    from minidock.containers.execs import ExecCollection
    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.parse.times import Time
    from minidock.events.reading import Events
    from minidock.images.collection import ImageCollection
    from minidock.images.manifest_lists import ManifestLists
    from minidock.networks.collection import NetworkCollection
    from minidock.pruning import Pruned
    from minidock.registry.client import Client
    from minidock.snapshots.snapshots import Snapshots
    from minidock.spec.docker_system import DiskUsage
    from minidock.store.store import Store
    from minidock.volumes.collection import VolumeCollection


class Engine:
    """Everything that minidock does, on one data root and one run root.

    ``data_root`` and ``run_root`` come, in this order, from the argument, from ``MINIDOCK_DATA_ROOT`` and
    ``MINIDOCK_RUN_ROOT``, from the configuration's ``data-root`` and ``exec-root``, or are ``/var/lib/minidock`` and
    ``/run/minidock``. ``config`` names the configuration file (``MINIDOCK_CONFIG``, ``/etc/minidock/config.json``) or
    is a :class:`~minidock.config.Config`.

    Threads may share an engine, and any number of engines and processes may share the roots. Nothing is created on
    disk before the first call that needs it.
    """

    def __init__(
        self,
        data_root: str | os.PathLike[str] | None = None,
        run_root: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | configuration.Config | None = None,
    ) -> None:
        environ = os.environ
        self.config_path = None if isinstance(config, configuration.Config) else _path(config, environ)
        if isinstance(config, configuration.Config):
            self.config = config
        else:
            self.config = configuration.load(os.fspath(config) if config is not None else None, environ)
        self.data_root = _root(data_root, environ.get("MINIDOCK_DATA_ROOT"), self.config.data_root, "/var/lib/minidock")
        self.run_root = _root(run_root, environ.get("MINIDOCK_RUN_ROOT"), self.config.exec_root, "/run/minidock")
        self._lock = threading.RLock()
        self._containers: ContainerCollection | None = None
        self._images: ImageCollection | None = None
        self._manifests: ManifestLists | None = None
        self._networks: NetworkCollection | None = None
        self._snapshots: Snapshots | None = None
        self._store: Store | None = None
        self._lifecycle: Lifecycle | None = None
        self._registry: Client | None = None
        self._volumes: VolumeCollection | None = None

    @property
    def containers(self) -> ContainerCollection:
        """The containers of this data root."""
        if self._containers is None:
            from minidock.containers.collection import ContainerCollection

            with self._lock:
                if self._containers is None:
                    self._containers = ContainerCollection(self)
        return self._containers

    @property
    def images(self) -> ImageCollection:
        """The images of this data root."""
        if self._images is None:
            from minidock.images.collection import ImageCollection

            with self._lock:
                if self._images is None:
                    self._images = ImageCollection(self)
        return self._images

    @property
    def networks(self) -> NetworkCollection:
        """The networks of this data root."""
        if self._networks is None:
            from minidock.networks.collection import NetworkCollection

            with self._lock:
                if self._networks is None:
                    self._networks = NetworkCollection(self)
        return self._networks

    @property
    def builder(self) -> Builder:
        """What builds on this data root have kept."""
        from minidock.build.cache import Builder

        return Builder(self)

    @property
    def volumes(self) -> VolumeCollection:
        """The volumes of this data root."""
        if self._volumes is None:
            from minidock.volumes.collection import VolumeCollection

            with self._lock:
                if self._volumes is None:
                    self._volumes = VolumeCollection(self)
        return self._volumes

    @property
    def execs(self) -> ExecCollection:
        """Processes in running containers by id, as Docker's API has them."""
        from minidock.containers.execs import ExecCollection

        return ExecCollection(self.lifecycle)

    @property
    def manifests(self) -> ManifestLists:
        """Manifest lists of registries, and those that are being put together on this data root."""
        if self._manifests is None:
            from minidock.images.manifest_lists import ManifestLists

            with self._lock:
                if self._manifests is None:
                    self._manifests = ManifestLists(self)
        return self._manifests

    @property
    def registry(self) -> Client:
        """The client of registries, for the engine's own parts."""
        if self._registry is None:
            from minidock.registry.client import Client

            with self._lock:
                if self._registry is None:
                    self._registry = Client(self.config)
        return self._registry

    @property
    def snapshots(self) -> Snapshots:
        """Root filesystems of containers, for the engine's own parts."""
        if self._snapshots is None:
            from minidock.snapshots.snapshots import Snapshots

            with self._lock:
                if self._snapshots is None:
                    self._snapshots = Snapshots(self.store, self.config.storage_driver)
        return self._snapshots

    @property
    def store(self) -> Store:
        """Paths and database of this data root, for the engine's own parts."""
        if self._store is None:
            from minidock.store.store import Store

            with self._lock:
                if self._store is None:
                    made = Store(self.data_root, self.run_root)
                    made.hooks.append(lambda _: _unmount_unused(made))
                    self._store = made
        return self._store

    @property
    def lifecycle(self) -> Lifecycle:
        """What makes and starts containers, for minidock's own packages.

        Its first use cleans up after containers whose supervisor died.
        """
        if self._lifecycle is None:
            from minidock.containers.lifecycle import Lifecycle

            with self._lock:
                if self._lifecycle is None:
                    made = Lifecycle(self)
                    made.recover()
                    self._lifecycle = made
        return self._lifecycle

    def events(
        self,
        since: Time | None = None,
        until: Time | None = None,
        filters: Mapping[str, Any] | Sequence[str] | None = None,
        *,
        follow: bool = False,
        timeout: float | None = None,
    ) -> Events:
        """Return what happened to containers and images, in order: a context-managed iterator of events.

        Any process's doings are in it; the last 10,000 events at least are kept. ``since`` and ``until`` are moments
        (see :func:`minidock.containers.parse.times.point`), ``filters`` those of Docker: a mapping, or entries like
        ``"type=container"``. With ``follow`` it waits for more until ``until``, and without both it begins now;
        ``timeout`` seconds after this call, it raises Timeout. Raises InvalidArgument for what makes no sense.
        """
        from minidock.events.reading import Events

        return Events(self.store.paths, since=since, until=until, filters=filters, follow=follow, timeout=timeout)

    def login(self, username: str, password: str, registry: str | None = None, *, save: bool = False) -> dict[str, str]:
        """Log in to ``registry`` (Docker Hub if None) for what this engine pulls and pushes from now on.

        With ``save`` the credentials are kept for others too, as ``minidock login`` keeps them. Returns what Docker's
        ``POST /auth`` answers: ``Status`` and ``IdentityToken``. Raises RegistryUnauthorized for credentials that are
        refused, RegistryUnreachable, InvalidArgument for a registry that is none, and what saving raises.
        """
        from minidock.registry.credentials import Credentials, Login, registry_host

        host = registry_host(registry or "")
        checked = self.registry.login(host, Login(username, password))
        if save:
            Credentials().save(host, checked)
        return {"Status": "Login Succeeded", "IdentityToken": checked.identity_token}

    def info(self) -> dict[str, Any]:
        """Return what ``docker info`` prints (the REST API's ``GET /info``)."""
        from minidock.info import info

        return info(self)

    def df(self) -> DiskUsage:
        """Return what everything takes up on disk (``GET /system/df``), which is what walking the data root finds.

        An image's ``size`` is that of its layers' files, of the records that rebuild their tars and of the blobs that
        are kept; ``shared_size`` is what other images have of it too. ``layers_size`` is all images together with
        unfinished downloads, each thing counted once.
        """
        from minidock.usage import df

        return df(self)

    def prune(
        self,
        *,
        all: bool = False,
        volumes: bool = False,
        filters: Mapping[str, Any] | Sequence[str] | None = None,
    ) -> Pruned:
        """Remove stopped containers, networks that no container is on, and images that no container has.

        Of images, only those without a name go, with ``all`` every one; of the build cache what no image has, or all of
        it. With ``volumes``, anonymous volumes that no container has go too; named ones never do. Filters: label,
        label!, until (not together with ``volumes``). Raises InvalidArgument for one that makes no sense, before
        anything is removed.
        """
        from minidock.pruning import prune

        return prune(self, all=all, volumes=volumes, filters=filters)

    def version(self) -> dict[str, Any]:
        """Return what ``docker version`` prints of the server (``GET /version``)."""
        from minidock.info import version

        return version(self)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back descriptors and database handles; containers run on. The engine opens them again when used."""
        with self._lock:
            if self._lifecycle is not None:
                self._lifecycle.close()
            if self._store is not None:
                self._store.close()
            if self._registry is not None:
                self._registry.close()
            self._containers = None
            self._images = None
            self._manifests = None
            self._networks = None
            self._snapshots = None
            self._store = None
            self._lifecycle = None
            self._registry = None
            self._volumes = None


_default: Engine | None = None
_default_key: tuple[object, ...] | None = None
_default_lock = threading.Lock()


def default_engine() -> Engine:
    """Return this process's shared engine, a new one when the environment's roots or the process changed."""
    global _default, _default_key  # noqa: PLW0603 - one engine per process is the point
    environ = os.environ
    key = (
        os.getpid(),
        environ.get("MINIDOCK_DATA_ROOT"),
        environ.get("MINIDOCK_RUN_ROOT"),
        environ.get("MINIDOCK_CONFIG"),
    )
    if key != _default_key:
        with _default_lock:
            if key != _default_key:
                _default = Engine()
                _default_key = key
    assert _default is not None  # noqa: S101 - set together with its key
    return _default


def _unmount_unused(store: Store) -> None:
    """After a crash: unmount volumes that nobody needs any more."""
    if store.volumes.every_hold():
        from minidock.volumes import mounting

        mounting.heal(store.volumes)


def _path(config: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> str | None:
    """Return the configuration's file that was named, as an absolute path; None is the default one."""
    named = os.fspath(config) if config is not None else environ.get("MINIDOCK_CONFIG")
    return os.path.abspath(named) if named else None


def _root(*candidates: str | os.PathLike[str] | None) -> str:
    """Return the first candidate that is set, as an absolute path without a trailing slash."""
    for candidate in candidates:
        if candidate:
            return os.path.abspath(os.fspath(candidate))
    raise AssertionError("the last candidate is a constant")
