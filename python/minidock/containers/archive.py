"""A container's files while a copy takes place: pinned, and reached by the kernel's rules for roots (SECURITY.md R1).

A running container shows what its processes see. One that does not run is mounted where nobody sees it; while that is
written to, a lock on its directory keeps it from being started, and others from mounting it, too.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from minidock import _native
from minidock._errors import translate
from minidock.containers import liveness, states
from minidock.containers.stillness import held
from minidock.errors import Conflict, InvalidArgument, NotFound, Unsupported
from minidock.store.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.containers.lifecycle import Lifecycle
    from minidock.containers.planning import Planning
    from minidock.containers.record import Record
    from minidock.images.outputs import Out
    from minidock.spec.oci_runtime import IDMapping, Mount

_STARTING_SECONDS = 30.0
"""How long a container may take to enter its root filesystem."""
_POLL_SECONDS = 0.005


class PathStat(msgspec.Struct, rename="camel", frozen=True):
    """What is at a path of a container: Docker's header ``X-Docker-Container-Path-Stat``."""

    name: str
    """The last component of the path."""
    size: int
    mode: int
    """Go's ``FileMode``: permissions in the low 9 bits, the type in the high ones."""
    mtime: str
    """RFC 3339."""
    link_target: str = ""
    """Of a symbolic link: the path that it leads to in the end, absolute in the container."""

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return bool(self.mode & _GO_DIRECTORY)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return bool(self.mode & _GO_SYMLINK)

    @property
    def is_device(self) -> bool:
        """Whether it is a device."""
        return bool(self.mode & _GO_DEVICE)


_GO_DIRECTORY, _GO_SYMLINK, _GO_DEVICE, _GO_CHARACTER = 1 << 31, 1 << 27, 1 << 26, 1 << 21
_GO_TYPES = {
    stat.S_IFDIR: _GO_DIRECTORY,
    stat.S_IFLNK: _GO_SYMLINK,
    stat.S_IFBLK: _GO_DEVICE,
    stat.S_IFCHR: _GO_DEVICE | _GO_CHARACTER,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFREG: 0,
}
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def go_mode(mode: int) -> int:
    """The kernel's ``st_mode`` as Go's ``FileMode``."""
    found = (mode & 0o777) | _GO_TYPES.get(stat.S_IFMT(mode), 1 << 19)
    for bit, theirs in _GO_BITS:
        if mode & bit:
            found |= theirs
    return found


class Files(NamedTuple):
    """An open container: whose it is, and its tree."""

    record: Record
    tree: _native.ContainerTree
    read_only: bool
    """Its root filesystem is read-only for it."""

    def stat(self, path: str) -> PathStat:
        """What is at ``path``; a link in the last place is not followed, unless a slash or ``/.`` follows it."""
        from minidock.images.inspection import format_time

        _require(path)
        with self._translated(path):
            size, mode, seconds, nanoseconds, target = self.tree.stat(path)
        return PathStat(
            name=base(absolute(path)),
            size=size,
            mode=go_mode(mode),
            mtime=format_time(seconds * 10**9 + nanoseconds),
            link_target=target,
        )

    def read(self, path: str, fd: int) -> None:
        """Write a tar of what is at ``path`` to a descriptor."""
        with self._translated(path):
            self.tree.read(path, base(absolute(path)), fd)

    def write(self, path: str, fd: int, *, keep_kinds: bool, owner: tuple[int, int] | None) -> None:
        """Unpack the tar read from a descriptor into the directory ``path``."""
        _require(path)
        with self._translated(path):
            self.tree.write(path, fd, owner=owner, keep_kinds=keep_kinds, read_only_root=self.read_only)

    def unpack(self, path: str, data: Any, *, keep_kinds: bool, owner: tuple[int, int] | None) -> None:
        """Unpack a tar, which ``data`` is or gives, into the directory ``path``."""
        from minidock.images import sources

        with sources.opened(data, "copy") as source:
            try:
                self.write(path, source.fd, keep_kinds=keep_kinds, owner=owner)
            finally:
                source.check()

    def copy_out(self, path: str, name: str, target: str, *, owners: bool) -> int:
        """Copy what is at ``path`` into the host's directory ``target``, as ``name``; return the bytes of its tar."""
        progress = _native.Progress()
        with self._translated(path, target):
            self.tree.copy_out(path, name, target, owners=owners, progress=progress)
        return progress.size

    def copy_in(self, source: str, name: str, path: str, *, owner: tuple[int, int] | None) -> int:
        """Copy what the host has at ``source`` into the directory ``path``, as ``name``; return its tar's bytes."""
        _require(path)
        progress = _native.Progress()
        with self._translated(path):
            self.tree.copy_in(source, name, path, owner=owner, read_only_root=self.read_only, progress=progress)
        return progress.size

    def user(self) -> tuple[int, int] | None:
        """The user and group that the container runs as; None when that is its default."""
        spec = self.record.config.user
        if not spec:
            return None
        with self._translated(spec):
            return self.tree.user(spec)

    @contextmanager
    def _translated(self, path: str, target: str = "") -> Iterator[None]:
        try:
            yield
        except _native.NativeError as error:
            text, kind, op, subject, _ = error.args
            if op in ("overwrite directory", "overwrite non-directory"):
                what = op.removeprefix("overwrite ")
                other = "non-directory" if what == "directory" else "directory"
                raise Conflict(f'cannot overwrite {what} "{subject}" with {other} "{target or path}"') from error
            if kind == "not-found" and op == "find":
                raise NotFound(f"could not find the file {path} in container {self.record.name}") from error
            failure = translate(error)
            if op == "find":
                raise type(failure)(f"{path} in container {self.record.name}: {_cause(text, op, subject)}") from error
            cause = _cause(text, op, subject) if (op, subject) == ("unpack", "layer") else text
            raise type(failure)(f"copy {self.record.name}:{path}: {cause}") from error


