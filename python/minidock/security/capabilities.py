"""Capability names, and Docker's rules for ``--cap-add`` and ``--cap-drop`` (capabilities(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""All capabilities of linux/capability.h; the index is the number."""

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
"""What a container gets unless told otherwise (SECURITY.md section 4): a80425fb."""

ALL = "ALL"

_NUMBERS = {name: number for number, name in enumerate(NAMES)}


def to_mask(names: Iterable[str]) -> int:
    """Return the bits of the named capabilities, as in ``/proc/PID/status``."""
    mask = 0
    for name in names:
        mask |= 1 << _NUMBERS[name]
    return mask


def from_mask(mask: int) -> tuple[str, ...]:
    """Return the names of a mask's bits, by number; bits that have no name here are left out."""
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)


_host: int | None = None


def host_mask() -> int:
    """Return what this process can hand on: its bounding set, cut to what it has itself (proc_pid_status(5))."""
    global _host  # noqa: PLW0603 - the answer cannot grow while the process lives
    if _host is None:
        bounding = permitted = 0
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"CapBnd:"):
                    bounding = int(line[7:], 16)
                elif line.startswith(b"CapPrm:"):
                    permitted = int(line[7:], 16)
        _host = bounding & permitted
    return _host


def normalise(names: Iterable[str], option: str, host: int | None = None) -> list[str]:
    """Return names in upper case with ``CAP_``, or ``ALL``, in the given order.

    ``option`` is how the error names them (``CapAdd``, ``CapDrop``). ``host`` is the mask of what the host has.

    Raises:
        InvalidArgument: no such capability, or the host lacks it.
    """
    host = host_mask() if host is None else host
    result = []
    for name in names:
        upper = name.upper()
        if upper == ALL:
            result.append(ALL)
            continue
        if not upper.startswith("CAP_"):
            upper = "CAP_" + upper
        number = _NUMBERS.get(upper)
        if number is None:
            raise errors.InvalidArgument(f'invalid {option}: unknown capability: "{upper}"')
        if not host >> number & 1:
            raise errors.InvalidArgument(
                f"invalid {option}: capability not supported by your kernel or not available in the current "
                f'environment: "{upper}"'
            )
        result.append(upper)
    return result


def select(
    add: Iterable[str] = (), drop: Iterable[str] = (), *, privileged: bool = False, host: int | None = None
) -> tuple[str, ...]:
    """Return a container's capabilities by Docker's rules, none twice.

    ``ALL`` among ``add`` gives all that the host has, less ``drop`` (an ``ALL`` there counts for nothing); else ``ALL``
    among ``drop`` gives just ``add``; else the default list, less ``drop``, plus ``add``. Privileged containers get all
    that the host has, whatever else is asked.

    Raises:
        InvalidArgument: no such capability, or the host lacks it.
    """
    host = host_mask() if host is None else host
    adds = normalise(add, "CapAdd", host)
    drops = normalise(drop, "CapDrop", host)
    if privileged:
        return from_mask(host)
    if ALL in adds:
        return tuple(name for name in from_mask(host) if name not in drops)
    if ALL in drops:
        return tuple(dict.fromkeys(adds))
    # A default that the host lacks cannot be given: as in Docker, what runs there simply has less.
    kept = [name for name in DEFAULT if name not in drops and host >> _NUMBERS[name] & 1]
    return tuple(dict.fromkeys(kept + adds))
