"""Filters of `images`."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from minidock.errors import InvalidArgument
from minidock.images.filters import select
from minidock.images.image import Image


class _Image(Image):
    """An image that needs no store."""

    __slots__ = ("_labels",)

    def __init__(
        self, created: float, tags: list[str], labels: dict[str, str] | None = None, digests: list[str] | None = None
    ) -> None:
        row: Any = SimpleNamespace(id=f"sha256:{int(created):064d}", created=int(created), size=1)
        super().__init__(None, row, tags, digests or [])  # type: ignore[arg-type]
        self._labels = labels or {}
        self._config: Any = SimpleNamespace(created=f"2024-01-02T03:04:05.{int(created % 1 * 1000):03d}Z")

    @property
    def labels(self) -> dict[str, str]:
        return self._labels


NOW = time.time()
NEW = _Image(NOW - 10, ["busybox:latest", "localhost:5000/a/box:1"], {"a": "1"})
OLD = _Image(NOW - 7200, ["debian:12"], {"a": "2", "b": ""})
NAMELESS = _Image(NOW - 100, [])
COLLECTION: Any = SimpleNamespace(get={"debian:12": OLD, "busybox": NEW}.__getitem__)


def chosen(**filters: list[str]) -> list[tuple[int, tuple[str, ...]]]:
    images = [NEW, NAMELESS, OLD]
    found = select(images, filters, COLLECTION)
    ids = [image.id for image in images]
    return [(ids.index(image.id), tuple(image.tags)) for image in found]


def test_names_that_only_a_registry_gave() -> None:
    """An image with digests alone is dangling, but not nameless; its digests are matched as names are."""
    digest = f"box@sha256:{'0' * 64}"
    one = _Image(NOW, [], digests=[digest, f"other@sha256:{'0' * 64}"])
    images = [one, NAMELESS, NEW]
    assert select(images, {"dangling": ["true"]}, COLLECTION) == [one, NAMELESS]
    assert select(images, {"dangling": ["false"]}, COLLECTION) == [one, NEW]
    for pattern in ("box", "b*", digest, "box@*"):
        (found,) = select([one], {"reference": [pattern]}, COLLECTION)
        assert found.repo_digests == [digest]
    assert select([one], {"reference": ["*:*"]}, COLLECTION) == [one], "a digest has a colon"
    assert select([one], {"reference": ["box:latest"]}, COLLECTION) == []


def test_moments_have_fractions() -> None:
    whole = float(int(NOW))
    early, late = _Image(whole + 0.25, ["early:1"]), _Image(whole + 0.75, ["late:1"])
    collection: Any = SimpleNamespace(get={"early": early, "late": late}.__getitem__)
    assert select([early, late], {"since": ["early"]}, collection) == [late]
    assert select([early, late], {"before": ["late"]}, collection) == [early]
    assert select([early, late], {"before": ["early"]}, collection) == []


def numbers(**filters: list[str]) -> list[int]:
    return [number for number, _ in chosen(**filters)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"dangling": ["true"]}, [1]),
        ({"dangling": ["false"]}, [0, 2]),
        ({"label": ["a"]}, [0, 2]),
        ({"label": ["a=1"]}, [0]),
        ({"label": ["a", "b="]}, [2]),
        ({"label": ["c"]}, []),
        ({"before": ["busybox"]}, [1, 2]),
        ({"since": ["debian:12"]}, [0, 1]),
        ({"until": ["1h"]}, [2]),
        ({"until": [str(NOW - 50)]}, [1, 2]),
        ({"until": ["2000-01-01T00:00:00Z"]}, []),
        ({"dangling": ["false"], "label": ["b"]}, [2]),
    ],
)
def test_filters(filters: dict[str, list[str]], expected: list[int]) -> None:
    assert numbers(**filters) == expected


@pytest.mark.parametrize(
    ("pattern", "tags"),
    [
        ("busybox", ("busybox:latest",)),
        ("busy*", ("busybox:latest",)),
        ("*:latest", ("busybox:latest",)),
        ("busybox:l?test", ("busybox:latest",)),
        ("bus[xyz]box", ("busybox:latest",)),
        ("*box*", ("busybox:latest",)),
        ("localhost:5000/a/*", ("localhost:5000/a/box:1",)),
        ("localhost:5000/*", ()),
        ("*/*/*:1", ("localhost:5000/a/box:1",)),
        ("bus.box", ()),
    ],
)
def test_references_match_as_paths(pattern: str, tags: tuple[str, ...]) -> None:
    assert chosen(reference=[pattern]) == ([(0, tags)] if tags else [])


@pytest.mark.parametrize(
    "filters",
    [
        {"nonsense": ["1"]},
        {"dangling": ["maybe"]},
        {"dangling": ["true", "false"]},
        {"until": ["yesterday"]},
        {"reference": ["a["]},
        {"reference": ["a\\"]},
        {"reference": ["[z-a]"]},
    ],
)
def test_mistakes(filters: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter"):
        select([NEW], filters, COLLECTION)
