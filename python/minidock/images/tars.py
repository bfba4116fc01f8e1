"""The outer tar of image archives: its members are found and read, never extracted; and headers for one of our own.

Archives come from strangers, so the reader is strict where readers differ: names stay below the archive's top, no
member comes twice, an extended header and the plain one agree about sizes. All is bounded before it is read.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from minidock.errors import Corrupt, LimitExceeded, Unsupported

BLOCK = 512
_MAX_MEMBERS = 200_000
_MAX_PATH = 4095
_MAX_EXTENSION = 1 << 20
_MAX_EXTENSIONS = 64
_MAX_LINKS = 16
_OCTAL_MAX = (1 << 33) - 1
_SIZE_MAX = 1 << 50


class Member(NamedTuple):
    """A file in a tar, as an offset and a length in bytes; or a link, when ``target`` is not None."""

    offset: int
    size: int
    target: str | None = None


def scan(fd: int, start: int, name: str) -> dict[str, Member]:
    """Find the members of the tar in the regular file ``fd`` from ``start`` on, by normal path.

    A member that is no file, directory or link, a path that leaves the archive, or one that comes twice is an error.
    Raises Corrupt, LimitExceeded, Unsupported; ``name`` is the archive's in messages.
    """
    return _Scanner(fd, start, name).run()


def resolve(members: dict[str, Member], path: str) -> Member | None:
    """The file at ``path``, links followed inside the archive; None when there is none. Raises Corrupt for a loop."""
    for _ in range(_MAX_LINKS):
        member = members.get(path)
        if member is None or member.target is None:
            return member
        path = member.target
    raise Corrupt(f"{path[:200]!r}: a loop of links, or more than {_MAX_LINKS} of them")


def normal(path: str, what: str = "member") -> str:
    """``./a//b/`` → ``a/b``; the top itself is empty. Raises Corrupt for an absolute path or one with ``..``."""
    if path.startswith("/"):
        raise Corrupt(f"{what} {path[:200]!r}: an absolute path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Corrupt(f"{what} {path[:200]!r}: leaves the archive")
    return "/".join(parts)


def target_of(path: str, target: str) -> str:
    """Where the symbolic link ``path`` points, as a normal path. Raises Corrupt when that is outside the archive."""
    if target.startswith("/"):
        raise Corrupt(f"link {path[:200]!r}: leads to {target[:200]!r}, out of the archive")
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise Corrupt(f"link {path[:200]!r}: leads to {target[:200]!r}, out of the archive")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _Pending(NamedTuple):
    """What came before a header and belongs to it."""

    long_name: bytes | None
    long_link: bytes | None
    records: dict[str, str]


class _Scanner:
    def __init__(self, fd: int, start: int, name: str) -> None:
        self._fd = fd
        self._position = start
        self._end = os.fstat(fd).st_size
        self._name = name
        self._found: dict[str, Member] = {}
        self._directories: set[str] = set()
        self._count = 0

    def run(self) -> dict[str, Member]:
        while True:
            entry = self._entry()
            if entry is None:
                return self._found
            path, kind, member = entry
            self._count += 1
            if self._count > _MAX_MEMBERS:
                raise LimitExceeded(f"read {self._name}: more than {_MAX_MEMBERS} members")
            if path in self._found or (kind != "5" and path in self._directories):
                raise Corrupt(f"read {self._name}: member {path[:200]!r} comes twice")
            if kind == "5":
                self._directories.add(path)
                continue
            if not path:
                raise Corrupt(f"read {self._name}: its top is not a directory")
            self._found[path] = member

    def _entry(self) -> tuple[str, str, Member] | None:
        """The next entry's path, type and place; None at the end."""
        long_name = long_link = None
        records: dict[str, str] | None = None
        spent = 0
        for _ in range(_MAX_EXTENSIONS):
            block = self._block()
            if block is None or block.count(0) == BLOCK:
                if long_name is not None or long_link is not None or records is not None:
                    raise self._corrupt("ends after an extended header")
                return None
            self._check(block)
            kind = chr(block[156]) if block[156] else "0"
            size = self._number(block[124:136], "size")
            if kind in "xgLK":
                spent += size
                if spent > _MAX_EXTENSION:
                    raise LimitExceeded(f"read {self._name}: extended headers of {spent} bytes")
                data = self._data(size)
                if kind == "L":
                    long_name = data.split(b"\0", 1)[0]
                elif kind == "K":
                    long_link = data.split(b"\0", 1)[0]
                elif kind == "x":
                    if records is not None:
                        raise self._corrupt("two extended headers for one entry")
                    records = self._records(data)
                elif {"path", "linkpath", "size"} & self._records(data).keys():
                    raise self._corrupt("a global header that renames")
                continue
            return self._member(block, kind, _Pending(long_name, long_link, records or {}))
        raise LimitExceeded(f"read {self._name}: more than {_MAX_EXTENSIONS} headers before one entry")

    def _member(self, block: bytes, kind: str, pending: _Pending) -> tuple[str, str, Member]:
        long_name, long_link, records = pending
        size = self._number(block[124:136], "size")
        raw = block[:100].split(b"\0", 1)[0]
        if block[257:263] == b"ustar\0" and block[345]:
            raw = block[345:500].split(b"\0", 1)[0] + b"/" + raw
        path = records.get("path") or _text(long_name if long_name is not None else raw)
        link = records.get("linkpath") or _text(
            long_link if long_link is not None else block[157:257].split(b"\0", 1)[0]
        )
        shown = path[:200]
        if len(path) > _MAX_PATH or len(link) > _MAX_PATH:
            raise LimitExceeded(f"read {self._name}: a path of more than {_MAX_PATH} characters")
        if "\0" in path or "\0" in link:
            raise self._corrupt(f"member {shown!r}: a NUL in its name")
        if "size" in records:
            stated = self._decimal(records["size"])
            # Two readers that believe one header each would see different archives.
            if stated <= _OCTAL_MAX and stated != size:
                raise self._corrupt(f"member {shown!r}: size {stated} in the extended header and {size} in the header")
            size = stated
        if any(key.startswith("GNU.sparse.") for key in records) or kind == "S":
            raise Unsupported(f"read {self._name}: member {shown!r} is sparse")
        if kind == "0" and path.endswith("/") and size == 0:
            kind = "5"
        try:
            path = normal(path)
            if kind in "07":
                return path, "0", self._content(path, size)
            if kind not in "125":
                raise Corrupt(f"member {shown!r}: neither a file, a directory nor a link")
            if kind in "12":
                if size:
                    raise Corrupt(f"member {shown!r}: {size} bytes of content on a link")
                return path, kind, Member(0, 0, normal(link, "link") if kind == "1" else target_of(path, link))
        except Corrupt as error:
            raise self._corrupt(str(error)) from error
        self._skip(size)
        return path, "5", Member(0, 0)

    def _content(self, path: str, size: int) -> Member:
        offset = self._position
        if size > self._end - offset:
            raise self._corrupt(f"ends in the middle of member {path[:200]!r}")
        self._skip(size)
        return Member(offset, size)

    def _skip(self, size: int) -> None:
        self._position += -(-size // BLOCK) * BLOCK

    def _block(self) -> bytes | None:
        block = os.pread(self._fd, BLOCK, self._position)
        if not block:
            if self._count == 0:
                raise self._corrupt("empty, not a tar")
            return None
        if len(block) < BLOCK:
            raise self._corrupt("ends in the middle of a header" if self._count else "not a tar")
        self._position += BLOCK
        return block

    def _data(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self._position)
        if len(data) < size:
            raise self._corrupt("ends in the middle of an extended header")
        self._skip(size)
        return data

    def _check(self, block: bytes) -> None:
        try:
            stated = int(block[148:156].split(b"\0", 1)[0].strip() or b"x", 8)
        except ValueError:
            stated = -1
        field = block[148:156]
        if stated != sum(block) - sum(field) + 8 * 32:
            raise self._corrupt("damaged: a header's checksum is wrong" if self._count else "not a tar")

    def _number(self, field: bytes, what: str) -> int:
        if field[0] & 0x80:
            number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        else:
            digits = field.split(b"\0", 1)[0].strip(b" ")
            if digits and not digits.isdigit():
                raise self._corrupt(f"damaged: {what} is not a number")
            try:
                number = int(digits or b"0", 8)
            except ValueError as error:
                raise self._corrupt(f"damaged: {what} is not a number") from error
        if number > _SIZE_MAX:
            raise self._corrupt(f"damaged: {what} is {number}")
        return number

    def _decimal(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 16 or int(text) > _SIZE_MAX:
            raise self._corrupt("damaged: size in an extended header is not a number")
        return int(text)

    def _records(self, data: bytes) -> dict[str, str]:
        """PAX records, ``LENGTH KEY=VALUE\\n``; a deleted one (an empty value) is left out."""
        found: dict[str, str] = {}
        while data:
            head, space, _ = data.partition(b" ")
            if not space or not head.isdigit() or len(head) > 8:
                raise self._corrupt("damaged: a record of an extended header")
            length = int(head)
            record = data[len(head) + 1 : length]
            key, equals, value = record.partition(b"=")
            if length > len(data) or not equals or not record.endswith(b"\n"):
                raise self._corrupt("damaged: a record of an extended header")
            name = _text(key)
            if name in found:
                raise self._corrupt(f"an extended header has {name[:100]!r} twice")
            found[name] = _text(value[:-1])
            data = data[length:]
        return {key: value for key, value in found.items() if value}

    def _corrupt(self, why: str) -> Corrupt:
        return Corrupt(f"read {self._name}: {why}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def header(path: str, size: int, *, directory: bool = False) -> bytes:
    """The header of one member: root's, time 0; ``path`` is ASCII and short. Sizes of 8 GiB and more are base 256."""
    block = bytearray(BLOCK)
    name = path.encode("ascii")
    block[: len(name)] = name
    block[100:108] = b"0000755\0" if directory else b"0000644\0"
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = b"%011o\0" % size if size <= _OCTAL_MAX else b"\x80" + size.to_bytes(11, "big")
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156] = ord("5" if directory else "0")
    block[257:265] = b"ustar\x0000"
    block[329:337] = block[337:345] = b"0000000\0"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padding(size: int) -> int:
    """Bytes between the end of a content of ``size`` bytes and the next header."""
    return -size % BLOCK
