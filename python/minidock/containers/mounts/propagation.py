"""The host's mounts: on which one a path lies, and whether it can propagate as a bind wants; the words are Docker's."""

from __future__ import annotations

import os

from minidock.errors import InvalidArgument


def check(source: str, wanted: str) -> None:
    """Raise InvalidArgument unless the mount that ``source`` lies on is shared, or for a slave a slave at least."""
    path = os.path.realpath(source)
    place, optional = mount_of(path)
    shared = any(field.startswith("shared:") for field in optional)
    if wanted.lstrip("r") == "shared":
        if not shared:
            raise InvalidArgument(f"path {source} is mounted on {place} but it is not a shared mount")
    elif not shared and not any(field.startswith("master:") for field in optional):
        raise InvalidArgument(f"path {source} is mounted on {place} but it is not a shared or slave mount")


def mount_of(path: str) -> tuple[str, list[str]]:
    """Return the place of the mount that ``path`` lies on, and the optional fields of its line (proc(5))."""
    with open("/proc/self/mountinfo", "rb") as file:
        lines = [line.split(b" ") for line in file.read().splitlines()]
    found: tuple[str, list[str]] = ("/", [])
    for fields in lines:  # of several at one place the last is on top
        place = os.fsdecode(fields[4].decode("unicode_escape").encode("latin-1"))
        if (place in ("/", path) or path.startswith(place + "/")) and len(place) >= len(found[0]):
            found = (place, [os.fsdecode(one) for one in fields[6 : fields.index(b"-")]])
    return found
