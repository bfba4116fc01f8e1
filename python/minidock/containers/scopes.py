"""Scopes of systemd: containers below a slice, as with Docker's ``native.cgroupdriver=systemd``.

A cgroup parent ``a-b.slice`` names a slice of systemd's. systemd alone makes groups below one, so each such container
gets a scope that is delegated to it (systemd.scope(5), ``Delegate=``), and in it a group ``container``.
"""

from __future__ import annotations

import contextlib
import os
from functools import cache

from minidock.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from minidock import _native
    from minidock.containers.record import Record
    from minidock.spec.oci_runtime import Resources

SYSTEM = "system.slice"
"""Where containers are whose cgroup parent nobody has named, with the driver ``systemd``."""
STOP_SECONDS = 10
"""What a container has to stop by itself, unless it says otherwise."""
_DRIVER = "native.cgroupdriver"
DRIVERS = ("cgroupfs", "systemd")


@cache
def systemd_runs() -> bool:
    """Whether systemd is this host's init; sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def driver(exec_opts: tuple[str, ...]) -> str:
    """Return the cgroup driver that the configuration's ``exec-opts`` name. Raises InvalidArgument."""
    found = DRIVERS[0]
    for option in exec_opts:
        name, _, value = option.partition("=")
        if name.strip().lower() != _DRIVER:
            raise InvalidArgument(f"exec-opts: {option[:100]!a}: {_DRIVER} is the only option")
        if value not in DRIVERS:
            raise InvalidArgument(f"exec-opts: {option[:100]!a}: the cgroup driver is cgroupfs or systemd")
        found = value
    return found


def default_parent(exec_opts: tuple[str, ...], parent: str) -> str:
    """Return the cgroup parent of a container that asked for ``parent``. Raises InvalidArgument."""
    if not exec_opts or driver(exec_opts) != "systemd":
        return parent
    if not systemd_runs():
        raise InvalidArgument(f"exec-opts: {_DRIVER}=systemd: systemd does not run on this host")
    if parent and not parent.endswith(".slice"):
        raise InvalidArgument('cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"')
    return parent or SYSTEM


def slice_path(name: str) -> str:
    """Return a slice's cgroup: ``a-b.slice`` is at ``/a.slice/a-b.slice``; systemd.slice(5). Raises InvalidArgument."""
    parts = name.removesuffix(".slice").split("-")
    if name == "-.slice":
        return ""
    if "/" in name or not all(parts):
        raise InvalidArgument(f"cgroup parent {name[:100]!a}: no name of a slice: words joined by '-', then '.slice'")
    return "".join(f"/{'-'.join(parts[:end])}.slice" for end in range(1, len(parts) + 1))


def is_slice(parent: str) -> bool:
    """Whether a cgroup parent names a slice of this host's systemd."""
    return parent.endswith(".slice") and "/" not in parent and systemd_runs()


def unit(container_id: str) -> str:
    """Return the name of a container's scope."""
    return f"minidock-{container_id}.scope"


def cgroup(parent: str, container_id: str) -> str:
    """Return the cgroup of a container in a slice."""
    return f"{slice_path(parent)}/{unit(container_id)}/container"


def scope(record: Record, helper: _native.HelperFile) -> AbstractContextManager[object]:
    """Make a container's scope if it is to be in one; it is kept until the ``with`` block ends or all in it have.

    Raises NativeError when systemd refuses.
    """
    parent = record.host_config.cgroup_parent
    if not is_slice(parent):
        return contextlib.nullcontext()
    from minidock import _native

    name = unit(record.id)
    description = f"minidock container {record.name}"
    timeout = record.config.stop_timeout
    seconds = timeout if isinstance(timeout, int) else STOP_SECONDS
    return _native.Scope.make(
        helper,
        name,
        parent,
        f"{slice_path(parent)}/{name}",
        description,
        stop_seconds=seconds if seconds >= 0 else None,
        # In the scope there is nobody else whom the container's own weights would count beside.
        cpu_shares=record.host_config.cpu_shares,
        blkio_weight=record.host_config.blkio_weight,
    )


def update(record: Record, limits: Resources) -> None:
    """Give a running container's scope, if it is in one, the weights of ``limits``. Raises Unsupported."""
    cpu_shares = limits.cpu.shares if limits.cpu is not None else None
    weight = limits.block_io.weight if limits.block_io is not None else None
    if (cpu_shares or weight) and is_slice(record.host_config.cgroup_parent):
        from minidock import _native
        from minidock.containers.base import translated

        with translated():
            _native.Scope.weigh(unit(record.id), cpu_shares or 0, weight or 0)
