"""What an event looks like: Docker's JSON, its plain line, templates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from minidock.cli.commands.events import _form
from minidock.cli.gotemplate import TemplateError
from minidock.events.event import Actor, Event
from minidock.events.reading import _decoded

ID = "ab" * 32
DIE = Event(
    "container", "die", Actor(ID, {"name": "web", "exitCode": "0", "image": "busybox"}), 1769871845_000000042, 7
)
PRUNE = Event("image", "prune", Actor("", {"reclaimed": "12"}), 1769871845_123456789, 8)
VOLUME = Event("volume", "create", Actor("data", {}), 1769871845_100000000, 9)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def in_zone(zone: pytest.MonkeyPatch, name: str) -> None:
    zone.setenv("TZ", name)
    time.tzset()


def test_json_has_dockers_keys_in_dockers_order() -> None:
    assert msgspec.json.encode(DIE.message()).decode() == (
        f'{{"status":"die","id":"{ID}","from":"busybox","Type":"container","Action":"die","Actor":{{"ID":"{ID}",'
        '"Attributes":{"name":"web","exitCode":"0","image":"busybox"}},"scope":"local","time":1769871845,'
        '"timeNano":1769871845000000042}'
    )
    # No id, no status: as Docker has them for this kind.
    assert msgspec.to_builtins(PRUNE.message()).keys() == {
        "status",
        "Type",
        "Action",
        "Actor",
        "scope",
        "time",
        "timeNano",
    }
    assert "status" not in msgspec.to_builtins(VOLUME.message())
    assert _form("json")(VOLUME) == _form("{{json .}}")(VOLUME)


def test_plain_line(zone: pytest.MonkeyPatch) -> None:
    show = _form(None)
    in_zone(zone, "UTC")
    assert show(DIE) == (f"2026-01-31T15:04:05.000000042Z container die {ID} (exitCode=0, image=busybox, name=web)")
    assert show(PRUNE) == "2026-01-31T15:04:05.123456789Z image prune  (reclaimed=12)"
    in_zone(zone, "Asia/Kolkata")
    assert show(VOLUME) == "2026-01-31T20:34:05.100000000+05:30 volume create data"


def test_template() -> None:
    assert _form("{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.ID}} {{.From}} {{.Time}}")(DIE) == (
        f"container die web {ID} busybox 1769871845"
    )
    assert _form("{{.Status}}|{{.Scope}}|{{.TimeNano}}")(VOLUME) == "|local|1769871845100000000"
    with pytest.raises(TemplateError, match="template parsing error"):
        _form("{{.Nope")
    with pytest.raises(TemplateError, match=r"can't evaluate field Nope in type \*events.Message"):
        _form("{{.Nope}}")(DIE)


def test_typed() -> None:
    assert (DIE.id, DIE.attributes["exitCode"], DIE.scope) == (ID, "0", "local")
    assert DIE.time == datetime(2026, 1, 31, 15, 4, 5, tzinfo=UTC)
    assert PRUNE.time.microsecond == 123456


def test_lines_of_somebody_else_are_passed_over() -> None:
    good = b'{"Type":"image","Action":"tag","Actor":{"ID":"a","Attributes":{"name":"b"}},"timeNano":1,"seq":0}\n'
    assert [event.action for event in _decoded(good + good)] == ["tag", "tag"]
    for bad in (b'{"Type":"image","timeNano":1,"seq":0}\n', b'{"Type":"\xff","timeNano":1,"seq":0}\n', b'{"Type":"\n'):
        assert [event.action for event in _decoded(good + bad + good)] == ["tag", "tag"]
