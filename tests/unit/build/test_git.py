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
    ],
)
def test_urls(url: str, meant: tuple[str, str, str]) -> None:
    assert git.is_repository(url)
    assert tuple(git.parse(url)) == meant


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
