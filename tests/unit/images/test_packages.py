"""Sources, package files and apt's words: the parts of ``image from-packages`` that need no archive."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from minidock.errors import Corrupt, Denied, InvalidArgument, MinidockError, NotFound, SystemFailure
from minidock.images import packages, packages_apt, packages_configure, packages_deb, reproducible
from minidock.images import packages_sources as sources
from minidock.images.packages_sources import Entry, Release
from minidock.security import seccomp

BOOKWORM = Release("debian", "bookworm")
DEBIAN = "http://deb.debian.org/debian"


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("debian:bookworm", BOOKWORM),
        ("debian:12", BOOKWORM),
        ("Debian:stable", Release("debian", "stable")),
        ("ubuntu:24.04", Release("ubuntu", "noble")),
    ],
)
def test_releases(text: str, release: Release) -> None:
    assert sources.parse_release(text) == release


@pytest.mark.parametrize(
    "text", ["", "debian", "debian:", "fedora:40", "debian:../x", "debian:a b", "debian:-x", "debian:" + "a" * 99]
)
def test_no_releases(text: str) -> None:
    with pytest.raises(InvalidArgument):
        sources.parse_release(text)


def test_names_of_packages() -> None:
    assert sources.split_words("curl,ca-certificates curl", "package") == ["curl", "ca-certificates"]
    assert sources.split_words(["g++", "libc6:i386", "hello=2.10-3"], "package") == [
        "g++",
        "libc6:i386",
        "hello=2.10-3",
    ]
    for bad in ("-o", "Dir::Etc=/", "./x.deb", "/x", "x;y", "?essential", "curl-", "a/../b", "x\ny/"):
        if bad != "curl-":  # a name may end so; apt asks whether there is one
            with pytest.raises(InvalidArgument):
                sources.split_words(bad, "package")


def test_one_line_sources() -> None:
    text = """
# a comment
deb http://deb.debian.org/debian bookworm main contrib # more
deb-src http://deb.debian.org/debian bookworm main
deb [arch=amd64 trusted=yes signed-by=/k.gpg] https://example.org/debian bookworm-updates main
deb http://flat.example.org ./
nonsense
"""
    assert sources.parse_list(text) == [
        Entry(DEBIAN, "bookworm", ("main", "contrib")),
        Entry("https://example.org/debian", "bookworm-updates", ("main",), (("signed-by", "/k.gpg"),)),
    ]


def test_deb822_sources() -> None:
    text = """Types: deb deb-src
# where it came from
URIs: http://a/debian http://b/debian
Suites: bookworm bookworm-updates
Components: main
Trusted: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 xyz

Types: deb
URIs: http://c
Suites: sid
Components: main
Enabled: no

