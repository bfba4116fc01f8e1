"""RUN: one command in a container over the stage's layers; what it writes becomes the next layer."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

from minidock.build import owners
from minidock.build.copying import xattrs
from minidock.build.merged import Merged
from minidock.containers import bundle
from minidock.containers.container import Container
from minidock.containers.record import Step
from minidock.errors import LimitExceeded, MinidockError, Unsupported
from minidock.images import platforms
from minidock.images import upper as uppers
from minidock.images.parallel import started
from minidock.snapshots.snapshots import MAX_LAYERS
from minidock.spec.oci_image import ExecutionConfig, ImageConfig
from minidock.store.failures import from_os, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from minidock.build.stopping import Stop
    from minidock.containers.record import Record
    from minidock.engine import Engine
    from minidock.images.layers import Unpacked

    Again = Callable[[Sequence[str], "Terminal"], None]

HOSTNAME = "buildkitsandbox"
"""Docker's: a name that is the same for every build."""
_CHUNK = 64 << 10
_IdMap = dict[str, list[list[int]]] | None
Terminal = tuple[int, int]
"""Descriptors for input and output."""


class Command:
    """What a RUN runs: an argument vector with its surroundings, and options of ``containers.create``."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Sequence[str],
        user: str,
        working_dir: str,
        options: Mapping[str, Any],
        platform: tuple[str, str, str],
    ) -> None:
        self.argv = list(argv)
        self.env = list(env)
        self.user = user
        self.working_dir = working_dir
        self.options = dict(options)
        self.platform = platform

    def on_terminal(self, argv: Sequence[str]) -> Command:
        """Another one in the same surroundings, on a terminal."""
        return Command(
            argv,
            env=self.env,
            user=self.user,
            working_dir=self.working_dir,
            options={**self.options, "tty": True, "stdin_open": True},
            platform=self.platform,
        )


class Mounted:
    """Mounts of one RUN: as in the runtime-spec, and what binds show instead of the paths that they name."""

    def __init__(self, *, labelled: bool = False) -> None:
        self.labelled = labelled
        """Whether the command has a label of SELinux, and must be given what it is shown."""
        self.mounts: list[tuple[str, str, str, list[str]]] = []
        self.sources: list[dict[str, Any]] = []
        self.environment = ""
        """A file with variables, a NUL byte after each."""
        self.own: set[str] = set()
        """What binds show that was made for the command: files and sockets in memory."""

    def remap(self, idmap: _IdMap) -> None:
        """Let the command of a user namespace see the owners that are on disk."""
        for path in self.own:
            _give(path, os.lstat(path), idmap)
        for source in self.sources:
            if "upper" in source:
                _give(source["upper"], os.lstat(source["upper"]), idmap)
        self.mounts = [
            (target, kind, source, [*options, "idmap"] if kind == "bind" and source not in self.own else options)
            for target, kind, source, options in self.mounts
        ]

    def label(self, record: Record) -> None:
        """Let the command have what it is shown, where there is SELinux: caches are everybody's."""
        layers = {source["destination"] for source in self.sources}
        for target, kind, source, _ in self.mounts:
            if kind == "bind" and target not in layers:
                bundle.label(source, record, common=source not in self.own)


class Room:
    """The directories of one RUN inside a workspace: its writable layer, and the layer that is made of it."""

    def __init__(self, directory: str, layers: Sequence[str]) -> None:
        self.directory = directory
        self.below = list(layers)
        self.upper = f"{directory}/upper"
        self.work = f"{directory}/work"
        self.layer = f"{directory}/layer"

    def make(self, idmap: _IdMap) -> None:
        """Make them; the writable layer has mode and owner of what lies below."""
        if len(self.below) > MAX_LAYERS:
            raise LimitExceeded(f"the stage has {len(self.below)} layers, and the kernel stacks at most {MAX_LAYERS}")
        try:
            os.mkdir(self.directory, 0o700)
            os.mkdir(self.work, 0o700)
            os.mkdir(self.upper, 0o700)
            if not self.below:
                os.mkdir(f"{self.directory}/empty", 0o755)
                self.below = [f"{self.directory}/empty"]
            status = os.stat(self.below[0])
            uid, gid = _mapped(status.st_uid, idmap, "uid"), _mapped(status.st_gid, idmap, "gid")
            if uid or gid:
                os.chown(self.upper, uid, gid)
            os.chmod(self.upper, stat.S_IMODE(status.st_mode))
        except OSError as error:
            raise from_os(error, "make", self.directory) from error

    def enter(self, path: str, user: str, idmap: _IdMap) -> None:
        """Make the working directory, where it is missing, the user's own, as Docker's builder does."""
        tree = Merged(self.below)
        wanted = tree.resolve(path)
        if tree.look(wanted) is not None:
            return
        uid, gid = owners.process(tree, user)
        parts = wanted.split("/")
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            node = tree.look(name)
            if node is not None and not node.is_directory:
                return  # which the start will say
            place = f"{self.upper}/{name}"
            with translated("make", place):
                os.mkdir(place, 0o700)
                status = None if node is None else node.status
                ids = (uid, gid) if status is None else (status.st_uid, status.st_gid)
                os.chown(place, _mapped(ids[0], idmap, "uid"), _mapped(ids[1], idmap, "gid"))
                os.chmod(place, 0o755 if status is None else stat.S_IMODE(status.st_mode))
                for key, value in () if node is None else xattrs(node.place):
                    os.setxattr(place, key, value)

    def again(self) -> None:
        """Be the place of another container, which finds what the first one has written."""
        # The kernel refuses the work directory of a volatile mount for another one.
        self.work = f"{self.directory}/again"
        with translated("make", self.work):
            os.mkdir(self.work, 0o700)

    def snapshot(self, idmap: _IdMap) -> dict[str, Any]:
        """The section ``rootfs`` of the supervisor's document."""
        return {
            "type": "overlay",
            "lower": self.below,
            "upper": self.upper,
            "work": self.work,
            "volatile": True,
            "idmap": idmap,
        }


