"""The mounts of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.spec.oci_runtime import Mount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.containers.record import Record
    from minidock.spec.docker import HostConfig

_PROC = Mount("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"])
_DEV = Mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"])
_PTS = Mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"])
_SYS = Mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"])
_SYS_WRITABLE = Mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev"])
_CGROUP = Mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro", "nosuid", "noexec", "nodev"])
_CGROUP_WRITABLE = Mount("/sys/fs/cgroup", "cgroup", "cgroup", ["rw", "nosuid", "noexec", "nodev"])
_MQUEUE = Mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"])
_HOST_MQUEUE = Mount("/dev/mqueue", "bind", "/dev/mqueue", ["rbind", "rprivate"])
_HOST_SHM = Mount("/dev/shm", "bind", "/dev/shm", ["rbind", "rprivate"])  # noqa: S108 - a mount point, not a temp file

NETWORK_FILES = (("/etc/resolv.conf", "resolv.conf"), ("/etc/hostname", "hostname"), ("/etc/hosts", "hosts"))
"""Mount point and name in the bundle of the files that minidock writes for a container."""


def mounts(
    record: Record, bundle: str, ipc_donor: int | None, *, has_mqueue: bool, more: Sequence[Mount] = ()
) -> list[Mount]:
    """Return the mounts in the order in which they are made.

    ``ipc_donor`` is the host pid of PID 1 of the container whose IPC namespace is joined: its /dev/shm is shared.
    ``has_mqueue``: the host has a /dev/mqueue. ``more`` are those that it was given: they take the place of others.
    """
    host_config = record.host_config
    made = [_PROC, _DEV, _PTS]
    made.append(_SYS_WRITABLE if host_config.privileged else _SYS)
    made.append(_CGROUP_WRITABLE if _is_cgroup_writable(host_config) else _CGROUP)
    made += _ipc_mounts(host_config.ipc_mode, host_config.shm_size, ipc_donor, has_mqueue=has_mqueue)
    options = ["rbind", "rprivate", "ro"] if host_config.readonly_rootfs else ["rbind", "rprivate"]
    shown: tuple[tuple[str, str], ...] = NETWORK_FILES
    if record.step is not None:
        # What a command writes to them would be lost; /etc/hostname is the image's own.
        options = ["rbind", "rprivate", "ro", "nosuid", "nodev", "noexec"]
        shown = tuple(one for one in NETWORK_FILES if one[1] != "hostname")
    files = [Mount(target, "bind", f"{bundle}/{name}", options) for target, name in shown]
    return _with(made, files, more) if more else made + files


def _is_cgroup_writable(host_config: HostConfig) -> bool:
    if host_config.security_opt:
        from minidock.security.options import parse

        asked = parse(host_config.security_opt).writable_cgroups
        if asked is not None:
            return asked
    return host_config.privileged


def _with(made: list[Mount], files: list[Mount], more: Sequence[Mount]) -> list[Mount]:
    """Return all mounts, those first that others lie in; one that was given takes the place of ours."""
    given = {one.destination for one in more}
    kept = [
        one
        for one in made
        if one.destination not in given and not ("/dev" in given and one.destination.startswith("/dev/"))
    ]
    rest = [*more, *(one for one in files if one.destination not in given)]
    return kept + sorted(rest, key=lambda one: one.destination.count("/"))


def _ipc_mounts(mode: str, shm_size: int, donor: int | None, *, has_mqueue: bool) -> list[Mount]:
    if mode == "host":
        # A queue file system mounted anew shows the queues of the IPC namespace that it is mounted in: the host's.
        return [_HOST_MQUEUE if has_mqueue else _MQUEUE, _HOST_SHM]
    if mode == "none":
        return [_MQUEUE]
    if donor is not None:
        shm = f"/proc/{donor}/root/dev/shm"
        return [_MQUEUE, Mount("/dev/shm", "bind", shm, ["rbind", "rprivate", "nosuid", "noexec", "nodev"])]  # noqa: S108
    return [
        _MQUEUE,
        Mount("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", f"size={shm_size}"]),  # noqa: S108
    ]
