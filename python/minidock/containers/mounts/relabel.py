"""SELinux labels of what is mounted (``z``, ``Z``)."""

from __future__ import annotations

from minidock import _native
from minidock.containers.base import translated


def relabel(source: str, mode: str, label: str) -> None:
    """Give all below ``source`` a container's label if ``mode`` says so: of its own for ``Z``, shared for ``z``.

    ``label`` is empty where containers have none. Raises Denied for a directory of the system, with or without SELinux.
    """
    words = mode.split(",")
    if "z" not in words and "Z" not in words:
        return
    with translated():
        _native.selinux_check_relabel(source)
        if label:
            _native.selinux_relabel(source, label, "z" in words)