Types: deb
URIs: http://flat
Suites: ./
"""
    key = (("signed-by", "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n xyz"),)
    assert sources.parse_deb822(text) == [
        Entry(f"http://{host}/debian", suite, ("main",), key)
        for suite in ("bookworm", "bookworm-updates")
        for host in ("a", "b")
    ]


def test_written_sources_read_back_without_passwords() -> None:
    entries = [
        Entry("https://user:secret@example.org/debian", "bookworm", ("main",), (("signed-by", "\n key\n more"),)),
        Entry(
            "https://user:secret@example.org/debian", "bookworm-updates", ("main",), (("signed-by", "\n key\n more"),)
        ),
        Entry("http://x/debian-security", "bookworm-security", ("main",), (("check-valid-until", "no"),)),
    ]
    assert sources.parse_deb822(sources.render(entries)) == entries
    text = sources.render(entries, public=True)
    assert "secret" not in text
    assert "URIs: https://example.org/debian\nSuites: bookworm bookworm-updates\n" in text
    assert "Check-Valid-Until: no" in text


HOST = [
    Entry(DEBIAN, "bookworm", ("main",)),
    Entry(DEBIAN, "bookworm-updates", ("main",)),
    Entry(DEBIAN, "bookworm-backports", ("main",)),
    Entry(DEBIAN + "-security", "bookworm-security", ("main",)),
    Entry("http://other/x", "nodistro", ("main",)),
]


def chosen(release: Release, host: list[Entry] = HOST, **options: object) -> list[tuple[str, str]]:
    found = sources.choose(host, release, host_distribution="debian", host_codename="bookworm", **options)  # type: ignore[arg-type]
    return [(entry.uri, entry.suite) for entry in found]


def test_entries_of_the_host() -> None:
    assert chosen(BOOKWORM) == [
        (DEBIAN, "bookworm"),
        (DEBIAN, "bookworm-updates"),
        (DEBIAN + "-security", "bookworm-security"),
    ]
    assert chosen(Release("debian", "trixie")) == [
        (DEBIAN, "trixie"),
        (DEBIAN, "trixie-updates"),
        (DEBIAN + "-security", "trixie-security"),
    ]
    assert chosen(Release("debian", "sid")) == [(DEBIAN, "sid")]
    assert chosen(Release("debian", "buster"))[-1] == (DEBIAN + "-security", "buster/updates")
    assert chosen(Release("ubuntu", "noble")) == []
    found = sources.choose(
        HOST, BOOKWORM, host_distribution="debian", host_codename="bookworm", components=["main", "contrib"]
    )
    assert {entry.components for entry in found} == {("main", "contrib")}


def test_public_archives() -> None:
    found = sources.public(Release("ubuntu", "noble"), "arm64", [], "/k.gpg")
    assert [(entry.uri, entry.suite) for entry in found] == [
        ("http://ports.ubuntu.com/ubuntu-ports", "noble"),
        ("http://ports.ubuntu.com/ubuntu-ports", "noble-updates"),
        ("http://ports.ubuntu.com/ubuntu-ports", "noble-security"),
    ]
    assert found[0].components == ("main", "universe")
    assert found[0].options == (("signed-by", "/k.gpg"),)
    assert [entry.suite for entry in sources.public(Release("debian", "sid"), "amd64", [], None)] == ["sid"]


def test_mirrors() -> None:
    assert sources.parse_mirror("http://m/debian", BOOKWORM, []) == [Entry("http://m/debian", "bookworm", ("main",))]
    line = "deb [signed-by=/k check-valid-until=no] http://m/d bookworm-security main contrib"
    options = (("signed-by", "/k"), ("check-valid-until", "no"))
    assert sources.parse_mirror(line, BOOKWORM, []) == [
        Entry("http://m/d", "bookworm-security", ("main", "contrib"), options)
    ]
    for bad in (
        "deb [trusted=yes] http://m x main",
        "deb [allow-insecure=yes] http://m x main",
        "deb [arch=amd64] http://m x main",
        "deb http://m",
        "m/debian",
        "http://m/debian\nTrusted: yes",
        "http://a http://b",
    ):
        with pytest.raises(InvalidArgument):
            sources.parse_mirror(bad, BOOKWORM, [])


def test_image_gets_keyrings_that_it_has() -> None:
    entries = [
        Entry(DEBIAN, "bookworm", ("main",), (("signed-by", "/usr/share/keyrings/debian-archive-keyring.gpg"),)),
        Entry(DEBIAN, "bookworm", ("main",), (("signed-by", "/etc/apt/keyrings/mine.gpg"), ("check-date", "no"))),
    ]
    kept = packages.image_entries(entries, {"debian-archive-keyring"})
    assert [entry.options for entry in kept] == [entries[0].options, (("check-date", "no"),)]
    assert packages.image_entries(entries, set())[0].options == ()


def test_time_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.newest(1000, [10, 2000, 1500]) == 2000
    assert packages.newest(1000, [10, 1 << 40]) == 1000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12")
    assert reproducible.source_date_epoch() == 12
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "-1")
    with pytest.raises(InvalidArgument):
        reproducible.source_date_epoch()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert reproducible.source_date_epoch() is None


# Package files


def member(name: str, data: bytes, *, size: str | None = None, end: bytes = b"`\n") -> bytes:
    head = f"{name:<16}{1234:<12}{0:<6}{0:<6}{'100644':<8}{len(data) if size is None else size:<10}".encode()
    return head + end + data + b"\n" * (len(data) % 2)


START = b"!<arch>\n" + member("debian-binary", b"2.0\n")
WHOLE = START + member("control.tar.xz", b"abc") + member("data.tar.zst", b"12345")


def test_data_of_a_package(tmp_path: Path) -> None:
    path = tmp_path / "x_1_all.deb"
    path.write_bytes(WHOLE)
    found = packages_deb.data_member(str(path))
    assert (found.name, found.size, found.mtime) == ("data.tar.zst", 5, 1234)
    assert WHOLE[found.offset : found.offset + found.size] == b"12345"
    signed = START + member("_gpgorigin", b"x") + member("control.tar", b"") + member("data.tar", b"") + b"trailing"
    path.write_bytes(signed)
    assert packages_deb.data_member(str(path)).size == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"!<arch>\n",
        b"!<thin>\n" + WHOLE[8:],
        START,
        WHOLE[:-3],
        START + member("data.tar.xz", b"1") + member("control.tar.xz", b"1"),
        START + member("control.tar.xz", b"1") + member("data.tar.lzma", b"1"),
        START + member("control.tar.xz", b"1") + member("../data.tar", b"1"),
        START + member("control.tar.xz", b"1", size="99999999999"),
        START + member("control.tar.xz", b"1", size="-1") + member("data.tar", b""),
        START + member("control.tar.xz", b"1", size="0x1"),
        START + member("control.tar.xz", b"1", end=b"xx"),
        b"!<arch>\n" + member("debian-binary", b"3.0\n") + WHOLE[len(START) :],
        b"!<arch>\n" + member("debian-binary", b"2" * 200) + WHOLE[len(START) :],
        b"!<arch>\n" + member("control.tar", b"") * 3,
    ],
)
def test_damaged_package(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x_1_all.deb"
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=r"package x_1_all\.deb: "):
        packages_deb.data_member(str(path))


def test_usr_is_merged(tmp_path: Path) -> None:
    for folder in ("bin", "lib/arch", "lib64", "usr/bin", "usr/lib/arch/deep"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("bin/sh", "usr/bin/env", "lib/arch/libc", "usr/lib/arch/libm", "lib64/ld"):
        (tmp_path / name).write_text(name)
    (tmp_path / "bin/link").symlink_to("/nowhere")
    packages_deb.merge_usr(str(tmp_path))
    assert {name: os.readlink(tmp_path / name) for name in ("bin", "sbin", "lib", "lib64")} == {
        "bin": "usr/bin",
        "sbin": "usr/sbin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
    }
    assert sorted(os.listdir(tmp_path / "usr/bin")) == ["env", "link", "sh"]
    assert sorted(os.listdir(tmp_path / "usr/lib/arch")) == ["deep", "libc", "libm"]
    assert not (tmp_path / "lib32").exists()
    packages_deb.merge_usr(str(tmp_path))  # nothing more to do


def test_usr_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/evil").write_text("")
    (tmp_path / "a/usr").symlink_to(outside)
    (tmp_path / "b/usr").mkdir()
    (tmp_path / "b/usr/bin").symlink_to(outside)
    for name in ("a", "b"):
        with pytest.raises(Corrupt):
            packages_deb.merge_usr(str(tmp_path / name))
    assert os.listdir(outside) == []


# What apt and dpkg say


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("E: Unable to locate package nope\n", NotFound, "unable to locate package nope"),
        ("E: Package 'x' has no installation candidate", NotFound, "no installation candidate"),
        (
            "W: GPG error: http://u:secret@h x InRelease: The following signatures couldn't be verified because the "
            "public key is not available: NO_PUBKEY 1234\n"
            "E: The repository 'http://u:secret@h x InRelease' is not signed.\n",
            Denied,
            "NO_PUBKEY 1234",
        ),
        (
            "E: The repository 'http://h nope Release' does not have a Release file.",
            NotFound,
            "does not have a Release",
        ),
        (
            "E: Failed to fetch http://h/x.deb  Hash Sum mismatch\n   Hashes of expected file:\n",
            Corrupt,
            "Hash Sum mismatch",
        ),
        (
            "E: Failed to fetch http://h/x.deb  File has unexpected size (1 != 2). Mirror sync in progress?",
            Corrupt,
            "x.deb",
        ),
        (" x : Depends: y but it is not installable\nE: Unable to correct problems", InvalidArgument, "x : Depends: y"),
        (
            "E: Failed to fetch http://h/x  Could not connect to h:80",
            SystemFailure,
            "could not connect|Could not connect",
        ),
        ("", SystemFailure, "apt ended with 100"),
    ],
)
def test_reasons_of_apt(text: str, kind: type[MinidockError], words: str) -> None:
    error = packages_apt.failure("do it", text, 100)
    assert type(error) is kind
    assert any(part in str(error) for part in words.split("|"))
    assert "secret" not in str(error)
    assert "\n" not in str(error)


def test_essential_packages_of_an_index() -> None:
    index = (
        b"Package: first\nEssential: yes\nPriority: required\n\nPackage: second\nPriority: required\n\n"
        b"Essential: yes\nPackage: third\n\nPackage: fourth\nDescription: Essential: yes\n"
    )
    assert list(packages_apt._stanzas_with(index, b"\nEssential: yes\n")) == ["first", "third"]
    assert list(packages_apt._stanzas_with(index, b"\nPriority: required\n")) == ["first", "second"]


def test_reason_of_dpkg() -> None:
    output = """Setting up x (1) ...
x: bad thing
dpkg: error processing package x (--configure):
 installed x package post-installation script subprocess returned error exit status 1
Errors were encountered while processing:
 x
"""
    found = packages_configure.reason(output)
    assert found.startswith("dpkg: error processing package x (--configure): installed x package post-installation")
    assert found.endswith("(x: bad thing)")
    assert packages_configure.reason("") == "no word of why"


def test_profile_differs_from_the_default_in_what_waits_for_the_disk() -> None:
    def answers(profile: bytes) -> dict[str, list[tuple[str, int | None]]]:
        found: dict[str, list[tuple[str, int | None]]] = {}
        resolved = seccomp.resolve(profile, ["CAP_CHOWN"], "amd64", (6, 1))
        for rule in json.loads(resolved)["syscalls"]:
            for name in rule["names"]:
                found.setdefault(name, []).append((rule["action"], rule.get("errnoRet")))
        return found

    ours, default = answers(packages_configure.profile().encode()), answers(seccomp.default_profile())
    changed = {name for name in ours.keys() | default.keys() if ours.get(name) != default.get(name)}
    assert changed == {"fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "sync_file_range2", "msync"}
    assert {tuple(ours[name]) for name in changed} == {(("SCMP_ACT_ERRNO", 0),)}
