"""Kernel parameters of a container's own namespaces (SECURITY.md R9, §4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_IPC = frozenset(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
# A name is a path below /proc/sys with dots: no separator, no way up. Interface names may stand in it.
_NAME = r"[a-z]+(?:\.[A-Za-z0-9_-]+)+"
# CVE-2022-0811: a value must not look like another setting.
_VALUE = r"[A-Za-z0-9_ \t.,:;/-]*"


def sysctls(values: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    """Return the settings of ``NAME=VALUE`` entries or a mapping; names that no namespace owns are refused."""
    if isinstance(values, str):
        raise InvalidArgument("sysctls: a list of NAME=VALUE or a mapping is needed, not text")
    if hasattr(values, "items"):
        pairs = [(str(name), str(value)) for name, value in values.items()]
    else:
        pairs = []
        for text in values:
            name, equals, value = text.partition("=")
            if not equals:
                raise InvalidArgument(f"sysctl '{text}' is not allowed")
            pairs.append((name, value))
    settings = {}
    for name, value in pairs:
        if owner(name) is None:
            raise InvalidArgument(f"sysctl '{name}={value}' is not allowed")
        if not re.fullmatch(_VALUE, value) or len(value) > 4096:
            raise InvalidArgument(f"sysctl '{name}': invalid value {value[:100]!a}")
        settings[name] = value
    return settings


def owner(name: str) -> str | None:
    """Return the namespace that owns a kernel parameter: ``ipc``, ``network``, ``uts``, ``user`` or None."""
    if not re.fullmatch(_NAME, name):
        return None
    if name in _IPC or name.startswith("fs.mqueue."):
        return "ipc"
    if name.startswith("net."):
        return "network"
    if name == "kernel.domainname":
        return "uts"
    return "user" if name.startswith("user.") else None
