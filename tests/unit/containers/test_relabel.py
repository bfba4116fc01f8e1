"""Which labels what is mounted is given, and whose directories are kept from it; the labels themselves are Rust's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minidock import _native
from minidock.containers.mounts.relabel import relabel
from minidock.containers.record import Point
from minidock.errors import Denied
from minidock.store.paths import Paths
from minidock.volumes.record import Record, encode

ROOTS = ["/nowhere/data", "/nowhere/run"]
LABEL = "system_u:object_r:container_file_t:s0:c1,c2"

Call = tuple[Any, ...]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What Rust is asked for; /etc is refused there, and the policy forbids the label of /forbidden."""
    found: list[Call] = []

    def called(path: str, *rest: Any) -> None:
        found.append((path, *rest))
        if path == "/etc":
            raise _native.NativeError("relabel /etc: the host's", "denied", "relabel", "/etc", None)
        if path == "/forbidden":
            raise _native.NativeError("relabel /forbidden: not permitted", "denied", "relabel", "/forbidden", 1)

    monkeypatch.setattr(_native, "selinux_relabel", called)
    monkeypatch.setattr(_native, "selinux_check_relabel", called)
    return found


def bind(source: str, mode: str) -> Point:
    return Point(type="bind", destination="/x", source=source, mode=mode)


def volume(name: str, mode: str = "") -> Point:
    return Point(type="volume", destination="/x", name=name, mode=mode)


def label(*mounts: Point, label: str = LABEL, **devices: str) -> None:
    """Relabel what a container has mounted; ``devices`` are volumes, by what they bind."""

    def get(name: str) -> SimpleNamespace:
        options = {"type": "none", "device": devices[name], "o": "ro,bind"} if devices.get(name) else {"size": "8m"}
        return SimpleNamespace(record=encode(Record(name, 0, options=options)))

    planning: Any = SimpleNamespace(paths=Paths(*ROOTS), store=SimpleNamespace(volumes=SimpleNamespace(get=get)))
    record: Any = SimpleNamespace(mounts=mounts, mount_label=label)
    relabel(planning, record)


def test_binds(calls: list[Call]) -> None:
    label(bind("/a", ""), bind("/b", "ro"), bind("/c", "ro,z"), bind("/d", "Z"), Point(type="tmpfs", destination="/t"))
    assert calls == [("/c", LABEL, True, ROOTS), ("/d", LABEL, False, ROOTS)]


def test_without_labels(calls: list[Call]) -> None:
    """Only what is asked for is looked at."""
    label(bind("/a", "ro"), bind("/c", "ro,z"), bind("/d", "Z"), volume("v", "z"), volume("w", "Z"), label="")
    assert calls == [("/c", ROOTS), ("/d", ROOTS)]


def test_refused(calls: list[Call]) -> None:
    for text in (LABEL, ""):
        with pytest.raises(Denied, match="relabel /etc"):
            label(bind("/etc", "z"), label=text)


def test_volumes_are_the_engine_s(calls: list[Call]) -> None:
    label(volume("one"), volume("two", "ro"), volume("three", "Z"))
    files = [f"{ROOTS[0]}/volumes/{name}/_data" for name in ("one", "two", "three")]
    assert calls == [(files[0], LABEL, True, None), (files[1], LABEL, True, None), (files[2], LABEL, False, None)]


def test_volumes_of_the_host_s_directories(calls: list[Call]) -> None:
    """Their labels are the host's: where it would lose them they stay, unless somebody asks for others."""
    label(volume("mine"), volume("etc", "ro"), volume("mine", "Z"), mine="/srv/mine", etc="/etc")
    assert calls == [
        ("/srv/mine", LABEL, True, ROOTS),
        ("/etc", LABEL, True, ROOTS),
        ("/srv/mine", LABEL, False, ROOTS),
    ]
    with pytest.raises(Denied, match="relabel /etc"):
        label(volume("etc", "Z"), etc="/etc")
    with pytest.raises(Denied, match="relabel /forbidden"):
        label(volume("v"), v="/forbidden")
