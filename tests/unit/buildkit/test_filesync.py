"""Files of a client: what the protocol allows arrives, and what is hostile does not leave its directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.errors import Corrupt, InvalidArgument, LimitExceeded
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.filesync import Receiver, permissions, to_go

Type = wire.Packet.Type
DIRECTORY, SYMLINK, DEVICE, PIPE, SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
SETUID, CHARACTER = 1 << 23, 1 << 21
END = wire.Packet(type=Type.STAT)
TIME = 1_600_000_000_123_456_789


def told(path: str, mode: int = 0o644, **fields: object) -> wire.Packet:
    return wire.Packet(type=Type.STAT, stat=wire.Stat(path=path, mode=mode, mod_time=TIME, **fields))  # type: ignore[arg-type]


def data(number: int, content: bytes = b"") -> wire.Packet:
    return wire.Packet(type=Type.DATA, id=number, data=content)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    (tmp_path / "outside").mkdir()
    return path


@pytest.fixture
def receiver(target: Path) -> Iterator[Receiver]:
    with Receiver(str(target)) as found:
        yield found


def everything(receiver: Receiver, *packets: wire.Packet) -> list[wire.Packet]:
    return [answer for packet in packets for answer in receiver.take(packet)]


def test_all_kinds(target: Path, receiver: Receiver) -> None:
    answers = everything(
        receiver,
        told("d", DIRECTORY | 0o750),
        told("d/f", SETUID | 0o755, size=5),
        told("d/hard", SETUID | 0o755, link="d/f", size=5),
        told("d/link", SYMLINK | 0o777, link="/etc/passwd"),
        told("d/pipe", PIPE | 0o600),
        told("d/socket", SOCKET | 0o600),
        told("empty", 0o600),
        data(1, b"he"),
        data(6),
        data(1, b"llo"),
        END,
        data(1),
        wire.Packet(type=Type.FINISHED),
    )
    assert [(one.type, one.id) for one in answers] == [(Type.REQUEST, 1), (Type.REQUEST, 6), (Type.FINISHED, 0)]
    assert (target / "d" / "f").read_bytes() == b"hello"
    assert (target / "d").stat().st_mode & 0o7777 == 0o750
    assert (target / "d" / "f").stat().st_mode & 0o7777 == 0o4755
    assert (target / "d" / "hard").stat().st_ino == (target / "d" / "f").stat().st_ino
    assert (target / "d" / "link").readlink() == Path("/etc/passwd")
    assert stat.S_ISFIFO((target / "d" / "pipe").stat().st_mode)
    assert not (target / "d" / "socket").exists()
    for name in ("d", "d/f", "empty", "d/pipe"):
        assert (target / name).stat().st_mtime_ns == TIME


def test_only_what_has_changed_is_asked_for(target: Path) -> None:
    def receive(*packets: wire.Packet) -> list[int]:
        with Receiver(str(target)) as receiver:
            return [one.id for one in everything(receiver, *packets, END) if one.type == Type.REQUEST]

    with Receiver(str(target)) as receiver:
        first = (told("a", size=1), told("b", size=1), told("d", DIRECTORY | 0o755), told("d/c", size=1))
        everything(receiver, *first, *(packet for n in (0, 1, 3) for packet in (data(n, b"x"), data(n))), END)
    assert receive(*first) == []
    assert receive(told("a", 0o600, size=1), told("b", size=2), told("d", DIRECTORY | 0o755)) == [0, 1]
    assert not (target / "d" / "c").exists()
    # In place of a directory a file, in place of a file a directory.
    assert receive(told("a", DIRECTORY | 0o755), told("d", size=1)) == [1]
    assert (target / "a").is_dir()
    assert not (target / "b").exists()
    whole = wire.Packet(type=Type.STAT, stat=wire.Stat(path="w", mode=0o644, size=0, mod_time=10**18))
    for _ in range(2):
        assert receive(whole) == [0]


def test_what_the_same_build_has_already_is_not_touched(target: Path) -> None:
    """Whatever their times are: another stage may be reading them."""

    def tell(path: str, mode: int = 0o644, **fields: object) -> wire.Packet:
        packet = told(path, mode, **fields)
        packet.stat.mod_time = 10**18
        return packet

    first = [
        tell("d", DIRECTORY | 0o755),
        tell("d/f", size=1),
        tell("d/hard", link="d/f", size=1),
        tell("d/link", SYMLINK | 0o777, link="f"),
        tell("d/pipe", PIPE | 0o600),
        tell("g", size=1),
        tell("h", link="g", size=1),
    ]
    known: dict[str, wire.Stat] = {}
    with Receiver(str(target), known) as receiver:
        everything(receiver, *first, *(packet for n in (1, 5) for packet in (data(n, b"x"), data(n))), END)
    assert set(known) == {"d/f", "d/hard", "d/link", "d/pipe", "g", "h"}
    before = {path: path.lstat().st_ctime_ns for path in target.rglob("*")}
    # One more; and what a link shares has changed, so that the link is another one.
    changed = tell("g", size=2)
    with Receiver(str(target), known) as receiver:
        answers = everything(receiver, *first[:5], changed, tell("h", link="g", size=2), tell("new", size=1), END)
        assert [one.id for one in answers if one.type == Type.REQUEST] == [5, 7]
        everything(receiver, *(packet for n in (5, 7) for packet in (data(n, b"yy"), data(n))))
    for path, was in before.items():
        if path.name not in ("g", "h"):
            assert path.lstat().st_ctime_ns == was
    assert (target / "h").read_bytes() == b"yy"
    assert (target / "h").samefile(target / "g")
    assert known["g"] == changed.stat


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../x",
        "/etc/x",
        "",
        ".",
        "a/../b",
        "d/..",
        "d//x",
        "d/",
        "nothing/x",
        "d/./x",
        "link/x",
        "f/x",
        "d",
        "a\0b",
    ],
)
def test_paths_that_lead_elsewhere(target: Path, receiver: Receiver, path: str) -> None:
    everything(receiver, told("d", DIRECTORY | 0o755), told("f"), told("link", SYMLINK, link="../outside"))
    for mode in (0o644, DIRECTORY | 0o755, SYMLINK):
        with pytest.raises(Corrupt):
            receiver.take(told(path, mode, link="x" if mode == SYMLINK else ""))
    assert not list((target.parent / "outside").iterdir())
    assert sorted(os.listdir(target.parent)) == ["outside", "target"]


def test_a_link_that_was_there_before(target: Path) -> None:
    """What an earlier transfer has left leads nowhere either."""
    (target / "d").symlink_to("../outside")
    (target / "f").symlink_to("../outside/f")
    with Receiver(str(target)) as receiver:
        everything(receiver, told("d", DIRECTORY | 0o755), told("d/x"), data(1, b"x"), data(1), told("f"), data(2), END)
    assert (target / "d" / "x").read_bytes() == b"x"
    assert not (target / "f").is_symlink()
    assert not list((target.parent / "outside").iterdir())


def test_links_to_what_is_not_there(receiver: Receiver) -> None:
    everything(receiver, told("d", DIRECTORY | 0o755), told("s", SYMLINK, link="/etc/shadow"))
    for link in ("/etc/shadow", "../outside/f", "later", "d", "s", "hard"):
        with pytest.raises(Corrupt):
            receiver.take(told(f"hard-{link.strip('./').replace('/', '-')}", 0o644, link=link))


@pytest.mark.parametrize(
    ("before", "packet"),
    [
        ([], data(0, b"x")),
        ([told("f")], data(1, b"x")),
        ([told("f"), data(0)], data(0, b"again")),
        ([END], told("late")),
        ([told("f")], wire.Packet(type=Type.FINISHED)),
        ([], wire.Packet(type=Type.FINISHED)),
        ([], wire.Packet(type=Type.REQUEST, id=1)),
        ([], wire.Packet(type=77)),  # type: ignore[arg-type]
        ([], told("odd", 1 << 19)),
        ([], told("odd", DIRECTORY | SYMLINK)),
        ([], wire.Packet(type=Type.STAT, stat=wire.Stat(path="f", mode=PIPE, mod_time=1 << 62))),
    ],
)
def test_out_of_order(receiver: Receiver, before: list[wire.Packet], packet: wire.Packet) -> None:
    everything(receiver, *before)
    if packet.stat.mod_time == 1 << 62:  # the year 2116: a time that files can have
        receiver.take(packet)
        return
    with pytest.raises(Corrupt):
        receiver.take(packet)


def test_limits(receiver: Receiver) -> None:
    with pytest.raises(LimitExceeded):
        receiver.take(told("x" * 256))
    for number in range(66):
        receiver.take(told(f"f{number}", size=1 << 62))
    for number in range(1, 65):
        receiver.take(data(number, b"x"))
    with pytest.raises(Corrupt, match="too many files at once"):
        receiver.take(data(65, b"x"))


def test_a_client_that_cannot_read(receiver: Receiver) -> None:
    with pytest.raises(InvalidArgument, match="open secret: permission denied"):
        receiver.take(wire.Packet(type=Type.ERROR, data=b"open secret: permission denied"))


def test_modes() -> None:
    for mode in (0o644, 0o4755, 0o2711, 0o1777):
        assert permissions(to_go(stat.S_IFREG | mode)) == mode
    assert to_go(stat.S_IFDIR | 0o755) == DIRECTORY | 0o755
    assert to_go(stat.S_IFCHR | 0o600) == DEVICE | CHARACTER | 0o600
