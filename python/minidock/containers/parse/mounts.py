"""Mounts as users name them: ``-v`` (``[SOURCE:]DESTINATION[:MODES]``), ``--volumes-from``, and what Docker refuses.

All is pure text: nothing here looks at the host. The words of errors are Docker's.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from minidock.errors import InvalidArgument

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_KINDS = {
    **dict.fromkeys(("rw", "ro"), "access"),
    **dict.fromkeys(("z", "Z"), "label"),
    **dict.fromkeys(PROPAGATIONS, "propagation"),
    "nocopy": "copy",
    **dict.fromkeys(("consistent", "cached", "delegated", "default"), "consistency"),
    **dict.fromkeys(("U", "idmap"), "owner"),
}
"""Each word of a mode, and of what kind it is: of one kind there may be one."""


class Mode(NamedTuple):
    """What the last part of ``-v`` says."""

    read_only: bool = False
    label: str = ""
    """``z`` or ``Z``."""
    propagation: str = ""
    no_copy: bool = False
    idmap: bool = False


class Spec(NamedTuple):
    """A ``-v``; no source is a new volume without a name."""

    source: str
    destination: str
    mode: str = ""


def mode(text: str) -> Mode:
    """Return what ``ro,z,rslave`` and the like mean. Raises InvalidArgument for a word twice, or none of them."""
    found: dict[str, str] = {}
    for word in text.split(",") if text else ():
        kind = _KINDS.get(word)
        if kind is None or kind in found:
            raise InvalidArgument(f"invalid mode: {text}")
        found[kind] = word
    return Mode(
        read_only=found.get("access") == "ro",
        label=found.get("label", ""),
        propagation=found.get("propagation", ""),
        no_copy="copy" in found,
        idmap="owner" in found,
    )


def split(text: str) -> Spec:
    """Return the parts of a ``-v``. Raises InvalidArgument for too many of them, or none."""
    if not text:
        raise InvalidArgument("invalid empty volume spec")
    parts = text.split(":")
    if len(parts) == 1:
        return Spec("", text)
    if not all(parts):
        raise InvalidArgument(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    return Spec(*parts)


def absolute(text: str, directory: str | None = None) -> str:
    """Return a ``-v`` whose source begins with a dot with that path from the root; all else stays as it is."""
    source, colon, rest = text.partition(":")
    if colon and source.startswith("."):
        return f"{host_path(source, directory)}:{rest}"
    return text


def host_path(path: str, directory: str | None = None) -> str:
    """Return a path of the host from the root, ``.`` and ``..`` taken away by name."""
    return os.path.normpath(os.path.join(directory or os.getcwd(), path))


def destination(text: str) -> str:
    """Return where a container sees a mount, cleaned. Raises InvalidArgument for a relative path, ``/`` and /proc.

    A mount on or under /proc would hide what protects the host there (CVE-2019-16884).
    """
    if not text.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{text}' mount path must be absolute")
    path = clean(text)
    if path == "/":
        raise InvalidArgument("invalid specification: destination can't be '/'")
    return path


def clean(path: str) -> str:
    """Return an absolute path without ``.``, ``..`` and doubled slashes."""
    return "/" + os.path.normpath(path).lstrip("/")


PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        *("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps"),
        *("sys/crypto/fips_enabled", "sys/kernel/ns_last_pid", "uptime"),
    )
)
"""Files that lxcfs and its like give containers."""


def check_proc(path: str, *, bind: bool) -> None:
    """Refuse a mount at ``path`` on or under /proc, but a bind of /proc itself, and of what lxcfs gives."""
    if path == "/proc" and bind:
        return  # the helper lets a real procfs pass, and nothing else
    if (path == "/proc" or path.startswith("/proc/")) and not (bind and path in PROC_FILES):
        raise InvalidArgument(f"invalid mount path: '{path}': mounts on and under /proc are refused")


def subpath(text: str, what: str) -> str:
    """Return a path inside a volume or image. Raises InvalidArgument for one that leads out by its words."""
    if text.startswith("/") or os.path.normpath(text).split("/")[0] == "..":
        raise InvalidArgument(f"subpath must be a relative path within the {what}")
    return os.path.normpath(text)


def volumes_from(text: str) -> tuple[str, Mode, str]:
    """Return container, mode and the mode's text of ``NAME[:ro|rw|z|Z]``. Raises InvalidArgument."""
    if not text:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
    name, _, words = text.partition(":")
    found = mode(words)
    if found.propagation or found.no_copy:  # it is that of the mount that is taken over
        raise InvalidArgument(f"invalid mode: {words}")
    if not name:
        raise InvalidArgument('invalid name or ID supplied: ""')
    return name, found, words