def _cause(text: str, op: str, subject: str) -> str:
    return text.removeprefix(f"{op} {subject}: ")


def absolute(path: str) -> str:
    """``path`` from the container's root, ``.`` and ``..`` taken away by name; a slash or ``/.`` at the end stays."""
    from minidock.containers.copying import clean, keep_ending

    return keep_ending(clean("/" + path), path)


def base(path: str) -> str:
    """The last component: ``/`` for the root, ``.`` for ``/directory/.``."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def _require(path: str) -> None:
    if not path or "\0" in path:
        raise InvalidArgument("bad parameter: path cannot be empty" if not path else f"path {path!r}: NUL in it")


@contextmanager
def opened(lifecycle: Lifecycle, container_id: str, *, writable: bool) -> Iterator[Files]:
    """Open a container's files for a ``with`` block. Raises ContainerNotFound, Conflict when it does not come up."""
    deadline = time.monotonic() + _STARTING_SECONDS
    alone = False
    while True:
        with contextlib.ExitStack() as stack:
            with contextlib.ExitStack() as locked:
                locked.enter_context(held(lifecycle.paths, container_id, shared=not alone))
                record, _ = lifecycle.settle(lifecycle.store.containers.get(container_id))
                # The row says so from the first step of a start on, before anything of the container can be seen.
                if lifecycle.store.containers.get(record.id).state == states.RUNNING:
                    tree = _running(lifecycle, record, deadline)
                elif alone or not _needs_alone(record, writable=writable):
                    lifecycle.wait_for_the_last_run(record.id)
                    tree = view(lifecycle, record, writable=writable, mounted=True)
                else:
                    alone, tree = True, None
                if tree is not None and (alone or writable):
                    stack.push(locked.pop_all())
            if tree is not None:
                # Who only reads lets it be started: what he sees may change, as in a container that runs.
                stack.enter_context(tree)
                yield Files(record, tree, record.host_config.readonly_rootfs)
                return
        # Given back meanwhile: who starts it may be waiting for the lock.
        time.sleep(0 if alone else _POLL_SECONDS)


def _needs_alone(record: Record, *, writable: bool) -> bool:
    """Whether nobody else may have its files mounted at the same time."""
    return writable or record.snapshot["type"] == "host" or record.snapshot.get("idmap") is not None


def _idmap(record: Record) -> dict[str, Any] | None:
    return {"uid": record.uid_map, "gid": record.gid_map} if record.uid_map else None


def _running(lifecycle: Lifecycle, record: Record, deadline: float) -> _native.ContainerTree | None:
    """The tree that PID 1 sees; None while there is none."""
    file = liveness.pid_file(lifecycle.paths.run_container(record.id))
    if file is not None and file.pid > 0 and file.boot_id == lifecycle.host.boot_id:
        try:
            return _native.ContainerTree.running(file.pid, file.start_time, idmap=_idmap(record))
        except _native.NativeError as error:
            if error.args[1] not in ("busy", "not-found"):
                raise translate(error) from error
    if time.monotonic() > deadline:
        raise Conflict(f"container {record.id} has no process: it is being started again and again; stop it to copy")
    return None


