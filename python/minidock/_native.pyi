"""The boundary between Python and Rust. Nothing outside ``minidock`` imports it.

Every call that blocks or takes more than 50 µs releases the GIL, and wakes to run Python's signal handlers. A borrowed
fd (an ``int`` argument) stays the caller's. Failures raise :class:`NativeError`; ``minidock._errors`` maps its ``kind``
to an exception of the tree in ``minidock.errors``.
"""

from typing import final

__version__: str

@final
class NativeError(Exception):
    """A failure in Rust: what was done, on what, of which kind.

    ``args`` is ``(text, kind, op, subject, errno)``; ``kind`` is one of not-found, conflict, invalid, unsupported,
    denied, busy, corrupt, timeout, limit, system; ``errno`` is None when no system call failed.
    """

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
