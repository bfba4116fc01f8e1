"""The grammar of references, Docker Hub's defaults, and familiar names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidArgument
from minidock.images import references

HEX64 = "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("me/app", "docker.io/me/app", "me/app"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("foo.bar", "docker.io/library/foo.bar", "foo.bar"),
        ("docker.io/foo.bar/x", "docker.io/foo.bar/x", "docker.io/foo.bar/x"),
        ("UPPER/app", "UPPER/app", "UPPER/app"),
        ("a__b/c-----d.e", "docker.io/a__b/c-----d.e", "a__b/c-----d.e"),
        (f"app:1@sha256:{HEX64}", f"docker.io/library/app:1@sha256:{HEX64}", f"app:1@sha256:{HEX64}"),
        (HEX64[:63], "docker.io/library/" + HEX64[:63], HEX64[:63]),
    ],
)
def test_good_references(text: str, canonical: str, familiar: str) -> None:
    parsed = references.parse(text)
    assert parsed.canonical == canonical
    assert parsed.familiar == familiar
    assert references.from_canonical(canonical) == parsed
    assert references.parse(parsed.familiar) == parsed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("Foo", "must be lowercase"),
        ("me/App", "must be lowercase"),
        ("a..b", "separated"),
        ("a___b", "separated"),
        ("a._b", "separated"),
        ("-a", "separated"),
        ("a-", "separated"),
        ("a//b", "separated"),
        ("/a", "separated"),
        ("a/", "separated"),
        ("a\nb", "separated"),
        ("a b", "separated"),
        ("ä", "separated"),
        ("../../etc", "not a host"),
        ("a:", "tag ''"),
        ("a:-x", "tag"),
        ("a:" + "x" * 129, "tag"),
        ("a:b:c", "separated"),
        ("a@sha256:abc", "digest"),
        ("a@md5:" + "a" * 32, "digest"),
        ("a@sha256:" + "A" * 64, "digest"),
        ("host:80a/x", "not a host name"),
        ("-host.x/x", "not a host name"),
        ("[::1/x", "not a host name"),
        (HEX64, "image id"),
        ("x/" * 200 + "x", "longer than 255"),
    ],
)
def test_bad_references(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid reference format") as caught:
        references.parse(text)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


_component = st.from_regex(r"[a-z0-9]{1,6}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
_domain = st.one_of(
    st.just("docker.io"),
    st.from_regex(r"[a-z0-9]{1,5}(?:-[a-z0-9]{1,3})?(?:\.[a-z]{2,3}){1,2}(?::[0-9]{1,5})?", fullmatch=True),
    st.just("localhost"),
)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_digest = st.from_regex(r"[0-9a-f]{64}", fullmatch=True).map("sha256:".__add__)


@given(_domain, st.lists(_component, min_size=1, max_size=4), st.none() | _tag, st.none() | _digest)
def test_every_reference_survives_both_of_its_forms(
    domain: str, parts: list[str], tag: str | None, digest: str | None
) -> None:
    text = "/".join([domain, *parts]) + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    parsed = references.parse(text)
    assert (parsed.tag, parsed.digest) == (tag, digest)
    assert references.parse(parsed.canonical) == parsed
    assert references.parse(parsed.familiar) == parsed
    assert references.from_canonical(parsed.canonical) == parsed


@given(st.text(max_size=60) | st.from_regex(r"[a-zA-Z0-9:/@._\-\[\]]{0,40}", fullmatch=True))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parsed = references.parse(text)
    except InvalidArgument:
        return
    assert references.parse(parsed.canonical) == parsed
    # What is accepted is safe as part of a file name and of a URL.
    assert not set(parsed.canonical) & set(" \t\n\\?#%\0'\"")
    assert ".." not in parsed.path


@pytest.mark.parametrize(
    ("text", "digits"),
    [("abc123", "abc123"), ("sha256:abc", "abc"), (HEX64, HEX64), ("sha256:", None), ("xyz", None), ("a" * 65, None)],
)
def test_image_ids(text: str, digits: str | None) -> None:
    assert references.id_digits(text) == digits
