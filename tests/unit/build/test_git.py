"""URLs of repositories: what could mean something else to git is refused (CVE-2019-13139)."""

from __future__ import annotations

import pytest

from minidock.build import git
from minidock.errors import InvalidArgument


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("https://h/r.git", ("https://h/r.git", "", "")),
        ("https://h/r.git#v1.0:sub/dir", ("https://h/r.git", "v1.0", "sub/dir")),
        ("https://h/r.git#:/sub/./x/", ("https://h/r.git", "", "sub/x")),
        ("git@h:o/r.git#main", ("git@h:o/r.git", "main", "")),
        ("github.com/o/r", ("https://github.com/o/r", "", "")),
        ("https://h/r.git?ref=v1&subdir=a%2Fb", ("https://h/r.git", "v1", "a/b")),
        ("https://h/r.git?branch=b&subdir=d#:d", ("https://h/r.git", "refs/heads/b", "d")),
        ("ssh://h/r.git?tag=t", ("ssh://h/r.git", "refs/tags/t", "")),
        ("https://h/r.git?ref=v1#v1", ("https://h/r.git", "v1", "")),
        ("https://h/r.git?", ("https://h/r.git", "", "")),
    ],
)
def test_urls(url: str, meant: tuple[str, str, str]) -> None:
    assert git.is_repository(url)
    assert git.parse(url)[:3] == meant


def test_what_a_query_says_besides() -> None:
    found = git.parse("https://h/r.git?checksum=abc&keep-git-dir&submodules=0")
    assert (found.checksums, found.keep_git, found.submodules) == (("abc",), True, False)
    assert git.parse("https://h/r.git?commit=abc")[3:] == (("abc",), False, True)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("?foo=1", 'unexpected query "foo"'),
        ("?REF=a", 'unexpected query "REF"'),
        ("?ref", 'query "ref" has no value'),
        ("?ref=a&ref=b", 'query "ref" has multiple values'),
        ("?ref=v1#side", 'ref conflicts: "side" vs "v1"'),
        ("?ref=a&branch=a", 'ref conflicts: "a" vs "refs/heads/a"'),
        ("?branch=a&tag=b", "branch conflicts with tag"),
        ("?subdir=/a#:a", 'subdir conflicts: "a" vs "/a"'),
        ("?submodules=x", 'invalid submodules value: "x"'),
        ("?ref=--upload-pack%3Dx", "is no branch, tag or commit"),
        ("?branch=a..b", "is no branch, tag or commit"),
        ("?subdir=../x", "leaves it"),
    ],
)
def test_queries_that_make_no_sense(rest: str, words: str) -> None:
    """In the words of Docker 28, but for the last ones."""
    with pytest.raises(InvalidArgument) as caught:
        git.parse(f"https://h/r.git{rest}")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://h/r.git#--upload-pack=touch /tmp/M",
        "https://h/r.git#-b",
        "https://h/r.git#a..b",
        "https://h/r.git#main:../../etc",
        "https://-oProxyCommand=x/r.git",
        "ssh://-oProxyCommand=touch/r.git",
        "git@-oProxyCommand=x:r.git",
        "ext::sh -c touch% M .git",
        "--upload-pack=x .git",
        "file:///etc/r.git",
        "https://h/r .git",
    ],
)
def test_options_do_not_get_through(url: str) -> None:
    with pytest.raises(InvalidArgument):
        git.parse(url)


@pytest.mark.parametrize("text", ["a.git", "dir/r.git", "https://h/file.tgz", "file", "."])
def test_files_are_no_repositories(text: str) -> None:
    assert not git.is_repository(text)


def test_credentials_are_not_shown() -> None:
    assert git.parse("https://me:token@h/r.git#main").shown == "https://h/r.git"
    assert git.parse("git@h:o/r.git").shown == "git@h:o/r.git"
    with pytest.raises(InvalidArgument) as caught:
        git.parse("https://me:token@h/r.git#a..b")
    assert "token" not in str(caught.value)
    with pytest.raises(InvalidArgument) as caught:
        git.parse("https://me:token@[h/r.git#a..b")
    assert "token" not in str(caught.value)
