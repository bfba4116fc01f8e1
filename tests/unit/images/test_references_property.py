"""The grammar of references against the distribution project's, written out as one regular expression."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minidock.errors import InvalidArgument
from minidock.images import references
from minidock.images.references import Reference

# reference.go: name [":" tag] ["@" digest]; name = [domain "/"] path-component ["/" path-component]*
LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN = rf"(?:{LABEL}(?:\.{LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
PATH = rf"{COMPONENT}(?:/{COMPONENT})*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = r"(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128})"
REST = rf"(?P<path>{PATH})(?::(?P<tag>{TAG}))?(?:@(?P<digest>{DIGEST}))?"
WITH_DOMAIN = re.compile(rf"(?P<domain>{DOMAIN})/{REST}")
WITHOUT = re.compile(REST)


def oracle(text: str) -> Reference | None:
    """normalize.go's ParseNormalizedNamed, by regular expressions; None for what it refuses."""
    name = text.partition("@")[0]
    first, slash, _ = name.partition("/")
    host = bool(slash) and (
        "." in first or ":" in first or first == "localhost" or any("A" <= char <= "Z" for char in first)
    )
    found = WITH_DOMAIN.fullmatch(text) if host else WITHOUT.fullmatch(text)
    if not found:
        return None
    domain, path = found["domain"] if host else "docker.io", found["path"]
    if domain == "index.docker.io":
        domain = "docker.io"
    if re.fullmatch("(library/)?[a-f0-9]{64}", path) and domain == "docker.io":
        return None  # the project refuses the bare text only; what is shown like it would be an image id, too
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return Reference(domain, path, found["tag"], found["digest"]) if len(path) <= 255 else None


def check(text: str) -> Reference | None:
    expected = oracle(text)
    if expected is None:
        with pytest.raises(InvalidArgument, match="invalid reference"):
            references.parse(text)
        return None
    parsed = references.parse(text)
    assert parsed == expected
    # What it is called leads back to it.
    assert references.parse(parsed.canonical) == parsed
    assert references.parse(parsed.familiar) == parsed
    assert references.from_canonical(parsed.canonical) == parsed
    assert parsed.name == f"{parsed.domain}/{parsed.path}"
    named = parsed.with_default_tag()
    assert named.tag is not None or named.digest is not None
    assert named.with_default_tag() == named
    return parsed


LETTERS = st.text("abz019", min_size=1, max_size=4)
SEPARATOR = st.sampled_from([".", "_", "__", "-", "--", "-----", "..", "___", "._", "-_", ""])
parts = st.lists(LETTERS | SEPARATOR, min_size=1, max_size=4).map("".join)
hosts = st.sampled_from(
    [
        "docker.io",
        "index.docker.io",
        "localhost",
        "localhost:5000",
        "REGISTRY",
        "a.b-c.example:443",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:5000",
        "[fe80::1%eth0]",
        "[]",
        "a..b",
        "-a.b",
        "a.b-",
        "a.b:",
        "a.b:x",
        "a_b.c",
        ".a",
        "ex\u00e4mple.com",
    ]
)
hexes = st.sampled_from([32, 63, 64, 65, 96, 128]).flatmap(
    lambda n: st.text("0123456789abcdef", min_size=n, max_size=n)
)
digests = st.builds("{}:{}".format, st.sampled_from(["sha256", "sha384", "sha512", "md5", "SHA256", ""]), hexes)
tags = st.text("aZ0_.-/:@ \u00e4", max_size=5) | st.sampled_from(["x" * 128, "x" * 129, "latest"])
references_like = st.builds(
    lambda host, path, tag, digest: (
        (f"{host}/" if host is not None else "")
        + "/".join(path)
        + (f":{tag}" if tag is not None else "")
        + (f"@{digest}" if digest is not None else "")
    ),
    st.none() | hosts,
    st.lists(parts | hexes, min_size=1, max_size=4),
    st.none() | tags,
    st.none() | digests,
)


@given(references_like)
@example("a" * 64)
@example("library/" + "a" * 64)
@example("docker.io/" + "a" * 64)
@example("localhost/" + "a" * 64)
@example("x/" * 127 + "x")
@example("x" * 255)
@example("x" * 247)
@example("x" * 248)
@example("a.b/" + "x" * 256)
@example("a@sha256:" + "A" * 64)
@example("a@b@sha256:" + "a" * 64)
@example("docker.io/library/a")
@example("index.docker.io/a")
@example("docker.io:443/a")
@example("localhost")
@example("localhost:5000")
@example("a:5000/b")
@example("A/b")
@example("a/B")
@example("docker.io/docker.io")
@example("docker.io/localhost/x")
@example("docker.io/a.b/c")
@example("library/localhost/x")
@example("")
@example("/")
@example("a/")
@example("a//b")
@example(":tag")
@example("a:")
@example("a@")
@example("a\n")
@example("a:b\n")
@example("\u0661")
def test_agrees_with_the_distribution_project(text: str) -> None:
    check(text)


@given(st.text("abZ0/:.@-_[]%\n\0\u00e4\u0130\u0661", max_size=20))
def test_any_text(text: str) -> None:
    check(text)


@given(st.text(max_size=300))
def test_any_text_at_all(text: str) -> None:
    check(text)


@given(tags)
def test_tags(tag: str) -> None:
    assert references.is_tag(tag) == bool(re.fullmatch(TAG, tag))


@given(digests | st.text(max_size=80))
def test_digests(digest: str) -> None:
    assert references.is_digest(digest) == bool(re.fullmatch(DIGEST, digest))


@given(st.text("0123456789abcdefAg:sh", max_size=70))
def test_ids(text: str) -> None:
    found = references.id_digits(text)
    digits = text.removeprefix("sha256:")
    assert found == (digits if re.fullmatch("[0-9a-f]{1,64}", digits) else None)
