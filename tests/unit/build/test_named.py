"""Names of contexts, places of layouts, and annotations, as texts."""

from __future__ import annotations

import os

import pytest

from minidock.build import annotating, layouts, named, outputs
from minidock.errors import InvalidArgument

DIGEST = "sha256:" + "a" * 64


def test_names_that_are_the_same() -> None:
    for name in ("base", "base:latest", "docker.io/library/base", "index.docker.io/library/base:latest"):
        assert named.canonical(name) == "base"
    assert named.canonical("base:1") == "base:1"
    assert named.canonical("quay.io/a/b") == "quay.io/a/b"
    assert named.given({"a/b:latest": "."}) == {"a/b": "."}
    for name in ("Base", "", "a b", "-"):
        with pytest.raises(InvalidArgument, match="invalid context name"):
            named.given({name: "."})
    with pytest.raises(InvalidArgument, match="is needed"):
        named.given({"base": ""})


@pytest.mark.parametrize(
    ("text", "path", "tag", "digest"),
    [
        ("/a", "/a", "latest", ""),
        ("/a:b", "/a", "b", ""),
        (f"/a@{DIGEST}", "/a", "latest", DIGEST),
        (f"/a:b@{DIGEST}", "/a", "b", DIGEST),
        ("/a:b/c", "/a:b/c", "latest", ""),
        ("./x/../a", os.path.abspath("a"), "latest", ""),
    ],
)
def test_layouts(text: str, path: str, tag: str, digest: str) -> None:
    assert layouts.parse(text) == (path, tag, digest)


@pytest.mark.parametrize("text", ["", ":a", "/a@", "/a@sha256:1", "/a:", "/a:b c", f"@{DIGEST}"])
def test_layouts_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="oci-layout://"):
        layouts.parse(text)


def test_annotations() -> None:
    found = annotating.parse(["a=b=c", "manifest,manifest-descriptor[linux/arm64]:x:y=", "=z"])
    assert [(one.kind, str(one.platform or ""), one.key, one.value) for one in found] == [
        ("manifest", "", "a", "b=c"),
        ("manifest", "", "x:y", ""),
        ("manifest-descriptor", "linux/arm64", "x:y", ""),
        ("manifest", "", "", "z"),
    ]
    made = outputs.parse("type=oci,dest=-,annotation.a=b,annotation-manifest-descriptor[linux/arm64].C.d=E")
    assert made.annotations == ("manifest:a=b", "manifest-descriptor[linux/arm64]:C.d=E")
    for text in ("type=oci,dest=-,annotations.a=b", "type=oci,dest=-,annotation=b"):
        with pytest.raises(InvalidArgument):
            outputs.parse(text)