def run(
    engine: Engine,
    command: Command,
    room: Room,
    *,
    stop: Stop,
    output: Callable[[bytes], None],
    clamp: int | None,
    mounts: Mounted | None = None,
    failed: Callable[[Again], None] | None = None,
) -> tuple[int, Unpacked | None]:
    """Run a command; returns its exit code and, when that is 0, the layer of what it wrote (None: nothing).

    ``output`` gets what it writes, in pieces, from another thread. The container dies with this process and is gone
    when this returns. ``failed`` is called when the code is not 0, and can run something else in its place while its
    files are there. Raises what starting a container raises, Cancelled when ``stop`` is set meanwhile.
    """
    if not engine.snapshots.backend.overlay:
        raise Unsupported(
            "RUN needs overlayfs, which does not work on the data root: "
            f"{engine.snapshots.backend.reason or 'storage-driver is vfs'}; choose a --data-root on another file system"
        )
    stop.check()
    with _container(engine, command, room, mounts, stop) as (container, idmap):
        reader, writer = os.pipe2(os.O_CLOEXEC)
        thread = threading.Thread(target=_drain, args=(reader, output), name="minidock-build-output", daemon=True)
        started(thread, reader, writer)
        try:
            ended = container.start_attached(stdout=writer, stderr=writer, sig_proxy=False)
        except BaseException as error:
            with contextlib.suppress(MinidockError):
                container.remove(force=True)
            if isinstance(error, MinidockError) and "exec format error" in str(error):
                _check_platform(command, error)
            raise
        finally:
            os.close(writer)
            thread.join()
        stop.check()
    code = 0 if ended is None else ended.exit_code
    if code:
        if failed is not None:

            def again(argv: Sequence[str], terminal: Terminal) -> None:
                other = command.on_terminal(argv)
                with _container(engine, other, room, mounts, stop, again=True) as (container, _):
                    container.start_attached(stdin=terminal[0], stdout=terminal[1], sig_proxy=False)

            failed(again)
        return code, None
    tree = Merged(room.below)
    places = [] if mounts is None else [tree.resolve(mount[0]) for mount in mounts.mounts]
    if idmap is None:
        return 0, uppers.layer_from_upper(room.upper, room.below, room.layer, clamp=clamp, places=places)
    return 0, uppers.layer_of_upper(room.upper, room.below, room.layer, idmap=idmap, clamp=clamp, places=places)


@contextlib.contextmanager
def _container(
    engine: Engine, command: Command, room: Room, mounts: Mounted | None, stop: Stop, *, again: bool = False
) -> Iterator[tuple[Container, _IdMap]]:
    """A container for one command, which is gone after the block; with how its ids are mapped."""
    lifecycle = engine.lifecycle
    system, architecture, variant = command.platform
    config = ExecutionConfig(
        user=command.user, env=command.env, cmd=command.argv, working_dir=command.working_dir or "/"
    )
    base = ImageConfig(architecture=architecture, os=system, variant=variant, config=config)
    options: dict[str, Any] = {
        "hostname": HOSTNAME,
        "remove": True,
        "owner": "process",
        "log_driver": "none",
        **command.options,
    }
    planned = lifecycle.plan(None, None, options, {}, base)
    record = planned.record
    idmap: _IdMap = None
    if record.uid_map:
        idmap = {"uid": [list(part) for part in record.uid_map], "gid": [list(part) for part in record.gid_map]}
    if again:
        room.again()
    else:
        room.make(idmap)
        if mounts is not None and idmap is not None:
            mounts.remap(idmap)
        room.enter(command.working_dir, command.user, idmap)
    planned.snapshot = room.snapshot(idmap)
    if mounts is not None and record.mount_label and not again:
        mounts.label(record)
    record.step = Step() if mounts is None else Step(mounts.mounts, mounts.sources, mounts.environment)
    record.starter = lifecycle.owner()
    container = Container(lifecycle, lifecycle.create(planned), record.state, warnings=planned.warnings)
    try:
        stop.add(container)
        yield container, idmap
    finally:
        stop.discard(container)
        with contextlib.suppress(MinidockError):
            container.remove(force=True)


def _drain(fd: int, output: Callable[[bytes], None]) -> None:
    try:
        while data := os.read(fd, _CHUNK):
            output(data)
    finally:
        os.close(fd)


def _check_platform(command: Command, error: MinidockError) -> None:
    """Raise Unsupported, which says so, where it is the platform that a program cannot be run for."""
    has, host = platforms.Platform(*command.platform), platforms.host()
    if not host.accepts(has):
        raise Unsupported(
            f"{error}: the stage is for {has}, and this host is {host}: RUN needs an emulator in binfmt_misc, or "
            "a stage FROM --platform=$BUILDPLATFORM"
        ) from error


def _give(path: str, status: os.stat_result, idmap: _IdMap) -> None:
    """Give a file to those ids of the host that its owners are in the container."""
    mode = stat.S_IMODE(status.st_mode)
    with translated("change the owner of", path):
        os.chown(
            path, _mapped(status.st_uid, idmap, "uid"), _mapped(status.st_gid, idmap, "gid"), follow_symlinks=False
        )
        os.chmod(path, mode)  # a change of owners takes bits away


def _mapped(number: int, idmap: _IdMap, kind: str) -> int:
    for inside, outside, size in (idmap or {}).get(kind, ()):
        if inside <= number < inside + size:
            return outside + number - inside
    return number
