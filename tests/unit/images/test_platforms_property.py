"""Which images run on which platforms: containerd's rules, written out as lists."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import ImageNotFound
from minidock.images import manifests, platforms
from minidock.images.platforms import Platform
from minidock.spec.oci_image import MANIFEST, Descriptor, Index
from minidock.spec.oci_image import Platform as Entry

ARM = ["arm/v8", "arm/v7", "arm/v6", "arm/v5"]
V8 = [f"arm64/v8.{n}" for n in range(9, 0, -1)] + ["arm64/v8"]
# What an image for each of them may be made for, best first; SAME says what "amd64" and the like stand for.
RUNS = {
    "amd64": ["amd64/v1", "386"],
    "amd64/v3": ["amd64/v3", "amd64/v2", "amd64/v1", "386"],
    "386": ["386"],
    "arm": ARM[1:],
    "arm/v8": ARM,
    "arm/v6": ARM[2:],
    "arm/v5": ARM[3:],
    "arm64": ["arm64/v8", *ARM],
    "arm64/v8.2": ["arm64/v8.2", "arm64/v8.1", "arm64/v8", *ARM],
    "arm64/v9": ["arm64/v9", *V8[4:], *ARM],
    "arm64/v9.2": ["arm64/v9.2", "arm64/v9.1", "arm64/v9", *V8[2:], *ARM],
    "arm64/v9.6": ["arm64/v9.6", *(f"arm64/v9.{n}" for n in range(5, 0, -1)), "arm64/v9", *V8, *ARM],
    "riscv64": ["riscv64"],
    "s390x": ["s390x"],
    "mips64le": ["mips64le"],
    "ppc64le": ["ppc64le"],
}
SAME = {"amd64": "amd64/v1", "arm": "arm/v7", "arm64": "arm64/v8", "arm64/v8.0": "arm64/v8", "arm64/v9.0": "arm64/v9"}
EVERY = sorted({one for runs in RUNS.values() for one in runs} | SAME.keys())


def platform(text: str, system: str = "linux") -> Platform:
    architecture, _, variant = text.partition("/")
    return Platform(system, architecture, variant)


@given(st.sampled_from(sorted(RUNS)), st.sampled_from(EVERY))
def test_what_runs_where(wanted: str, made_for: str) -> None:
    runs, plain = RUNS[wanted], SAME.get(made_for, made_for)
    expected = runs.index(plain) if plain in runs else None
    assert platform(wanted).rank(platform(made_for)) == expected
    assert platform(wanted).accepts(platform(made_for)) == (expected is not None)
    assert platform(wanted).rank(platform(made_for, "windows")) is None


@given(st.sampled_from(sorted(RUNS)), st.lists(st.sampled_from(EVERY), unique=True, max_size=8))
def test_the_best_of_an_index(wanted: str, there: list[str]) -> None:
    entries = [
        Descriptor(
            MANIFEST,
            f"sha256:{number:064x}",
            2,
            platform=Entry(one.partition("/")[0], "linux", variant=one.partition("/")[2]),
        )
        for number, one in enumerate(there)
    ]
    ranks = [rank for one in there if (rank := platform(wanted).rank(platform(one))) is not None]
    if not ranks:
        with pytest.raises(ImageNotFound) as caught:
            manifests.choose(Index(2, entries), platform(wanted), "x")
        assert all(one in str(caught.value) for one in there)
        return
    chosen = manifests.choose(Index(2, entries), platform(wanted), "x")
    assert platform(wanted).rank(platform(there[entries.index(chosen)])) == min(ranks)


words = st.text("abcdefghijklmnopqrstuvwxyz0123456789.v", max_size=8)


@given(st.builds(Platform, words, words, words), st.builds(Platform, words, words, words))
def test_any_words(one: Platform, other: Platform) -> None:
    """Nothing that an image says breaks anything; each fits itself, and better than all else."""
    assert one.rank(one) == 0
    rank = one.rank(other)
    assert rank is None or rank >= 0
    assert str(one) == str(one)


@given(st.sampled_from(EVERY), st.sampled_from(EVERY), st.sampled_from(EVERY))
def test_transitive(one: str, two: str, three: str) -> None:
    if platform(one).accepts(platform(two)) and platform(two).accepts(platform(three)):
        assert platform(one).accepts(platform(three))


def test_ranks_rise() -> None:
    for wanted, runs in RUNS.items():
        ranks = [platform(wanted).rank(platform(one)) for one in runs]
        assert all(before is not None and after is not None and before < after for before, after in pairwise(ranks))
    assert platforms.host().rank(platforms.host()) == 0
