"""The boundary between Python and Rust. Nothing outside ``minidock`` imports it.

Every call that blocks or takes more than 50 µs releases the GIL, and wakes to run Python's signal handlers. A borrowed
fd (an ``int`` argument) stays the caller's. Failures raise :class:`NativeError`; ``minidock._errors`` maps its ``kind``
to an exception of the tree in ``minidock.errors``.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Self, final

from typing_extensions import Buffer

__version__: str

class NativeError(Exception):
    """A failure in Rust: what was done, on what, of which kind.

    ``args`` is ``(text, kind, op, subject, errno)``; ``kind`` is one of not-found, conflict, invalid, unsupported,
    denied, busy, corrupt, timeout, limit, system; ``errno`` is None when no system call failed.
    """

@final
class SupervisorGone(NativeError):  # noqa: N818 - says what happened, as minidock.errors does
    """The supervisor ended without a word: it was killed, or it crashed. ``kind`` is system."""

# Control groups (paths are those of ``linux.cgroupsPath``: below the root of every hierarchy)

def cgroup_host() -> bytes:
    """Return what this host's cgroups can limit, as a JSON object.

    Keys: ``mode`` (v1, hybrid, v2), ``version`` ("1" or "2": that of the memory controller), ``controllers``, and a
    bool for each kind of limit (``memory_limit``, ``swap_limit``, ``cpu_cfs_quota``, ``pids_limit``, …).
    Kinds: unsupported (no cgroup file system is mounted).
    """

def cgroup_stats(path: str) -> bytes:
    """Return a group's counters as a JSON object with the keys ``memory``, ``cpu``, ``pids``, ``io``, ``pressure``.

    Sizes are in bytes, times in ns; a key is null where the host does not count it. Kinds: not-found.
    """

def container_samples(groups: list[tuple[str, int]]) -> bytes:
    """Return one look at many containers, each a cgroup's path and the pid whose network is its own (0: none).

    A JSON object: ``time_ns``; ``host`` (``cpu_ns`` of all CPUs together, ``cpus``, ``memory``); ``samples``, in the
    order of ``groups``: what :func:`cgroup_stats` returns and ``networks``, or null when there is no such group.
    """

def cgroup_processes(path: str) -> list[int]:
    """Return the ids of all processes in the group and below; none if there is no such group."""

def cgroup_kill(path: str, timeout: float = 10.0) -> bool:
    """Kill all processes in the group and below, and wait at most ``timeout`` seconds until they are gone.

    False: there is no such group. Kinds: timeout.
    """

def cgroup_remove(path: str, timeout: float = 1.0) -> bool:
    """Remove the group and those below from every hierarchy; wait at most ``timeout`` seconds for ending processes.

    False: there is no such group. Kinds: busy (it has processes).
    """

def cgroup_apply(path: str, resources: bytes) -> list[str]:
    """Change the limits of a group in use to ``linux.resources`` (JSON); what it does not name stays as it is.

    Returns warnings, one for each limit that was dropped. Kinds: not-found, invalid, unsupported, busy (a memory limit
    below what is in use).
    """

def cgroup_freeze(path: str, timeout: float = 10.0) -> None:
    """Stop all processes of the group and below. Kinds: not-found, timeout (they run again), unsupported."""

def cgroup_frozen(path: str) -> bool:
    """Whether they are stopped; False if there is no such group."""

def cgroup_thaw(path: str) -> None:
    """Let them run again. Kinds: not-found, unsupported."""

# Seccomp

SECCOMP_COMPILER: int
"""Version of the filter compiler; part of the key of stored filters."""

def seccomp_compile(profile: bytes, machine: str) -> bytes:
    """Return the stored form of the filter for a runtime-spec ``linux.seccomp`` document (JSON).

    ``machine`` is the kernel's name (``x86_64``, ``aarch64``). Kinds: invalid (the document), unsupported (the
    machine), limit (over the kernel's 4096 instructions). The GIL is released.
    """

# Linux security modules

def share_heap() -> None:
    """Let all threads of this process share one heap (mallopt(3), M_ARENA_MAX); call it before there are any.

    Else each keeps what it once needed: tens of MB in a server whose threads mostly wait.
    """

def apparmor_enabled() -> bool:
    """Return whether the kernel enforces AppArmor, and its profiles can be reached: securityfs is mounted."""

def apparmor_ensure(name: str) -> None:
    """See to it that a profile is loaded; ``minidock-default`` is loaded with the host's parser if it is not.

    Kinds: not-found (another profile is not loaded), unsupported (no parser, or it fails), denied (the kernel's list
    cannot be read). The GIL is released.
    """

def selinux_enabled() -> bool:
    """Return whether the kernel has SELinux."""

def selinux_labels(options: list[tuple[str, str]], disable: bool, used_levels: set[str]) -> tuple[str, str]:
    """Return the labels of a container's processes and of its files; an empty one is none.

    ``options`` are those of ``--security-opt label=``; with ``disable`` the processes have none. The level is none of
    ``used_levels``. Kinds: invalid (an option, or a label that the policy does not know), unsupported (the policy has
    none for containers), limit (no free level).
    """

def selinux_check_relabel(path: str, roots: Sequence[str]) -> None:
    """Raise denied for a bind's source with ``z`` or ``Z`` where nothing is relabelled: for the system's directories
    and the engine's own (``roots``, real names) themselves, also by links.
    """

def selinux_relabel(path: str, label: str, shared: bool, roots: Sequence[str] | None) -> None:
    """Label a file, or a directory and all below it, following only links on the way; ``shared`` drops the categories.

    A file system without labels is left as it is. ``roots`` are the engine's own directories (real names): denied,
    without an errno, for what lies in them or around them, or is the system's, by its name or by links. None: ``path``
    is the engine's own. Kinds: not-found, denied, invalid. The GIL is released.
    """

def survey(directory: str, boot_id: str, inits: bool) -> dict[str, tuple[bytes, bool, bool, bool]]:
    """Look at all run directories below ``directory``; those without a readable pid file are left out.

    By name: the pid file, whether the supervisor is there, and, with ``inits``, whether PID 1 is there and whether it
    is marked as paused. Of another boot, nobody is. The GIL is released.
    """

# --- Events (docs/events.md) ---

def network_ensure(document: bytes, networks: str, *, forward: bool = True) -> list[str]:
    """Make the bridge of a network and the firewall, where they are not there.

    ``document`` is the content of its ``network.json`` (docs/networks.md), which must be in ``networks`` already. With
    ``forward`` the host forwards packets between interfaces from now on. Returns the files below /proc/sys that were
    changed for that. Releases the GIL. Raises NativeError: ``conflict`` when another interface has the bridge's name,
    ``not-found`` without the parent interface, ``unsupported`` without nf_tables or bridges in the kernel.
    """

def networks_remove(documents: list[bytes], networks: str) -> None:
    """Remove the bridges of networks in one step, and what the firewall has of them; their files must be gone already.

    What is not there is no error. Releases the GIL; the kernel takes about 30 ms. Raises NativeError.
    """

def firewall_ensure(table: str, networks: str) -> bool:
    """Make the nf_tables table what the files in ``networks`` say, none without any; True if it was made or changed.

    Releases the GIL.
    """

def firewall_others(table: str) -> list[tuple[str, bool]]:
    """Return others' chains that drop what is forwarded, in words, and whether they let pass what is ours."""

def firewall_problems(table: str) -> list[str]:
    """Return what keeps packets from being forwarded though our table lets them pass, a line each."""

def event_append(dir: str | PathLike[str], kind: str, action: str, id: str, attributes: dict[str, str]) -> None:
    """Append an event to those in the directory ``dir``, which is made if it is missing; its time is now.

    Long attributes are cut so that its line has at most 16 KiB. Kinds: timeout (a stopped process holds the lock for
    2 s), system (errno ENOSPC: a full disk). The GIL is released.
    """

@final
class EventReader:
    """A place among the events in ``dir``, which is made if it is missing; no lock is taken.

    It gives those from ``since`` until ``until``, both included, in ns since 1970. With ``follow`` it waits for more,
    and without ``since`` it begins with what happens from now on; otherwise, it ends with what is there now.
    """

    def __new__(
        cls, dir: str | PathLike[str], since: int | None = None, until: int | None = None, *, follow: bool = False
    ) -> Self: ...
    def read(self, timeout: float | None = None) -> bytes | None:
        """Return some lines, each a JSON object, all whole; nothing after ``timeout`` seconds; None: there is no more.

        Kinds: not-found (the directory was removed). The GIL is released.
        """
    def close(self) -> None:
        """Give everything back; a :meth:`read` in another thread returns None, as every later one does."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

# --- The helper and the supervisors that it becomes (docs/supervisor.md) ---

@final
class HelperFile:
    """The helper's executable, opened so that no container can change it (R4). Share one among all spawns."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class Scope:
    """A new scope of systemd's for a container, kept by a process until its supervisor is in it."""

    @staticmethod
    def make(
        helper: HelperFile,
        unit: str,
        slice: str,
        cgroup: str,
        description: str,
        *,
        stop_seconds: int | None = None,
        cpu_shares: int = 0,
        blkio_weight: int = 0,
    ) -> Scope:
        """Make the scope ``unit`` in ``slice``, delegated; ``cgroup`` is where systemd puts it.

        ``stop_seconds`` is what the container has to stop by itself when systemd stops the scope; None for systemd's
        default. One of that name that ends is waited for. Errors: unsupported (systemd refuses), timeout.
        """
    @staticmethod
    def weigh(unit: str, cpu_shares: int, blkio_weight: int) -> None:
        """Give a scope that is there other weights; 0 leaves one as it is. Errors: unsupported."""
    def close(self) -> None:
        """Let go of it: it ends with the last process that is in it."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

def open_helper(path: str | PathLike[str]) -> HelperFile:
    """Open the helper at ``path``. Errors: not-found; invalid (no executable file); denied (mounted noexec)."""

@final
class Supervisor:
    """One started supervisor, from its client's side; all methods may be called from any thread.

    Closing it lets the container live on, without its client: the supervisor then closes its fds 0 to 2. The supervisor
    is no child of this process: nothing has to be waited for, no SIGCHLD arrives when a container ends.
    """

    @classmethod
    def spawn(
        cls,
        helper: HelperFile,
        bundle: str | PathLike[str],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        stdin_pipe: bool = False,
        capture: bool = False,
    ) -> Supervisor:
        """Start the supervisor of the container that ``bundle`` (an absolute path) describes; does not wait for it.

        Each stream is a borrowed descriptor, or None: ``/dev/null``. With ``capture`` stdout and stderr that are None
        are pipes, read by :meth:`communicate` or :meth:`interact`; with ``stdin_pipe`` stdin is one, written by them.
        """
    @classmethod
    def connect(cls, run_dir: str | PathLike[str]) -> Supervisor:
        """Connect to the supervisor of a container that runs, by its run directory. Errors: not-found."""
    def request(self, request: bytes, fds: Sequence[int] | None = None, timeout: float | None = None) -> None:
        """Send a request of docs/supervisor.md (JSON) with borrowed descriptors, and wait until it is carried out.

        For connected clients; one that was spawned gets no answers. Errors: conflict (it refuses, or has ended);
        timeout.
        """
    def wait_attached(self, timeout: float | None = None) -> bytes | None:
        """Like :meth:`wait`, but returns empty bytes when the user has typed the detach keys."""
    def wait_started(self, timeout: float | None = None) -> bytes:
        """Return the ``started`` or ``error`` packet (JSON). Errors: timeout; :class:`SupervisorGone`."""
    def wait(self, timeout: float | None = None) -> bytes | None:
        """Return the ``exited`` packet (JSON), or None after ``timeout`` seconds.

        Errors: conflict (the container did not start); :class:`SupervisorGone`.
        """
    def communicate(
        self, input: bytes | None = None, timeout: float | None = None, limit: int = 67108864
    ) -> tuple[bytes, bytes, bytes]:
        """Write ``input`` to the stdin pipe, then close it; return stdout, stderr and the ``exited`` packet.

        ``limit`` is in bytes, per stream. Errors: limit, timeout (the container then still runs, and its pipes are
        closed); conflict (it did not start); :class:`SupervisorGone`.
        """
    def interact(
        self,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        *,
        detach_keys: str | None = None,
    ) -> bytes | None:
        """Wait for the end like a client with a user; return the ``exited`` packet, or None when the user detached.

        Meanwhile ``stdin`` is copied into the stdin pipe, and the captured pipes to ``stdout`` and ``stderr``; streams
        that are no pipes are the supervisor's. Python's signal handlers run: one may call :meth:`signal` or
        :meth:`resize`, or raise. ``detach_keys`` is written as Docker's ``--detach-keys``, for example
        ``ctrl-p,ctrl-q``, and looked for in ``stdin``. Errors: as :meth:`wait`; invalid (``detach_keys``).
        """
    def signal(self, number: int) -> None:
        """Send a signal to PID 1. Errors: invalid; conflict (the container has ended), as all that follow."""
    def stop(self, signal: int, timeout_ms: int) -> None:
        """Send a signal to PID 1, and SIGKILL after ``timeout_ms``; does not wait."""
    def resize(self, rows: int, cols: int) -> None:
        """Set the size of the container's terminal."""
    def close_stdin(self) -> None:
        """End the container's stdin."""
    def release(self) -> None:
        """Let an exec live on when this client goes."""
    def fileno(self) -> int:
        """The control socket, for ``poll``: readable when a packet has arrived."""
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

def run_captured(
    helper: HelperFile,
    bundle: str | PathLike[str],
    *,
    input: bytes | None = None,
    timeout: float | None = None,
    limit: int = 67108864,
) -> tuple[bytes, bytes, bytes, bytes | None]:
    """Start a supervisor with captured streams, wait for the end; return first packet, stdout, stderr, ``exited``.

    When the first packet is ``error``, the streams are empty and ``exited`` is None. Without ``input`` stdin is
    ``/dev/null``. When it fails (limit, timeout, an exception of a signal handler) the container is killed first; its
    ``exit.json`` is then in place.
    """

def exec_spawn(
    helper: HelperFile,
    bundle: str | PathLike[str],
    request: bytes,
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    stdin_pipe: bool = False,
) -> Supervisor:
    """Start the supervisor of an exec in the container of ``bundle``; ``request`` is its JSON (docs/supervisor.md).

    Streams are as for :meth:`Supervisor.spawn`. Closing the client ends an exec that is bound to it.
    """

def exec_captured(
    helper: HelperFile,
    bundle: str | PathLike[str],
    request: bytes,
    *,
    input: bytes | None = None,
    limit: int = 67108864,
) -> tuple[bytes, bytes, bytes, bytes | None]:
    """Run an exec to its end with captured streams; results as of :func:`run_captured`.

    When it fails (limit, an exception of a signal handler) all of the exec is killed.
    """

# --- Snapshots ---

def probe_overlay(lower: str | PathLike[str], upper: str | PathLike[str], work: str | PathLike[str]) -> None:
    """Make an overlay of three directories, and drop it unmounted: succeeds where a container's mount would.

    Errors: unsupported (the kernel has no overlayfs), system (the file system cannot hold an upper layer), denied.
    """

@final
class OverlayMount:
    """Layers as one tree, read-only, without devices and set-user-id: for looking at it, and for ``tar_tree``.

    Nothing of it can be seen on the host until :meth:`attach`. Closing it ends it, unless it is attached.
    """

    def __new__(cls, lower: Sequence[str | PathLike[str]]) -> Self:
        """Mount the directories ``lower``, the topmost layer first.

        Errors: not-found (no directory), limit (over 500), invalid (none), unsupported (no overlayfs), denied.
        """
    @property
    def fd(self) -> int:
        """Descriptor of the tree's top, for ``dir_fd`` and :func:`tar_tree`; it is this object's."""
    def attach(self, path: str | PathLike[str]) -> None:
        """Mount it on a directory of the host; :func:`unmount` takes it away. Closing this object leaves it.

        Errors: not-found, invalid (no directory, a symbolic link among those), conflict (it is attached).
        """
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

def unmount(path: str | PathLike[str]) -> None:
    """Take away what is mounted on the directory ``path``. Errors: busy (in use), not-found (nothing is)."""

# --- Files of containers (docs/copying.md) ---

@final
class ContainerTree:
    """A container's tree of files, pinned: no path, link or rename in it leads out. Paths are the container's.

    Errors of all that take a path: not-found, system (ENOTDIR, ELOOP).
    """

    @staticmethod
    def running(
        pid: int, start_time: int, *, idmap: Mapping[str, Sequence[Sequence[int]]] | None = None
    ) -> ContainerTree:
        """What PID 1 of a running container sees, mounts and all; ``start_time`` is field 22 of its /proc/PID/stat.

        Errors: not-found (it has ended), busy (it has not entered its root yet).
        """
    @staticmethod
    def stopped(
        helper: HelperFile,
        bundle: str | PathLike[str],
        request: bytes,
        *,
        idmap: Mapping[str, Sequence[Sequence[int]]] | None = None,
    ) -> ContainerTree:
        """Have a process mount a container that does not run where nobody sees it, until :meth:`close`.

        ``request`` is JSON for ``minidock-runtime view`` (docs/supervisor.md). Errors: those of the mount, timeout.
        """
    def stat(self, path: str) -> tuple[int, int, int, int, str]:
        """Return size, st_mode, mtime in seconds and nanoseconds, and where a link leads to in the end.

        A link in the last place is not followed, unless a slash or ``/.`` follows it.
        """
    def user(self, spec: str) -> tuple[int, int]:
        """Return the numbers of ``user[:group]`` by the container's passwd and group files."""
    def read(self, path: str, name: str, out: int, *, progress: Progress | None = None) -> None:
        """Write a tar of what is at ``path`` to ``out``; its top is called ``name``. Sockets are left out.

        Errors: busy (a file becomes shorter meanwhile), invalid (a socket).
        """
    def write(
        self,
        path: str,
        source: int,
        *,
        owner: tuple[int, int] | None = None,
        keep_kinds: bool = False,
        read_only_root: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Unpack a tar, plain or compressed by gzip or zstd, into the directory ``path``, links in it followed.

        Files belong to ``owner``, else to whom the tar names, in the container's numbers. ``keep_kinds``: a directory
        never takes the place of something else, nor the reverse. Errors: conflict (that), invalid (no directory,
        read-only), denied (the kernel's file systems, names that leave the directory), those of :func:`unpack_layer`.
        """
    def copy_out(
        self,
        path: str,
        name: str,
        target: str,
        *,
        owners: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Copy what is at ``path`` into the host's directory ``target``, as ``name``; kinds are kept.

        Without ``owners`` all belongs to the caller, and nothing has set-user-id bits or file capabilities.
        ``progress.size`` counts the bytes that a tar would have.
        """
    def copy_in(
        self,
        source: str,
        name: str,
        path: str,
        *,
        owner: tuple[int, int] | None = None,
        read_only_root: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Copy what the host has at ``source`` into the directory ``path``, as ``name``; kinds are kept."""
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

def tree_changes(
    tree: str | PathLike[str],
    layers: Sequence[str | PathLike[str]],
    *,
    whole: bool = False,
    idmap: Mapping[str, Sequence[Sequence[int]]] | None = None,
    progress: Progress | None = None,
) -> list[tuple[str, int]]:
    """Return the paths of ``tree`` that differ from ``layers`` (topmost first): 0 changed, 1 added, 2 deleted.

    ``tree`` holds changes in overlayfs's form, or with ``whole`` all. Errors: unsupported (redirects), not-found.
    """

# --- Layers and directory trees ---

@final
class LogReader:
    """The log of a container, read in batches: minidock's or Docker's files, rotated and compressed ones too."""

    def __new__(
        cls,
        path: str | PathLike[str],
        format: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        tail: int | None = None,
        since: int | None = None,
        until: int | None = None,
        follow: bool = False,
        directory: str | PathLike[str] | None = None,
        pidfd: int | None = None,
    ) -> Self:
        """Open the log at ``path``; one that is not there is empty. ``format`` is ``json-file`` or ``local``.

        Times are nanoseconds since 1970. To follow it, changes in ``directory`` and the end of the process behind
        ``pidfd`` end a wait too. Raises NativeError: ``corrupt`` for what is no log.
        """

    def text(
        self, timestamps: bool = False, details: bool = False, timeout: float = 1.0
    ) -> tuple[list[tuple[int, bytes]], bool | None]:
        """Return a batch as ``docker logs`` prints it, as parts of stream 1 or 2, never two of one stream in a row.

        Waits for the first record, ``timeout`` seconds (at most 1). The second value is None when there is no more,
        and False when nothing came: time to look whether the container has ended.
        """

    def lines(self, timeout: float = 1.0) -> tuple[list[tuple[int, int, bytes, dict[str, str] | None]], bool | None]:
        """Return a batch as ``(stream, time, data, attributes)``; otherwise as :meth:`text`."""

    def stop_following(self) -> None:
        """Read what the log holds now, and then end."""

    def close(self) -> None: ...

@final
class Progress:
    """Counters of one long call, to read from another thread while it runs."""

    def __new__(cls) -> Self: ...
    @property
    def read(self) -> int:
        """Bytes taken from the source, as they came (compressed)."""
    @property
    def size(self) -> int:
        """Bytes of the uncompressed stream."""
    @property
    def entries(self) -> int:
        """Entries done."""
    def cancel(self) -> None:
        """Make the call fail soon with system (EINTR)."""

@final
class LayerResult:
    """An unpacked layer. ``digest`` is of the stream as it came, ``diff_id`` of the uncompressed one (sha256:…)."""

    @property
    def diff_id(self) -> str: ...
    @property
    def tar_size(self) -> int:
        """Bytes of the uncompressed stream."""
    @property
    def digest(self) -> str: ...
    @property
    def compressed_size(self) -> int:
        """Bytes of the stream as it came."""
    @property
    def compression(self) -> str:
        """``none``, ``gzip`` or ``zstd``."""
    @property
    def size(self) -> int:
        """Bytes of all files together, each hard link once, holes included."""
    @property
    def entries(self) -> int: ...
    @property
    def skipped_xattrs(self) -> int:
        """Extended attributes that the file system refused or that no layer may set (overlayfs, SELinux labels)."""

@final
class Spool:
    """A file that one thread fills while others read it: a download that is unpacked as it comes."""

    def __new__(cls, fd: int, size: int = 0) -> Self:
        """Fill a regular file, open for reading and writing; ``fd`` is duplicated, its offset does not matter.

        The first ``size`` bytes are there already (a resumed download); what follows them is cut off. Errors: invalid.
        """
    def write(self, data: Buffer) -> None:
        """Append all of ``data`` or nothing. Errors: conflict (it has ended), those of the file system (ENOSPC, …)."""
    def finish(self) -> None:
        """No more comes: readers find the end. Does nothing when it has ended."""
    def fail(self) -> None:
        """Make readers fail with system (ECANCELED), soon. Does nothing when it has ended."""
    @property
    def size(self) -> int:
        """Bytes that are there."""

def unpack_layer(
    source: int | Spool,
    target: str | PathLike[str],
    *,
    compression: str = "auto",
    tar_split: str | PathLike[str] | None = None,
    whiteouts: str = "overlay",
    limits: dict[str, float] | None = None,
    idmap: Mapping[str, Sequence[Sequence[int]]] | None = None,
    owners: bool = True,
    durable: bool = False,
    progress: Progress | None = None,
) -> LayerResult:
    """Unpack the tar read from ``source`` (file, pipe or socket, from its offset to its end) into ``target``.

    A :class:`Spool` is read from its first byte; several calls may read one. Whoever fills it ends it by ``finish`` or
    ``fail``, whatever happens: a call waits until then, or for ``progress.cancel()``.

    ``compression`` is auto, none, gzip or zstd. ``tar_split`` is a file to make: from it and ``target`` the same tar
    can be written again. ``whiteouts``: ``overlay`` makes the kernel's form of OCI whiteouts in an empty directory
    that holds this layer alone; ``delete`` deletes in a directory that holds the layers below. ``limits``: bytes
    ``size`` (also of all files together), ``ratio`` with ``ratio_from``, ``entries``, ``depth``, ``path``,
    ``metadata``, ``xattrs``, ``regions`` (sparse), ``time`` in seconds. ``idmap``: ``uid`` and ``gid`` as (inside,
    outside, count); owners outside it are an error. ``owners=False`` leaves everything to the caller. ``durable``
    waits for the disk. On failure ``target`` and ``tar_split`` are left for the caller to remove.

    Errors: corrupt (damaged, truncated or ambiguous archive), denied (a path that leaves the layer), limit, timeout,
    unsupported (xz and bzip2 among them), conflict (``target`` is not empty, ``tar_split`` exists), invalid (owner
    outside the map), those of the file system.
    """

@final
class TarResult:
    """A tar that was written: ``diff_id`` of the tar, ``digest`` of what was written after compression."""

    @property
    def diff_id(self) -> str: ...
    @property
    def tar_size(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def compressed_size(self) -> int: ...
    @property
    def compression(self) -> str: ...

def tar_tree(
    source: str | PathLike[str] | int,
    out: int,
    *,
    compression: str = "none",
    level: int | None = None,
    idmap: Mapping[str, Sequence[Sequence[int]]] | None = None,
    clamp: int | None = None,
    top: bool = True,
    left_out: Sequence[str | PathLike[str]] = ...,
    progress: Progress | None = None,
) -> TarResult:
    """Write the directory ``source``, a path or a descriptor, as a layer's tar to ``out``.

    The same tree gives the same bytes. Names are sorted; owners, modes, times, extended attributes, hard links and
    devices are kept; sockets are left out; whiteouts in overlayfs form become OCI's. ``idmap`` is applied backwards.
    No time is later than ``clamp`` (seconds since 1970, for ``SOURCE_DATE_EPOCH``). ``top`` adds an entry for
    ``source`` itself; paths in ``left_out`` get none (what is in a directory among them must be named, too).
    ``compression`` is none, gzip (``level`` 0 to 9) or zstd (1 to 22). ``out`` is written from its offset on; pipes and
    sockets will do.

    Errors: invalid (a name that starts with .wh., an owner outside the map, a level), busy (a file changes meanwhile),
    unsupported (overlayfs redirects), those of the file system.
    """

def keep_tree(
    tree: str | PathLike[str],
    tar_split: str | PathLike[str],
    *,
    left_out: Sequence[str | PathLike[str]] = ...,
    clamp: int | None = None,
    top: bool = True,
    progress: Progress | None = None,
) -> LayerResult:
    """Make a layer of the directory ``tree`` as it is: what :func:`tar_tree` with the same ``clamp`` and ``top`` would
    write is digested and never written, ``tar_split`` is made, and the tree becomes what unpacking would give: no later
    times, no sockets, no attributes of overlayfs but opaque directories.

    Nobody may change the tree any more. ``left_out`` are paths in it, of empty files and directories, that are removed
    first. After an error it may be changed in part.

    Errors: those of :func:`tar_tree`, limit (more than :func:`unpack_layer` takes), busy (what is to be left out has
    content).
    """

def reassemble_layer(
    tree: str | PathLike[str],
    tar_split: str | PathLike[str],
    out: int,
    *,
    diff_id: str | None = None,
    compression: str = "none",
    level: int | None = None,
    progress: Progress | None = None,
) -> TarResult:
    """Write the tar that ``tree`` and ``tar_split`` were unpacked from, byte for byte, to ``out``.

    With ``diff_id`` the result is compared to it. Compression as in :func:`tar_tree`.

    Errors: corrupt (a file is missing or was changed, ``tar_split`` is damaged); part of it has been written then.
    """

def compress_layer(
    source: int, out: int, compression: str, level: int | None = None, *, progress: Progress | None = None
) -> TarResult:
    """Copy ``source`` from its offset to its end to ``out``, compressed as in :func:`tar_tree`."""

def digest_file(fd: int, *, progress: Progress | None = None) -> tuple[str, int]:
    """Return the digest (sha256:…) and the length in bytes of ``fd`` from its offset to its end."""

def copy_tree(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    merge: bool = False,
    idmap: Mapping[str, Sequence[Sequence[int]]] | None = None,
    progress: Progress | None = None,
) -> int:
    """Copy the tree ``source`` into the directory ``target``; return how many files and directories that were.

    Contents, holes, hard links, owners (through ``idmap``), modes, times, extended attributes and devices are kept;
    blocks are shared where the file system can. Whiteouts in overlayfs form delete in ``target``, which must be empty
    unless ``merge``: an image's layers copied lowest first give its tree.

    Errors: conflict (``target`` is not empty), invalid (an owner outside the map), those of the file system.
    """

def volume_fill(
    lower: Sequence[str | PathLike[str]],
    path: str | PathLike[str],
    target: str | PathLike[str],
    *,
    progress: Progress | None = None,
) -> int | None:
    """Copy what the layers ``lower``, the topmost first, have at ``path`` into the existing, empty directory
    ``target``.

    Everything that :func:`copy_tree` keeps is kept, and ``target`` gets the owner, mode, attributes and times of the
    image's directory. Links in ``path`` are followed inside the layers. Return how many files and directories were
    copied, None when the image has no directory there.

    Errors: conflict (``target`` is not empty), those of the mount of the layers and of the file system (then a part is
    there).
    """

def volume_mount(target: str | PathLike[str], *, type: str, device: str, options: str) -> int:
    """Mount ``device`` on the directory ``target`` of the host; return the id of the mount.

    ``type``, ``device`` and ``options`` are those of Docker's volume driver ``local``: ``type`` is a file system, or
    anything with ``bind`` or ``rbind`` in ``options`` (a list with commas); ``addr=NAME`` of nfs becomes an address.
    Mounts inside do not propagate.

    Errors, in Docker's words: invalid (no device, ``remount``, ``shared``), not-found (no such host, device or target),
    and the kernel's.
    """

def volume_unmount(target: str | PathLike[str]) -> bool:
    """Take away what is mounted on ``target``, for those who use it when they end; return whether there was something.

    Errors: the kernel's.
    """

def quota_set(directory: str | PathLike[str], size_bytes: int, renamed: bool = False) -> None:
    """Limit what is stored below the new ``directory``, in which there are directories only, by a project quota.

    ``renamed``: it is going to be moved to its place. Errors: unsupported (what the file system or the kernel lacks; it
    has a project of ours, or is to be moved and has any, from the directory that it lies in), not-found, and the
    kernel's.
    """

def remove_tree(path: str | PathLike[str], dev: int | None = None, ino: int | None = None) -> int:
    """Delete the directory ``path`` and everything in it; return how many files that were, 0 when it was absent.

    ``dev`` and ``ino`` are its recorded ``st_dev`` and ``st_ino``. Links are deleted, not followed.

    Errors: denied (another directory is there, or an immutable file in it), busy (a mount point inside, or somebody
    adds files), invalid (``path`` is no directory).
    """

# --- The user's terminal ---

@final
class RawMode:
    """A terminal in raw mode. Leaving the ``with`` block, :meth:`restore` or dropping it restores it, once."""

    def restore(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

def raw_mode(fd: int) -> RawMode:
    """Put the terminal ``fd`` into raw mode (termios(3), cfmakeraw). Errors: system (ENOTTY: no terminal)."""

def window_size(fd: int) -> tuple[int, int]:
    """Return the rows and columns of the terminal ``fd``. Errors: system (ENOTTY: no terminal)."""
