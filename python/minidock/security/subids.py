"""Subordinate ids: which host ids a remapped container's ids are (subuid(5), user_namespaces(7)).

``userns-remap`` in the configuration has dockerd's forms: ``default``, a user, ``user:group``, or numbers.
``default`` is the user ``dockremap``, which gets ranges of its own in ``/etc/subuid`` and ``/etc/subgid`` when it
has none.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from minidock import errors

DEFAULT_USER = "dockremap"
RANGE = 65536
"""Ids in a range that is made for ``default``: what images may use."""

_FIRST = 100_000  # as useradd's SUB_UID_MIN
_LAST = 0xFFFF_FFFE  # 2^32-1 is the kernel's "no id"
_MAX_ENTRIES = 340  # user_namespaces(7)
_MAX_FILE = 10 << 20


class Range(NamedTuple):
    """Part of an id map: ``size`` ids from ``container`` on are those from ``host`` on."""

    container: int
    host: int
    size: int


class IdMaps(NamedTuple):
    """The user and group id maps of a user namespace."""

    uid: tuple[Range, ...]
    gid: tuple[Range, ...]

    @property
    def root(self) -> tuple[int, int]:
        """Return the host's uid and gid of the container's root."""
        return to_host(self.uid, 0), to_host(self.gid, 0)


def to_host(ranges: tuple[Range, ...], number: int) -> int:
    """Return the host's id for a container's.

    Raises:
        InvalidArgument: the map does not have it.
    """
    for part in ranges:
        if part.container <= number < part.container + part.size:
            return part.host + number - part.container
    raise errors.InvalidArgument(f"id {number} is not mapped: the container has {sum(r.size for r in ranges)} ids")


def remap(value: str, etc: str = "/etc") -> IdMaps:
    """Return the id maps that a value of ``userns-remap`` stands for.

    Raises:
        InvalidArgument: the value names no user or group, or they have no usable ranges.
        SystemFailure: ``default`` needs ranges and the files cannot be changed.
    """
    if value == "default":
        user = group = DEFAULT_USER
        if not (_named(etc, "subuid", user) and _named(etc, "subgid", group)):
            _make_default(etc)
    else:
        user, separator, group = value.partition(":")
        if not user or (separator and not group) or ":" in group:
            raise errors.InvalidArgument(
                f'invalid userns-remap "{value}": use default, user, user:group, uid or uid:gid'
            )
        group = group or _same_group(etc, user)
    if "root" in (user, group) or "0" in (user, group):
        raise errors.InvalidArgument(f'invalid userns-remap "{value}": root cannot be remapped to itself')
    return IdMaps(_map(etc, "subuid", "passwd", user), _map(etc, "subgid", "group", group))


def _map(etc: str, file: str, names: str, who: str) -> tuple[Range, ...]:
    """Return one map: the ranges of a user or group one after the other."""
    aliases = _aliases(etc, names, who)
    if not aliases:
        kind = "user" if names == "passwd" else "group"
        raise errors.InvalidArgument(f'invalid userns-remap: no {kind} "{who}" in {etc}/{names} or {etc}/{file}')
    path = f"{etc}/{file}"
    ranges: list[Range] = []
    container = 0
    for start, size in sorted(set(_entries(path, aliases))):
        # Root's own id would make container root the host's root; overlaps would give two containers' ids one owner.
        if start == 0 or size <= 0 or start + size - 1 > _LAST:
            raise errors.InvalidArgument(
                f"range {start}:{size} of {who} in {path} is not usable: it must lie above id 0"
            )
        if ranges and start < ranges[-1].host + ranges[-1].size:
            raise errors.InvalidArgument(f"ranges of {who} in {path} overlap at {start}")
        ranges.append(Range(container, start, size))
        container += size
    if not ranges:
        raise errors.InvalidArgument(f"{who} has no range in {path}: add a line such as {who}:{_FIRST}:{RANGE}")
    if len(ranges) > _MAX_ENTRIES:
        raise errors.InvalidArgument(f"{who} has {len(ranges)} ranges in {path}: the kernel takes {_MAX_ENTRIES}")
    return tuple(ranges)


def _aliases(etc: str, names: str, who: str) -> set[str]:
    """Return how the subid files may write a user or group: by name or number. Empty if there is none such."""
    for fields in _records(f"{etc}/{names}"):
        if len(fields) >= 3 and who in (fields[0], fields[2]):
            return {fields[0], fields[2]}
    # Ranges may belong to a name or number that only the subid files know.
    return {who} if _named(etc, "subuid" if names == "passwd" else "subgid", who) else set()


def _same_group(etc: str, user: str) -> str:
    """Return the group for a user given alone: the one of its name, or its number for a number, as dockerd does."""
    for fields in _records(f"{etc}/passwd"):
        if len(fields) >= 3 and user in (fields[0], fields[2]):
            return fields[0]
    return user


def _named(etc: str, file: str, who: str) -> bool:
    return any(fields[0] == who for fields in _records(f"{etc}/{file}"))


def _entries(path: str, aliases: set[str]) -> list[tuple[int, int]]:
    found = []
    for fields in _records(path):
        if fields[0] not in aliases:
            continue
        if len(fields) != 3 or not all(f.isascii() and f.isdigit() and len(f) <= 10 for f in fields[1:]):
            raise errors.InvalidArgument(f"line {':'.join(fields)} of {path} is damaged: use name:start:count")
        found.append((int(fields[1]), int(fields[2])))
    return found


def _records(path: str) -> list[list[str]]:
    """Return the colon-separated lines of a file; none if it does not exist."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        return []
    except OSError as e:
        raise errors.SystemFailure(f"read {path}: {(e.strerror or str(e)).lower()}") from e
    if len(text) > _MAX_FILE:
        raise errors.LimitExceeded(f"{path} is over {_MAX_FILE} bytes")
    return [line.split(":") for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _make_default(etc: str) -> None:
    """Give ``dockremap`` a free range in each subid file where it has none, under the lock that useradd takes."""
    import fcntl

    lock_path = f"{etc}/.pwd.lock"
    try:
        lock = os.open(lock_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as e:
        raise _cannot_make(etc, e) from e
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX)  # lckpwdf(3)
        start = _free(etc)
        for file in ("subuid", "subgid"):
            if not _named(etc, file, DEFAULT_USER):
                _append(f"{etc}/{file}", f"{DEFAULT_USER}:{start}:{RANGE}\n")
    except OSError as e:
        raise _cannot_make(etc, e) from e
    finally:
        os.close(lock)


def _free(etc: str) -> int:
    """Return the start of a range that touches no other range and no user's or group's own id."""
    start = _FIRST
    for file in ("subuid", "subgid"):
        for fields in _records(f"{etc}/{file}"):
            if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
                start = max(start, int(fields[1]) + int(fields[2]))
    taken = [
        int(fields[2])
        for file in ("passwd", "group")
        for fields in _records(f"{etc}/{file}")
        if len(fields) >= 3 and fields[2].isdigit()
    ]
    while inside := [number for number in taken if start <= number < start + RANGE]:
        start = max(inside) + 1
    if start + RANGE - 1 > _LAST:
        raise errors.LimitExceeded(f"no {RANGE} ids are free above those in {etc}/subuid and {etc}/subgid")
    return start


def _append(path: str, line: str) -> None:
    """Add a line by rename, so that a reader sees the old file or the new one."""
    try:
        with open(path, "rb") as file:
            old, mode = file.read(), os.fstat(file.fileno()).st_mode & 0o777
    except FileNotFoundError:
        old, mode = b"", 0o644
    if old and not old.endswith(b"\n"):
        old += b"\n"
    temporary = f"{path}.minidock-{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(old + line.encode())
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _cannot_make(etc: str, e: OSError) -> errors.SystemFailure:
    why = (e.strerror or str(e)).lower()
    return errors.SystemFailure(
        f"give {DEFAULT_USER} subordinate ids: {why}: add a line such as {DEFAULT_USER}:{_FIRST}:{RANGE} to "
        f"{etc}/subuid and {etc}/subgid"
    )
