"""The rules of ``cp``: what paths mean, and where a source goes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from minidock.containers import archive, copying
from minidock.containers.copying import Info
from minidock.errors import Conflict, InvalidArgument, MinidockError, NotFound


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("c:/a", ("c", "/a")),
        ("c:a:b", ("c", "a:b")),
        ("c:", ("c", "")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        (".a:b", ("", ".a:b")),
        ("../a:b", ("", "../a:b")),
        ("a", ("", "a")),
        ("-", ("", "-")),
        (":a", ("", "a")),
    ],
)
def test_arguments(argument: str, wanted: tuple[str, str]) -> None:
    assert copying.split_argument(argument) == wanted


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/a", ("/", "a")),
        ("/a/", ("/", "a")),
        ("/a/.", ("/a/", ".")),
        ("/a/./", ("/a/", ".")),
        ("/a/b/../c", ("/a/", "c")),
        ("//a//b", ("/a/", "b")),
        ("/", ("/", "")),
        ("/.", ("//", ".")),
        ("a", ("", "a")),
        ("", ("./", ".")),
    ],
)
def test_directory_and_entry(path: str, wanted: tuple[str, str]) -> None:
    assert copying.split_entry(path) == wanted


@pytest.mark.parametrize(
    ("path", "inside", "base"),
    [
        ("a", "/a", "a"),
        ("/a/", "/a/", "a"),
        ("/a/.", "/a/.", "."),
        ("/", "/", "/"),
        ("/.", "/.", "."),
        ("../../a", "/a", "a"),
        ("/a/../b/", "/b/", "b"),
        ("//a", "/a", "a"),
    ],
)
def test_paths_of_a_container(path: str, inside: str, base: str) -> None:
    assert archive.absolute(path) == inside
    assert archive.base(inside) == base


FILE, DIRECTORY = Info("/s/f", True, False), Info("/s/d", True, True)


@pytest.mark.parametrize(
    ("source", "destination", "wanted"),
    [
        (FILE, Info("/x", True, True), ("/x", "f")),
        (FILE, Info("/x", True, False), ("/", "x")),
        (FILE, Info("/x", False, False), ("/", "x")),
        (FILE._replace(rebase="link"), Info("/x", True, True), ("/x", "link")),
        (FILE._replace(rebase="link"), Info("/x", False, False), ("/", "x")),
        (DIRECTORY, Info("/x", True, True), ("/x", "d")),
        (DIRECTORY._replace(path="/s/d/."), Info("/x", True, True), ("/x", ".")),
        (DIRECTORY._replace(path="/s/d/."), Info("/x", False, False), ("/", "x")),
        (DIRECTORY, Info("/x/", False, False), ("/", "x")),
        (DIRECTORY, Info("/x/.", False, False), ("/x/", ".")),
        (DIRECTORY._replace(path="/"), Info("/x", True, True), ("/x", "/")),
        (DIRECTORY, Info("/x", True, False), Conflict),
        (FILE, Info("/x/", False, False), NotFound),
        (FILE, Info("", False, False), NotFound),
    ],
)
def test_where_a_source_goes(source: Info, destination: Info, wanted: tuple[str, str] | type[MinidockError]) -> None:
    if isinstance(wanted, tuple):
        assert copying.prepare(source, destination) == wanted
    else:
        with pytest.raises(wanted):
            copying.prepare(source, destination)


@pytest.mark.parametrize(
    ("path", "target", "wanted"),
    [
        ("/a/link", "/b/file", ("/b/file", "link")),
        ("/a/link", "/b/link", ("/b/link", "")),
        ("/a/link/", "/b/d", ("/b/d/", "link")),
        ("/a/link/.", "/b/d", ("/b/d/.", "")),
        ("/a/link", "/", ("/", "link")),
    ],
)
def test_names_of_what_links_lead_to(path: str, target: str, wanted: tuple[str, str]) -> None:
    assert copying.rebased(path, target) == wanted


def test_sources_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").touch()
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "broken").symlink_to("nowhere")
    here = str(tmp_path)

    def found(path: str, *, follow_link: bool = False) -> Info:
        return copying.host_source(f"{here}/{path}", follow_link=follow_link)

    assert found("d/f") == Info(f"{here}/d/f", True, False)
    assert found("link") == Info(f"{here}/link", True, False)
    assert found("link/") == Info(f"{here}/d/", True, True, "link")
    assert found("link/.") == Info(f"{here}/d/.", True, True)
    assert found("link", follow_link=True) == Info(f"{here}/d", True, True, "link")
    assert found("link/f") == Info(f"{here}/d/f", True, False)
    assert found("broken") == Info(f"{here}/broken", True, False)
    for path, follow_link in (("broken", True), ("none", False), ("d/f/", False), ("d/f/", True)):
        with pytest.raises(MinidockError):
            found(path, follow_link=follow_link)


def test_destinations_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").touch()
    for name, target in (("link", "d"), ("broken", "new"), ("lost", "no/new"), ("a", "b"), ("b", "a")):
        (tmp_path / name).symlink_to(target)
    here = str(tmp_path)

    def found(path: str) -> Info:
        return copying.host_destination(f"{here}/{path}")

    assert found("d") == Info(f"{here}/d", True, True)
    assert found("link") == Info(f"{here}/d", True, True)
    assert found("f") == Info(f"{here}/f", True, False)
    assert found("broken") == Info(f"{here}/new", False, False)
    assert found("none") == Info(f"{here}/none", False, False)
    with pytest.raises(InvalidArgument, match="too many symlinks"):
        found("a")
    with pytest.raises(NotFound, match=r"no: no such file|stat"):
        found("lost")
    with pytest.raises(NotFound, match="does not exist"):
        found("no/new")
    with pytest.raises(InvalidArgument, match="got a device"):
        copying.host_destination("/dev/null")


def test_relative_paths_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert copying.host_path("a/../b/") == f"{tmp_path}/b/"
    assert copying.host_path(".") == f"{tmp_path}/."
    assert copying.host_path("/x//y") == "/x/y"


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFREG | 0o6755, 12583405),
        (stat.S_IFDIR | 0o1777, 2148532735),
        (stat.S_IFDIR | 0o2755, 2151678445),
        (stat.S_IFLNK | 0o777, 134218239),
        (stat.S_IFCHR | 0o644, 69206436),
        (stat.S_IFBLK | 0o644, 67109284),
        (stat.S_IFIFO | 0o644, 33554852),
    ],
)
def test_modes_are_go_s(mode: int, wanted: int) -> None:
    """Docker has told these."""
    assert archive.go_mode(mode) == wanted