def view(
    lifecycle: Planning, record: Record, *, writable: bool = False, mounted: bool = False, exchange: bool = True
) -> _native.ContainerTree:
    """Mount the files of a container that does not run where nobody sees them; the tree's end takes that away.

    With ``mounted`` they have its volumes and binds; without ``exchange`` those of ``idmap`` have the ids on disk.
    """
    if writable and record.snapshot["type"] == "host":
        _require_lasting(record)
    bundle = lifecycle.paths.container(record.id)
    request: dict[str, Any] = {
        "rootfs": record.snapshot,
        "label": record.mount_label or None,
        "writable": writable,
    }
    with contextlib.ExitStack() as stack:
        more: Sequence[Mount] = ()
        if mounted and record.mounts:
            from minidock.containers.mounts import living
            from minidock.containers.runtime_spec.user_mounts import user_mounts

            stack.enter_context(living.mounted(lifecycle, record))
            more = user_mounts(record, lifecycle.paths, living.exchanged(lifecycle, record) if exchange else {})
            request["sources"] = living.sources_of(lifecycle, record)
        request["mounts"] = _offline(record, bundle, more)
        try:
            return _native.ContainerTree.stopped(
                lifecycle.helper, bundle, msgspec.json.encode(request), idmap=_idmap(record)
            )
        except _native.NativeError as error:
            raise translate(error) from error


def _offline(record: Record, bundle: str, more: Sequence[Mount]) -> list[dict[str, Any]]:
    """The binds of a container as its view wants them; those that it was given come though their place is missing."""
    from minidock.containers.runtime_spec.mounts import mounts

    given = {one.destination for one in more}
    made = []
    for one in mounts(record, bundle, None, has_mqueue=False, more=more):
        if one.type != "bind" or not one.source or one.destination.startswith(("/dev/", "/proc/", "/sys/")):
            continue
        entry: dict[str, Any] = {"destination": one.destination, "source": one.source}
        entry["recursive"] = "rbind" in (one.options or ())
        entry["read_only"] = bool({"ro", "rro"} & set(one.options or ()))
        entry["create"] = one.destination in given
        if one.uid_mappings and one.gid_mappings:
            entry["idmap"] = {"uid": _ranges(one.uid_mappings), "gid": _ranges(one.gid_mappings)}
        made.append(entry)
    return made


def _ranges(mappings: Sequence[IDMapping]) -> list[tuple[int, int, int]]:
    return [(one.container_id, one.host_id, one.size) for one in mappings]


def _require_lasting(record: Record) -> None:
    """Refuse to write where changes are kept in memory: the writable layer is on the file system that it is over."""
    path, upper = record.snapshot["path"], os.path.realpath(record.snapshot["upper"])
    below = path.rstrip("/") + "/"
    with translated("stat", path):
        if upper.startswith(below) and os.stat(path).st_dev == os.stat(upper).st_dev:
            raise Unsupported(
                f"container {record.id[:12]}: what changes in its root filesystem, {path} of the host, is gone when it "
                "ends; start it to copy into it"
            )


def get(lifecycle: Lifecycle, container_id: str, path: str, chunk_size: int) -> tuple[Iterator[bytes], PathStat]:
    """See :meth:`Container.get_archive`."""
    from minidock.images import outputs

    manager = opened(lifecycle, container_id, writable=False)
    files = manager.__enter__()
    try:
        found = files.stat(path)
        lifecycle.emit(files.record, "archive-path")
        chunks = outputs.piped(lambda fd: files.read(path, fd), chunk_size)
    except BaseException as error:
        manager.__exit__(type(error), error, error.__traceback__)
        raise

    def stream() -> Iterator[bytes]:
        try:
            yield from chunks
        finally:
            manager.__exit__(None, None, None)

    return _Stream(stream(), manager), found


class _Stream:
    """Chunks of an archive; gives the container back at its end, or when nobody wants it any more."""

    def __init__(self, chunks: Any, manager: Any) -> None:
        self._chunks = chunks
        self._manager = manager

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> bytes:
        chunk: bytes = next(self._chunks)
        return chunk

    def close(self) -> None:
        """Give the container back."""
        self._chunks.close()
        self._manager.__exit__(None, None, None)

    __del__ = close


def put(
    lifecycle: Lifecycle,
    container_id: str,
    path: str,
    data: Any,
    *,
    no_overwrite_dir_non_dir: bool,
    copy_uid_gid: bool,
) -> None:
    """See :meth:`Container.put_archive`."""
    with opened(lifecycle, container_id, writable=True) as files:
        owner = files.user() if copy_uid_gid else None
        files.unpack(path, data, keep_kinds=no_overwrite_dir_non_dir, owner=owner)
        lifecycle.emit(files.record, "extract-to-dir")


def read_to(lifecycle: Lifecycle, container_id: str, path: str, out: Out, *, follow_link: bool) -> None:
    """Write a tar of what is at ``path`` to ``out``: a descriptor or a binary file."""
    from minidock.containers.copying import link_of
    from minidock.images import outputs

    with opened(lifecycle, container_id, writable=False) as files:
        if follow_link:
            path, _ = link_of(files, path)
        files.stat(path)
        lifecycle.emit(files.record, "archive-path")
        outputs.write_to(out, lambda fd: files.read(path, fd), "copy")
