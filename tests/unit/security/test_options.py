"""--security-opt, by Docker's rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock import errors
from minidock.security.options import SecurityOptions, load_files, parse


def test_nothing_said() -> None:
    assert parse([]) == SecurityOptions()


@pytest.mark.parametrize("separator", ["=", ":"])
def test_both_separators(separator: str) -> None:
    options = parse(
        [
            f"seccomp{separator}unconfined",
            f"apparmor{separator}my-profile",
            f"no-new-privileges{separator}true",
            f"label{separator}level:s0:c1,c2",
            f"label{separator}type:my_t",
            f"systempaths{separator}unconfined",
            f"writable-cgroups{separator}1",
        ]
    )
    assert options == SecurityOptions(
        seccomp="unconfined",
        apparmor="my-profile",
        no_new_privileges=True,
        labels={"level": "s0:c1,c2", "type": "my_t"},
        systempaths_unconfined=True,
        writable_cgroups=True,
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("no-new-privileges", True),
        ("no-new-privileges=T", True),
        ("no-new-privileges:1", True),
        ("no-new-privileges=false", False),
        ("no-new-privileges=F", False),
    ],
)
def test_no_new_privileges(option: str, expected: bool) -> None:
    assert parse([option]).no_new_privileges is expected


def test_later_option_counts() -> None:
    assert parse(["seccomp=unconfined", "seccomp=builtin"]).seccomp == "builtin"
    assert parse(["no-new-privileges", "no-new-privileges=false"]).no_new_privileges is False


def test_labels() -> None:
    assert parse(["label=disable"]).label_disable
    for bad in ("label=foo", "label=user:", "label=:x", "label=users:x"):
        with pytest.raises(errors.InvalidArgument, match="bad label option"):
            parse([bad])


@pytest.mark.parametrize(
    "option",
    [
        "foo",
        "foo=bar",
        "seccomp",
        "seccomp=",
        "disable",
        "label",
        "",
        "=",
        "no-new-privileges=x",
        "no-new-privileges=",
        "no-new-privileges:TruE",
        "systempaths=foo",
        "writable-cgroups",
        "writable-cgroups=yes",
    ],
)
def test_invalid(option: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        parse([option])
    assert str(caught.value) == f'invalid --security-opt: "{option}"'


def test_nul_byte_is_an_error() -> None:
    with pytest.raises(errors.InvalidArgument, match="contains a NUL byte"):
        parse(["apparmor=a\0b"])


def test_profile_file_is_stored_as_text(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{\n  "defaultAction": "SCMP_ACT_ALLOW",\n "x": [1, 2]}\n')
    loaded = load_files(["no-new-privileges", f"seccomp={path}", "seccomp:unconfined"])
    assert loaded == ["no-new-privileges", 'seccomp={"defaultAction":"SCMP_ACT_ALLOW","x":[1,2]}', "seccomp:unconfined"]
    assert load_files(loaded) == loaded, "what is loaded stays"
    assert parse(loaded[:2]).seccomp == '{"defaultAction":"SCMP_ACT_ALLOW","x":[1,2]}'
    path.unlink()
    with pytest.raises(errors.InvalidArgument) as caught:
        load_files([f"seccomp={path}"])
    assert str(caught.value) == f"opening seccomp profile ({path}) failed: no such file or directory"


@pytest.mark.parametrize("text", ["", "{", "not json", "{} {}"])
def test_profile_file_that_is_no_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(errors.InvalidArgument, match="compacting json for seccomp profile"):
        load_files([f"seccomp={path}"])


def test_profile_file_that_is_huge_or_no_file(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(errors.InvalidArgument, match="is over 1048576 bytes"):
        load_files([f"seccomp={path}"])
    with pytest.raises(errors.InvalidArgument, match="is a directory"):
        load_files([f"seccomp={tmp_path}"])
