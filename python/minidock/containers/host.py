"""Facts about this host that decide how containers are made; each is read once per engine, when first needed."""

from __future__ import annotations

import os
import stat
from functools import cached_property

from minidock.errors import InvalidArgument
from minidock.spec.oci_runtime import Device

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
}


class Host:
    """This host, as the spec needs it; tests give their own values."""

    def __init__(self) -> None:
        self._resolvers: dict[tuple[str, int, int, int], str] = {}

    @cached_property
    def name(self) -> str:
        """The host's name."""
        return os.uname().nodename

    @cached_property
    def architecture(self) -> str:
        """In the words of images: ``amd64``, ``arm64``."""
        machine = os.uname().machine
        return _ARCHITECTURES.get(machine, machine)

    @cached_property
    def cpus(self) -> int:
        """How many CPUs this process may use."""
        return len(os.sched_getaffinity(0))

    @cached_property
    def online_cpus(self) -> str:
        """CPUs as a set such as ``0-3``."""
        return _read("/sys/devices/system/cpu/online") or f"0-{self.cpus - 1}"

    @cached_property
    def online_mems(self) -> str:
        """Memory nodes as a set such as ``0``."""
        return _read("/sys/devices/system/node/online") or "0"

    @cached_property
    def unified_cgroups(self) -> bool:
        """Whether /sys/fs/cgroup is one tree of version 2."""
        return os.path.exists("/sys/fs/cgroup/cgroup.controllers")

    @cached_property
    def boot_id(self) -> str:
        """The id of this boot."""
        return _read("/proc/sys/kernel/random/boot_id")

    @cached_property
    def has_mqueue(self) -> bool:
        """Whether a queue file system is mounted on /dev/mqueue."""
        return os.path.ismount("/dev/mqueue")

    @cached_property
    def thermal_paths(self) -> list[str]:
        """Directories of /sys that tell about throttling (masked, SECURITY.md §4)."""
        cpus = "/sys/devices/system/cpu"
        try:
            paths = [f"{cpus}/{name}/thermal_throttle" for name in os.listdir(cpus) if name[3:].isdigit()]
        except OSError:
            return []
        return sorted(path for path in paths if os.path.exists(path))

    def resolv_conf(self) -> str:
        """The host's name server configuration: systemd-resolved's real one where the host's names only its stub."""
        text = self._resolver("/etc/resolv.conf")
        servers = [line.split()[1:2] for line in text.splitlines() if line.startswith("nameserver")]
        if servers == [["127.0.0.53"]]:
            return self._resolver("/run/systemd/resolve/resolv.conf") or text
        return text

    def _resolver(self, path: str) -> str:
        """Return a resolver's file, read again only when it changed."""
        try:
            found = os.stat(path)
        except OSError:
            return ""
        key = (path, found.st_mtime_ns, found.st_ino, found.st_size)
        if key not in self._resolvers:
            self._resolvers = {kept: text for kept, text in self._resolvers.items() if kept[0] != path}
            self._resolvers[key] = _read(path, "utf-8")
        return self._resolvers[key]

    def devices(self, path: str, inside: str) -> list[Device]:
        """Return the device ``path`` of the host, or all devices below it, as nodes at ``inside`` in a container.

        Raises InvalidArgument when there is none.
        """
        try:
            found = os.stat(path)
        except OSError as error:
            cause = (error.strerror or "failed").lower()
            raise InvalidArgument(
                f'error gathering device information while adding custom device "{path}": {cause}'
            ) from error
        if not stat.S_ISDIR(found.st_mode):
            return [_device(found, path, inside)]
        nodes: list[Device] = []
        for folder, folders, files in os.walk(path):
            # What Docker leaves out: these are not devices of the host's hardware but views of namespaces.
            folders[:] = sorted(set(folders) - {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
            for name in sorted(files):
                source = f"{folder}/{name}"
                try:
                    found = os.lstat(source)
                except OSError:
                    continue
                if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
                    if name == "console":
                        continue
                    nodes.append(_device(found, source, inside + source[len(path) :]))
        return nodes

    def block_numbers(self, path: str) -> tuple[int, int]:
        """Return major and minor of the block device ``path``."""
        try:
            found = os.stat(path)
        except OSError as error:
            raise InvalidArgument(f"stat {path}: {(error.strerror or 'failed').lower()}") from error
        if not stat.S_ISBLK(found.st_mode):
            raise InvalidArgument(f"{path}: not a block device")
        return os.major(found.st_rdev), os.minor(found.st_rdev)


def _device(found: os.stat_result, path: str, inside: str) -> Device:
    if stat.S_ISCHR(found.st_mode):
        kind = "c"
    elif stat.S_ISBLK(found.st_mode):
        kind = "b"
    else:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{path}": not a device node'
        )
    return Device(
        type=kind,
        path=inside,
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        file_mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
    )


def _read(path: str, encoding: str = "ascii") -> str:
    try:
        with open(path, encoding=encoding, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
