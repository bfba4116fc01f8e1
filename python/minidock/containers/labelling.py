"""What a container's SELinux labels have from its other options, by Docker's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers.parse.modes import joined
from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.containers.planning import Planning
    from minidock.spec.docker import HostConfig

_PARTS = ("user", "role", "type", "level")


def complete(planning: Planning, host_config: HostConfig) -> None:
    """Add to ``security_opt`` what follows for labels, unless labels were chosen; as in Docker, `inspect` shows it.

    Raises ContainerNotFound, and InvalidArgument for two containers to join that have different labels.
    """
    joins = [name for mode in (host_config.ipc_mode, host_config.pid_mode) if (name := joined(mode)) is not None]
    free = host_config.privileged or "host" in (host_config.ipc_mode, host_config.pid_mode)
    if not joins and not free:
        return
    given = host_config.security_opt or []
    if any(one.split("=")[0] == "label" for one in given):
        return
    if free:
        host_config.security_opt = [*given, "label=disable"]
        return
    from minidock.containers import record as records

    found = [records.decode(planning.store.containers.get(name).record).process_label for name in joins]
    labels = [label for label in found if label]
    if len(set(labels)) > 1:
        raise InvalidArgument("--ipc and --pid containers SELinux labels aren't the same")
    if labels:
        parts = zip(_PARTS, labels[0].split(":", 3), strict=True)
        host_config.security_opt = [*given, *(f"label={name}:{value}" for name, value in parts)]
