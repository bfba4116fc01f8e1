"""SELinux labels of what is mounted (``z``, ``Z``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock import _native
from minidock.containers.base import translated
from minidock.containers.mounts.planning import engine_roots
from minidock.containers.runtime_spec.user_mounts import data
from minidock.volumes.record import decode

if TYPE_CHECKING:
    from minidock.containers.planning import Planning
    from minidock.containers.record import Point, Record


def relabel(planning: Planning, record: Record) -> None:
    """Give what is mounted of the host a container's label: of its own for ``Z``, shared for ``z``.

    Nothing is relabelled where containers have no labels. Raises Denied for a directory of the system or the engine,
    with or without labels, also where a link leads there.
    """
    for one in record.mounts:
        if one.type == "bind":
            words = one.mode.split(",")
            if "z" in words or "Z" in words:
                _bind(planning, one.source, record.mount_label, shared="z" in words)
        elif one.type == "volume" and record.mount_label:
            _volume(planning, one, record.mount_label)


def _bind(planning: Planning, source: str, label: str, *, shared: bool) -> None:
    with translated():
        if label:
            _native.selinux_relabel(source, label, shared, engine_roots(planning))
        else:
            _native.selinux_check_relabel(source, engine_roots(planning))


def _volume(planning: Planning, one: Point, label: str) -> None:
    """Label a volume, which is every container's unless its mode says ``Z``.

    Docker labels those without a name at once, and not those whose mode says something else, such as ro, which then
    cannot read what another one has written.
    """
    shared = "Z" not in one.mode
    options = decode(planning.store.volumes.get(one.name).record).options or {}
    if not {"bind", "rbind"} & set(options.get("o", "").split(",")):
        with translated():
            _native.selinux_relabel(data(planning.paths, one.name), label, shared, None)
        return
    try:
        _native.selinux_relabel(options["device"], label, shared, engine_roots(planning))
    except _native.NativeError as error:
        _, kind, _, _, errno = error.args
        if kind == "denied" and errno is None and shared:
            return  # nobody asked for it: the container gets at what the policy lets it, as with a bind
        with translated():
            raise
