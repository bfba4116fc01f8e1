"""Files from the client, and to it: fsutil's protocol, in which both sides tell packets of one kind.

The sender tells of each file (STAT, in the order of a walk; an empty one at the end); the receiver asks for what it
wants the content of (REQUEST, by the file's number), gets it in pieces (DATA, an empty one at the end), and says
FINISHED.
"""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING, NamedTuple

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.sessions import headers, translated
from minidock.store.failures import from_os

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from minidock.server.buildkit.sessions import Session

_Type = wire.Packet.Type
_CHUNK = 512 << 10
_MOST_OPEN = 64
_MOST_FILES = 10_000_000
_PATH, _NAME = 4095, 255

# Modes travel as Go has them: permissions, and bits of its own for the rest.
_DIRECTORY, _SYMLINK, _DEVICE, _PIPE, _SOCKET, _CHARACTER = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24, 1 << 21
_IRREGULAR = 1 << 19
_TYPES = _DIRECTORY | _SYMLINK | _DEVICE | _PIPE | _SOCKET | _CHARACTER | _IRREGULAR
_SPECIAL = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))


def to_go(mode: int) -> int:
    """A mode of this system as Go has it."""
    found = stat.S_IMODE(mode) & 0o777
    found |= sum(theirs for theirs, ours in _SPECIAL if mode & ours)
    kinds = {
        stat.S_IFDIR: _DIRECTORY,
        stat.S_IFLNK: _SYMLINK,
        stat.S_IFIFO: _PIPE,
        stat.S_IFSOCK: _SOCKET,
        stat.S_IFBLK: _DEVICE,
        stat.S_IFCHR: _DEVICE | _CHARACTER,
    }
    return found | kinds.get(stat.S_IFMT(mode), 0)


def permissions(mode: int) -> int:
    """The permissions of a mode of Go's, with setuid and its like."""
    return (mode & 0o777) | sum(ours for theirs, ours in _SPECIAL if mode & theirs)


class Wanted(NamedTuple):
    """Which files of a directory the client is asked for; it leaves out the others."""

    name: str
    """The directory, as the client has called it."""
    follow: Sequence[str] = ()
    """Only these, and what their links lead to; all if there are none."""
    exclude: Sequence[str] = ()


def receive(
    session: Session,
    wanted: Wanted,
    target: str,
    progress: Callable[[int], None] | None = None,
    known: dict[str, wire.Stat] | None = None,
) -> None:
    """Have in ``target``, a directory of ours alone, what the client has, and nothing else.

    Files that are there already, with the same size, mode and time (down to less than seconds), stay. ``known`` is what
    the same build has had there before, and is changed to what it has now: of that nothing is touched that is still so,
    as others may be reading it. ``progress`` gets the bytes that have come. Raises Corrupt for a client that does not
    keep to the protocol or would write elsewhere, InvalidArgument with the client's words, LimitExceeded, NoSpace,
    SessionError.
    """
    metadata = headers("dir-name", [wanted.name])
    if wanted.follow:
        metadata += headers("followpaths", wanted.follow)
    if wanted.exclude:
        metadata += headers("exclude-patterns", wanted.exclude)
    call = session.stream("moby.filesync.v1.FileSync", "DiffCopy", metadata)
    size = 0
    try:
        with translated(), Receiver(target, known) as receiver:
            while messages := call.take():
                answers: list[wire.Packet] = []
                for message in messages:
                    packet = wire.Packet.FromString(message)
                    size += len(packet.data)
                    answers += receiver.take(packet)
                    if packet.type == _Type.FINISHED:
                        return
                if answers:
                    call.send(*(answer.SerializeToString() for answer in answers))
                if progress is not None:
                    progress(size)
            raise Corrupt("the client of the build has ended its files in the middle")
    finally:
        call.cancel()


