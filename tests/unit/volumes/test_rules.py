"""What volumes may be called, which options and filters make sense, and the words for those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.errors import InvalidArgument, MinidockError
from minidock.volumes import filtering, options
from minidock.volumes.record import ANONYMOUS, Record, decode, encode, inspect

INVALID = (
    'includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
    "If you intended to pass a host directory, use absolute path"
)


@pytest.mark.parametrize("name", ["ab", "A_b.c-d", "0" * 64, "x" * 255, "a.."])
def test_names(name: str) -> None:
    options.check_name(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a", "create a: volume name is too short, names should be at least two alphanumeric characters"),
        ("a b", f'create a b: "a b" {INVALID}'),
        ("..", f'create ..: ".." {INVALID}'),
        ("-ab", f'create -ab: "-ab" {INVALID}'),
        ("ab\n", f"create 'ab\\n': \"'ab\\n'\" {INVALID}"),
        ("a/b", f'create a/b: "a/b" {INVALID}'),
        ("éa", f'create éa: "éa" {INVALID}'),
        ("", f'create : "" {INVALID}'),
        ("x" * 256, f"create {'x' * 40}…: volume name is too long, at most 255 characters are allowed"),
    ],
)
def test_names_that_are_none(name: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        options.check_name(name)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"},
        {"type": "", "device": "", "o": ""},
        {"size": "10m"},
        {"type": "none", "device": "/x", "o": "bind"},
    ],
)
def test_options(given: dict[str, str]) -> None:
    options.check("v", "local", given)


@pytest.mark.parametrize(
    ("driver", "given", "text"),
    [
        ("local", {"bogus": "1"}, 'create v: invalid option: "bogus"'),
        ("local", {"type": "tmpfs"}, 'create v: missing required option: "device"'),
        ("local", {"device": "/x"}, 'create v: missing required option: "type"'),
        ("local", {"o": "bind"}, 'create v: missing required option: "device"'),
        ("local", {"type": "nfs", "o": "addr=1.2.3.4"}, 'create v: missing required option: "device"'),
        ("local", {"size": "-1"}, "create v: invalid size: '-1'"),
        ("local", {"size": "abc"}, "create v: invalid size: 'abc'"),
        ("local", {"type": "x", "device": "a\0b"}, 'create v: option "device" has a null byte'),
        ("nosuch", {}, 'create v: error looking up volume plugin nosuch: plugin "nosuch" not found; minidock has'),
    ],
)
def test_options_that_make_no_sense(driver: str, given: dict[str, str], text: str) -> None:
    with pytest.raises(MinidockError) as caught:
        options.check("v", driver, given)
    assert str(caught.value).startswith(text)


def _records() -> list[Record]:
    return [
        Record("plain", 0),
        Record("labelled", 0, labels={"a": "1", "b": ""}),
        Record("f" * 64, 0, labels={ANONYMOUS: ""}, anonymous=True),
        Record("mounted", 0, options={"type": "tmpfs", "device": "tmpfs"}, labels={ANONYMOUS: ""}),
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["plain", "labelled", "f" * 64, "mounted"]),
        ({"label": ["a=1", "b"]}, ["labelled"]),
        ({"label": ["a=2"]}, []),
        ({"name": ["^pl", "led$"]}, ["plain", "labelled"]),
        ({"name": ["("]}, []),
        ({"driver": ["loc"]}, []),
        ({"driver": ["local"], "dangling": [True]}, ["labelled", "f" * 64, "mounted"]),
        (["dangling=false"], ["plain"]),
        (["dangling=0", "dangling=false"], ["plain"]),
    ],
)
def test_filters(filters: Any, expected: list[str]) -> None:
    found = filtering.select(_records(), filtering.parse(filters), {"plain": 1})
    assert [record.name for record in found] == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["f" * 64]),
        ({"all": ["true"]}, ["plain", "labelled", "f" * 64]),
        ({"all": "0"}, ["f" * 64]),
        ({"all": True, "label": ["a"]}, ["labelled"]),
        ({"all": True, "label!": ["a"]}, ["plain", "f" * 64]),
    ],
)
def test_what_prune_may_remove(filters: Any, expected: list[str]) -> None:
    chosen = filtering.prunable(filters)
    assert [record.name for record in _records() if chosen(record)] == expected


@pytest.mark.parametrize(
    ("read", "filters", "text"),
    [
        (filtering.parse, ["bogus=1"], "invalid filter 'bogus'"),
        (filtering.parse, ["dangling=maybe"], "invalid filter 'dangling=[maybe]'"),
        (filtering.parse, ["dangling=true", "dangling=false"], "invalid filter 'dangling=[false true]'"),
        (filtering.prunable, ["until=1h"], "invalid filter 'until'"),
        (filtering.prunable, ["all=x"], "invalid filter 'all': strconv.ParseBool: parsing \"x\": invalid syntax"),
        (filtering.prunable, ["all=1", "all=0"], "invalid filter 'all=[0 1]'"),
    ],
)
def test_filters_that_make_no_sense(read: Any, filters: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(filters)
    assert str(caught.value) == text


def test_records() -> None:
    record = Record("ab", 1_700_000_000_123_456_789, labels={"é": "ü"}, options={"type": "none", "device": "/x"})
    assert decode(encode(record)) == record
    assert record.is_mounted
    assert not Record("ab", 0, options={"size": "1m"}).is_mounted
    assert not Record("ab", 0, options={"type": "", "device": ""}).is_mounted
    document = inspect(record, "/m")
    assert document.created_at == "2023-11-14T22:13:20Z"
    assert inspect(Record("ab", 0), "/m").labels is None
