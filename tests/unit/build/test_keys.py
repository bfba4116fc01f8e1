"""Keys of the build cache: equal for equal facts only."""

from __future__ import annotations

import itertools

from minidock.build import keys

_FACTS: list[keys.Fact] = [
    None,
    "",
    b"",
    0,
    "0",
    "a",
    b"a",
    [],
    [""],
    ["", ""],
    ["a", "b"],
    ["ab"],
    [["a"], "b"],
    [["a", "b"]],
    {},
    {"a": "b"},
    {"a": ["b"]},
]


def test_different_facts_have_different_keys() -> None:
    found = [keys.key("kind", fact) for fact in _FACTS]
    assert len(set(found)) == len(_FACTS)
    assert keys.key("a", "b") != keys.key("ab") != keys.key("b", "a")


def test_equal_facts_have_equal_keys() -> None:
    """Whatever order a mapping was made in; texts may hold any bytes of file names."""
    pairs = [("x", "1"), ("y", "2"), ("z", "\udcff")]
    assert len({keys.key("k", dict(order)) for order in itertools.permutations(pairs)}) == 1


def test_layers_in_another_order_are_others() -> None:
    assert keys.chain(["sha256:1", "sha256:2"]) != keys.chain(["sha256:2", "sha256:1"])
    assert keys.chain([]) == keys.chain([])