class Receiver:
    """Writes what packets say below a directory. Paths are only taken when their directory has been made by an earlier
    packet, as a directory: so no link leads out of it."""

    def __init__(self, target: str, known: dict[str, wire.Stat] | None = None) -> None:
        self._target = target
        self._known = {} if known is None else known
        self._told: dict[str, wire.Stat] = {}
        self._kept: set[str] = set()
        """What is as it was."""
        self._directories: dict[str, wire.Stat] = {"": wire.Stat(mode=_DIRECTORY | 0o755)}
        self._seen: set[str] = set()
        self._files: set[str] = set()
        """The regular ones."""
        self._asked: dict[int, wire.Stat] = {}
        self._open: dict[int, int] = {}
        self._count = 0
        self._all_told = False

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def take(self, packet: wire.Packet) -> list[wire.Packet]:
        """Do what a packet says, and return what is to be answered."""
        try:
            return self._take(packet)
        except OSError as error:
            raise from_os(error, "write", "the files of the build's client") from error
        except (ValueError, OverflowError) as error:
            raise Corrupt(f"the client of the build sends a file that none can be: {error}") from error

    def _take(self, packet: wire.Packet) -> list[wire.Packet]:
        if packet.type == _Type.ERROR:
            raise InvalidArgument(packet.data.decode("utf-8", "replace")[:1000] or "the client cannot read its files")
        if packet.type == _Type.STAT:
            if self._all_told:
                raise Corrupt("the client of the build tells of a file after the last one")
            if packet.HasField("stat"):
                return self._stat(packet.stat)
            self._all_told = True
            self._remove_others()
            return self._finished()
        if packet.type == _Type.DATA:
            return self._data(packet)
        if packet.type == _Type.FINISHED and self._all_told and not self._asked:
            return []
        raise Corrupt(f"the client of the build sends an unexpected packet {packet.type}")

    def _finished(self) -> list[wire.Packet]:
        """What to say when nothing is missing any more."""
        if not self._all_told or self._asked:
            return []
        for path, found in reversed(self._directories.items()):
            place = self._place(path)
            there = os.lstat(place)
            if stat.S_IMODE(there.st_mode) != permissions(found.mode):
                os.chmod(place, permissions(found.mode))
            if path and there.st_mtime_ns != found.mod_time:
                os.utime(place, ns=(found.mod_time, found.mod_time))
        self._known.clear()
        self._known.update(self._told)
        return [wire.Packet(type=_Type.FINISHED)]

    def _place(self, path: str) -> str:
        return f"{self._target}/{path}" if path else self._target

    def _stat(self, found: wire.Stat) -> list[wire.Packet]:
        number, path = self._count, found.path
        self._count += 1
        if self._count > _MOST_FILES:
            raise LimitExceeded(f"a build's client has more than {_MOST_FILES} files")
        parent, _, name = path.rpartition("/")
        if path in self._seen or parent not in self._directories or name in ("", ".", "..") or "\0" in name:
            raise Corrupt(f"the client of the build sends a file with an impossible name or place: {path[:200]!r}")
        if len(path.encode()) > _PATH or len(name.encode()) > _NAME:
            raise LimitExceeded(f"{path[:200]!r}: file name too long")
        self._seen.add(path)
        kind = found.mode & _TYPES
        if kind == _SOCKET:
            return []
        place = self._place(path)
        there = _lstat(place)
        if kind == _DIRECTORY:
            self._directory(place, found, there)
            return []
        if kind & _DIRECTORY or kind & _IRREGULAR:
            raise Corrupt(f"{path[:200]!r}: a file of no kind that there is")
        self._told[path] = found
        if (
            there is not None
            and self._known.get(path) == found
            and (kind or not found.link or found.link in self._kept)
        ):
            self._kept.add(path)
            if kind == 0:
                self._files.add(path)
            return []
        if kind == 0 and not found.link:
            return self._regular(number, place, found, there)
        self._remove(place, there)
        if kind == 0:
            if found.link not in self._files:
                raise Corrupt(f"{path[:200]!r}: a link to {found.link[:200]!r}, which is no file before it")
            os.link(self._place(found.link), place, follow_symlinks=False)
            self._files.add(path)
            return []
        if kind == _SYMLINK:
            os.symlink(found.link, place)
        elif kind == _PIPE:
            os.mkfifo(place, 0o600)
        else:
            made = stat.S_IFCHR if kind & _CHARACTER else stat.S_IFBLK
            os.mknod(place, made | 0o600, os.makedev(found.device_major, found.device_minor))
        if kind != _SYMLINK:
            os.chmod(place, permissions(found.mode))
        os.utime(place, ns=(found.mod_time, found.mod_time), follow_symlinks=False)
        return []

    def _directory(self, place: str, found: wire.Stat, there: os.stat_result | None) -> None:
        if there is None or not stat.S_ISDIR(there.st_mode):
            self._remove(place, there)
            os.mkdir(place, 0o700)
        self._directories[found.path] = found

    def _regular(self, number: int, place: str, found: wire.Stat, there: os.stat_result | None) -> list[wire.Packet]:
        self._files.add(found.path)
        # A time of whole seconds was given to the file by a program, perhaps to many others with other contents, too.
        if there is not None and stat.S_ISREG(there.st_mode) and there.st_nlink == 1 and found.mod_time % 10**9:
            same = (there.st_size, there.st_mtime_ns, stat.S_IMODE(there.st_mode))
            if same == (found.size, found.mod_time, permissions(found.mode)):
                return []
        self._remove(place, there)
        # Now, for links to it that may follow.
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._asked[number] = found
        return [wire.Packet(type=_Type.REQUEST, id=number)]

    def _data(self, packet: wire.Packet) -> list[wire.Packet]:
        found = self._asked.get(packet.id)
        if found is None:
            raise Corrupt(f"the client of the build sends a content that nobody has asked for: {packet.id}")
        fd = self._open.get(packet.id)
        if fd is None:
            if len(self._open) >= _MOST_OPEN:
                raise Corrupt("the client of the build sends too many files at once")
            fd = os.open(self._place(found.path), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._open[packet.id] = fd
        if packet.data:
            view = memoryview(packet.data)
            while view:
                view = view[os.write(fd, view) :]
            return []
        del self._open[packet.id], self._asked[packet.id]
        try:
            os.fchmod(fd, permissions(found.mode))
            os.utime(fd, ns=(found.mod_time, found.mod_time))
        finally:
            os.close(fd)
        return self._finished()

    def _remove(self, place: str, there: os.stat_result | None) -> None:
        if there is None:
            return
        if stat.S_ISDIR(there.st_mode):
            shutil.rmtree(place)  # nothing is mounted in there
        else:
            os.unlink(place)

    def _remove_others(self) -> None:
        """Take away what the client has not told of."""
        for path in self._directories:
            place = self._place(path)
            with os.scandir(place) as entries:
                names = [entry.name for entry in entries]
            for name in names:
                if (f"{path}/{name}" if path else name) not in self._seen:
                    self._remove(f"{place}/{name}", _lstat(f"{place}/{name}"))


def _lstat(place: str) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except FileNotFoundError:
        return None


# --- to the client ---


def send(session: Session, source: str, metadata: Sequence[tuple[str, str]]) -> None:
    """Give the client the files of a directory. Raises InvalidArgument with its words, SessionError."""
    call = session.stream("moby.filesync.v1.FileSend", "DiffCopy", metadata)
    files: dict[int, str] = {}

    def tell(*packets: wire.Packet) -> None:
        call.send(*(packet.SerializeToString() for packet in packets))

    def give(number: int) -> None:
        with open(f"{source}/{files.pop(number)}", "rb") as file:
            while data := file.read(_CHUNK):
                tell(wire.Packet(type=_Type.DATA, id=number, data=data))
        tell(wire.Packet(type=_Type.DATA, id=number))

    try:
        with translated():
            for number, found in enumerate(_walk(source, "")):
                if not found.mode & _TYPES and not found.link:
                    files[number] = found.path
                tell(wire.Packet(type=_Type.STAT, stat=found))
            tell(wire.Packet(type=_Type.STAT))
            for message in call:
                packet = wire.Packet.FromString(message)
                if packet.type == _Type.ERROR:
                    raise InvalidArgument(packet.data.decode("utf-8", "replace")[:1000])
                if packet.type == _Type.REQUEST:
                    if packet.id not in files:
                        raise Corrupt(f"the client of the build asks for a file that there is not: {packet.id}")
                    give(packet.id)
                elif packet.type == _Type.FINISHED:
                    tell(packet)
                    call.end()
    finally:
        call.cancel()


def _walk(top: str, below: str) -> Iterator[wire.Stat]:
    inodes: dict[tuple[int, int], str] = {}
    for path in _paths(top, below):
        status = os.lstat(f"{top}/{path}")
        found = wire.Stat(
            path=path, mode=to_go(status.st_mode), uid=status.st_uid, gid=status.st_gid, mod_time=status.st_mtime_ns
        )
        if stat.S_ISREG(status.st_mode):
            found.size = status.st_size
            first = inodes.setdefault((status.st_dev, status.st_ino), path) if status.st_nlink > 1 else path
            found.link = "" if first == path else first
        elif stat.S_ISLNK(status.st_mode):
            found.link = os.readlink(f"{top}/{path}")
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            found.device_major, found.device_minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        yield found


def _paths(top: str, below: str) -> Iterator[str]:
    with os.scandir(f"{top}/{below}" if below else top) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_directory in found:
        path = f"{below}/{name}" if below else name
        yield path
        if is_directory:
            yield from _paths(top, path)


def send_bytes(session: Session, fd: int, metadata: Sequence[tuple[str, str]]) -> None:
    """Give the client what can be read from ``fd`` as one file. Raises InvalidArgument with its words, SessionError."""
    call = session.stream("moby.filesync.v1.FileSend", "DiffCopy", metadata)
    try:
        with translated():
            while data := os.read(fd, _CHUNK):
                call.send(wire.Bytes(data=data).SerializeToString())
            call.end()
            call.take()
    finally:
        call.cancel()
