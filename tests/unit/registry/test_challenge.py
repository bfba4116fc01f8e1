"""WWW-Authenticate: what servers send, and anything else."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.registry.challenge import Challenge, parse

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            HUB,
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:library/busybox:pull",
                    },
                )
            ],
        ),
        ('Basic realm="a, \\"b\\" \\\\ = c"', [Challenge("basic", {"realm": 'a, "b" \\ = c'})]),
        ("Basic", [Challenge("basic", {})]),
        ("Negotiate, Basic realm=x", [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ("NTLM TlRMTVNTUAAC==, Basic realm=x", [Challenge("ntlm", {}), Challenge("basic", {"realm": "x"})]),
        (
            'Basic realm="a", charset=UTF-8, Bearer realm="b" , scope="c,d"',
            [
                Challenge("basic", {"realm": "a", "charset": "UTF-8"}),
                Challenge("bearer", {"realm": "b", "scope": "c,d"}),
            ],
        ),
        ("bEARER REALM=https://x/token,Service=y", [Challenge("bearer", {"realm": "https://x/token", "service": "y"})]),
        (' ,, Bearer  realm = "x" ,,\tservice\t=\ty ,', [Challenge("bearer", {"realm": "x", "service": "y"})]),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ('Bearer realm=""', [Challenge("bearer", {"realm": ""})]),
        # what is no challenge ends it
        ("", []),
        ("=", []),
        ('"x"', []),
        ('Bearer realm="x', []),
        ('Bearer realm="x\\', []),
        ('Bearer realm="x" service="y"', []),
        ('Basic realm="x", ="y"', []),
        ('Basic realm="x", Bearer realm="y', [Challenge("basic", {"realm": "x"})]),
        ("Basic " + ", ".join(f"a{n}=b" for n in range(100)), []),
        ("Basic realm=" + "x" * 20_000, []),
    ],
)
def test_header(header: str, expected: list[Challenge]) -> None:
    assert parse([header]) == expected


def test_several_headers() -> None:
    assert [challenge.scheme for challenge in parse(["Bearer realm=x", "Basic realm=y", "?/"])] == ["bearer", "basic"]
    assert len(parse(["Basic realm=x"] * 100)) == 16
    assert len(parse([", ".join(["Basic realm=x"] * 100)])) == 16


token = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)
value = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
parameters = st.dictionaries(token.map(str.lower), value, min_size=1, max_size=6)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[Challenge]]:
    """Challenges, and one of the ways to write them."""
    text: list[str] = []
    expected = []
    for scheme, found in draw(st.lists(st.tuples(token, parameters), min_size=1, max_size=4)):
        space = st.sampled_from(["", " ", "\t "])
        parts = []
        for name, content in found.items():
            quoted = '"' + content.replace("\\", "\\\\").replace('"', '\\"') + '"'
            plain = bool(content) and not set(content) & set(' \t,"')
            chosen = draw(st.sampled_from([quoted, content] if plain else [quoted]))
            parts.append(f"{draw(st.sampled_from([name, name.upper()]))}{draw(space)}={draw(space)}{chosen}")
        text.append(f"{scheme} " + f"{draw(space)},{draw(space)}".join(parts))
        expected.append(Challenge(scheme.lower(), {k.lower(): v for k, v in found.items()}))
    return ", ".join(text), expected


@settings(deadline=None)
@given(written())
def test_what_is_written_is_read(case: tuple[str, list[Challenge]]) -> None:
    text, expected = case
    found = parse([text])
    assert found == expected


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from('Bearerlm=",\\ \t;xXy/:é\0'), max_size=60), max_size=3))
def test_anything(headers: list[str]) -> None:
    for challenge in parse(headers):
        assert challenge.scheme
        assert all(name and name == name.lower() for name in challenge.parameters)
