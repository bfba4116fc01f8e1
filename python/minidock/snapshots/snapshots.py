"""What a container's root filesystem is made of: the ``rootfs`` section of its ``minidock.json`` (docs/supervisor.md).

Nothing is mounted here. :meth:`Snapshots.prepare` makes the directories that the helper's mount needs, inside the
container's directory, and so they go with it. Layers are held by the container's row, see :mod:`minidock.store.images`.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded, NotFound, Unsupported
from minidock.snapshots import backend
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.store.store import Store

MAX_LAYERS = 500
"""The kernel stacks no more (``OVL_MAX_STACK``)."""

IdMap = dict[str, list[list[int]]]
"""``{"uid": [[container, host, size]], "gid": …}``."""


class Snapshot(NamedTuple):
    """A prepared root filesystem: the document's section, and warnings for the user."""

    rootfs: dict[str, Any]
    warnings: tuple[str, ...] = ()


class Snapshots:
    """Root filesystems on one data root. ``driver`` is daemon.json's ``storage-driver``: None chooses what works."""

    def __init__(self, store: Store, driver: str | None = None) -> None:
        if driver not in (None, "", "overlay2", "overlay", "vfs"):
            raise InvalidArgument(f"storage-driver {driver!r}: minidock has overlay2 and vfs")
        self._store = store
        self._paths = store.paths
        self._driver = driver or ""
        self._backend: backend.Backend | None = None

    @property
    def backend(self) -> backend.Backend:
        """How root filesystems are made on this data root; found out once per boot by a real attempt."""
        if self._backend is None:
            if self._driver == "vfs":
                self._backend = backend.Backend(overlay=False, reason="")
            elif self._driver:
                self._backend = backend.Backend(overlay=True, reason="")
            else:
                self._backend = backend.choose(self._store)
        return self._backend

    def prepare(
        self,
        container_id: str,
        image_id: str,
        directory: str,
        *,
        volatile: bool = False,
        idmap: Mapping[str, Sequence[Sequence[int]]] | None = None,
    ) -> Snapshot:
        """Make a container's writable layer over an image's layers.

        ``directory`` is where the container's directory is being built; the section names where it will be. Raises
        LimitExceeded for more layers than the kernel stacks, Corrupt when a layer is lost, and NoSpace.
        """
        layers = [self._paths.layer(number) + "/fs" for number in reversed(self._store.images.stack(image_id))]
        chosen = self.backend
        if not chosen.overlay:
            return self._copy(container_id, image_id, layers, directory, idmap=idmap)
        if len(layers) > MAX_LAYERS:
            raise LimitExceeded(
                f"image {image_id}: has {len(layers)} layers, and the kernel stacks at most {MAX_LAYERS}; squash it"
            )
        if not layers:
            layers = [self._empty_layer(directory, container_id)]
            like: str | None = None
        else:
            like = layers[0]
        upper, work = self._writable(container_id, directory, like, idmap, image_id)
        return Snapshot(
            {
                "type": "overlay",
                "lower": layers,
                "upper": upper,
                "work": work,
                "volatile": volatile,
                "idmap": None if idmap is None else dict(idmap),
            }
        )

    def prepare_host(self, container_id: str, path: str, directory: str) -> Snapshot:
        """Make a writable layer over a directory of the host, for ``--rootfs``: nothing in it changes.

        File systems mounted below are part of it, each copy-on-write; minidock's own roots are shown empty. Raises
        NotFound or InvalidArgument for what is no directory, Unsupported where overlayfs cannot be used.
        """
        try:
            path = os.path.realpath(path, strict=True)
        except FileNotFoundError as error:
            raise NotFound(f"rootfs {path}: no such directory") from error
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"rootfs {path!r}: {error}") from error
        if not os.path.isdir(path):
            raise InvalidArgument(f"rootfs {path}: not a directory")
        if not self.backend.overlay:
            raise Unsupported(
                f"rootfs {path}: needs overlayfs, which does not work on {self._paths.data}: "
                f"{self.backend.reason or 'storage-driver is vfs'}; choose a --data-root on another file system"
            )
        mask = sorted(
            {root for root in map(os.path.realpath, (self._paths.data, self._paths.run)) if _below(root, path)}
        )
        if path in mask:
            raise InvalidArgument(f"rootfs {path}: is minidock's own directory")
        upper, work = self._writable(container_id, directory, path, None, path)
        return Snapshot({"type": "host", "path": path, "mask": mask, "upper": upper, "work": work})

    def _writable(
        self,
        container_id: str,
        directory: str,
        like: str | None,
        idmap: Mapping[str, Sequence[Sequence[int]]] | None,
        what: str,
    ) -> tuple[str, str]:
        """Make ``rw/upper`` and ``rw/work``; the upper directory is the container's ``/``, so it takes its mode."""
        mode, uid, gid = _attributes(like, what)
        rw = f"{directory}/rw"
        try:
            os.mkdir(rw, 0o700)
            os.mkdir(f"{rw}/work", 0o700)
            os.mkdir(f"{rw}/upper", 0o700)
            uid, gid = _mapped(uid, idmap, "uid"), _mapped(gid, idmap, "gid")
            if uid or gid:
                os.chown(f"{rw}/upper", uid, gid)
            if mode != 0o700:
                os.chmod(f"{rw}/upper", mode)
        except OSError as error:
            raise from_os(error, "make the writable layer in", directory) from error
        final = f"{self._paths.container(container_id)}/rw"
        return f"{final}/upper", f"{final}/work"

    def _empty_layer(self, directory: str, container_id: str) -> str:
        """An image without layers: overlayfs needs one below."""
        try:
            os.mkdir(f"{directory}/empty", 0o755)
        except OSError as error:
            raise from_os(error, "make", f"{directory}/empty") from error
        return f"{self._paths.container(container_id)}/empty"

    def _copy(
        self,
        container_id: str,
        image_id: str,
        layers: list[str],
        directory: str,
        *,
        idmap: Mapping[str, Sequence[Sequence[int]]] | None,
    ) -> Snapshot:
        from minidock.snapshots.copies import copy_layers

        reason = self.backend.reason
        root = f"{directory}/rw/fs"
        mode, uid, gid = _attributes(layers[0] if layers else None, image_id)
        try:
            os.mkdir(f"{directory}/rw", 0o700)
            os.mkdir(root, 0o700)
            copy_layers(layers, root, idmap)
            os.chown(root, _mapped(uid, idmap, "uid"), _mapped(gid, idmap, "gid"))
            os.chmod(root, mode)
        except OSError as error:
            raise from_os(error, "copy the image to", directory) from error
        warning = f"overlayfs does not work on {self._paths.data} ({reason}); copying images instead, which is slow"
        final = f"{self._paths.container(container_id)}/rw/fs"
        return Snapshot({"type": "directory", "path": final}, (warning,) if reason else ())


def _attributes(like: str | None, what: str) -> tuple[int, int, int]:
    """Mode, uid and gid of a directory."""
    if like is None:
        return 0o755, 0, 0
    try:
        status = os.stat(like)
    except FileNotFoundError as error:
        raise Corrupt(f"{what}: its layer {like} is lost; remove the image and import it again") from error
    except OSError as error:
        raise from_os(error, "read", like) from error
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def _mapped(number: int, idmap: Mapping[str, Sequence[Sequence[int]]] | None, kind: str) -> int:
    """The host's id of a container's."""
    if idmap is None:
        return number
    for inside, outside, size in idmap.get(kind, ()):
        if inside <= number < inside + size:
            return outside + number - inside
    raise InvalidArgument(f"{kind} {number}: owns the root directory and is not in the id map")


def _below(path: str, directory: str) -> bool:
    return directory in ("/", path) or path.startswith(directory + "/")
