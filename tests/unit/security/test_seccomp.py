"""Profiles in Docker's form: resolving and the cache of compiled filters."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from minidock import errors
from minidock.security import capabilities, seccomp

KERNEL = (6, 1)


def resolve(profile: Any, caps: Any = (), arch: str = "amd64", kernel: tuple[int, int] = KERNEL) -> Any:
    text = profile if isinstance(profile, bytes) else json.dumps(profile).encode()
    return json.loads(seccomp.resolve(text, caps, arch, kernel))


def rule(call: str, /, **more: Any) -> dict[str, Any]:
    return {"names": [call], "action": "SCMP_ACT_ALLOW", **more}


def names(document: Any) -> list[str]:
    return [name for r in document["syscalls"] for name in r["names"]]


def profile(*rules: Any, **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **more}


def test_plain_profile_is_passed_on() -> None:
    arg = {"index": 1, "value": 2**64 - 1, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}
    document = resolve(
        profile(
            rule("read", args=[arg], comment="why"),
            {"name": "write", "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            defaultErrnoRet=1,
            architectures=["SCMP_ARCH_X86_64"],
            flags=["SECCOMP_FILTER_FLAG_LOG"],
        )
    )
    assert document == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [arg]},
            {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }


def test_architecture_map() -> None:
    both = profile(
        archMap=[
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
        ]
    )
    assert resolve(both)["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert resolve(both, arch="arm64")["architectures"] == ["SCMP_ARCH_AARCH64"]
    assert "architectures" not in resolve(both, arch="riscv64")


def test_includes_and_excludes() -> None:
    rules = [
        rule("a", includes={"caps": ["CAP_BPF", "CAP_KILL"]}),
        rule("b", excludes={"caps": ["CAP_BPF", "CAP_KILL"]}),
        rule("c", includes={"arches": ["arm64", "amd64"]}),
        rule("d", excludes={"arches": ["amd64"]}),
        rule("e", includes={"minKernel": "6.2"}),
        rule("f", excludes={"minKernel": "6.1"}),
        rule("g", includes={}, excludes={}),
    ]
    assert names(resolve(profile(*rules))) == ["b", "c", "g"]
    assert names(resolve(profile(*rules), caps=["CAP_BPF"])) == ["c", "g"]
    assert names(resolve(profile(*rules), caps=["CAP_BPF", "CAP_KILL"])) == ["a", "c", "g"]
    assert names(resolve(profile(*rules), arch="riscv64", kernel=(6, 10))) == ["b", "d", "e", "g"]
    assert names(resolve(profile(*rules), kernel=(5, 19))) == ["b", "c", "f", "g"]


def test_podmans_errno_names() -> None:
    document = resolve(
        profile({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM", "errnoRet": 5}, defaultErrno="ENOSYS")
    )
    assert document["defaultErrnoRet"] == 38
    assert document["syscalls"][0]["errnoRet"] == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "truncated"),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "missing required field `defaultAction`"),
        (b"\xff\xfe", "malformed"),
        (b'{"defaultAction":"SCMP_ACT_ALLOW","default":1}', "unknown field `default`"),
        (
            b'{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW","arg":[]}]}',
            "unknown field `arg`",
        ),
        (b'{"defaultAction":"ALLOW"}', 'defaultAction has the unknown action "ALLOW"'),
        (b'{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}', "gives an errno to SCMP_ACT_ALLOW"),
        (b'{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}', "has the errno 4096"),
        (b'{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EWHAT"}', 'unknown errno "EWHAT"'),
        (json.dumps(profile(rule("a", action="SCMP_ACT_NONE"))).encode(), "syscalls[0] has the unknown action"),
        (json.dumps(profile(rule("a", name="b"))).encode(), "both name and names"),
        (
            json.dumps(profile(rule("a", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]))).encode(),
            "argument index 6",
        ),
        (json.dumps(profile(rule("a", args=[{"index": 0, "value": 0, "op": "EQ"}]))).encode(), 'unknown operator "EQ"'),
        (
            json.dumps(profile(rule("a", args=[{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]))).encode(),
            "no unsigned 64-bit number",
        ),
        (json.dumps(profile(rule("a", includes={"minKernel": "4"}))).encode(), 'minKernel "4"'),
        (
            json.dumps(profile(architectures=["SCMP_ARCH_X86"], archMap=[{"architecture": "SCMP_ARCH_X86"}])).encode(),
            "both architectures and archMap",
        ),
        (b"[" * 100_000, "decoding seccomp profile failed"),
        (b" " * (1 << 20) + b"{}", "is over 1048576 bytes"),
    ],
)
def test_mistakes_are_one_line_errors(text: bytes, why: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        seccomp.resolve(text, (), "amd64", KERNEL)
    assert why in str(caught.value).lower() or why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistake_in_a_rule_that_does_not_apply_is_an_error_too() -> None:
    hidden = rule("a", action="NONSENSE", includes={"arches": ["riscv64"]})
    with pytest.raises(errors.InvalidArgument, match="NONSENSE"):
        resolve(profile(hidden))


def test_default_profile_resolves_everywhere() -> None:
    for arch in ("amd64", "arm64"):
        for caps in ((), capabilities.DEFAULT, capabilities.NAMES):
            document = resolve(seccomp.default_profile(), caps, arch)
            assert document["defaultAction"] == "SCMP_ACT_ERRNO"
            assert "read" in names(document)


def test_compiled_filter_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "seccomp"
    path = Path(seccomp.compiled(str(directory), None, capabilities.DEFAULT))
    assert path.parent == directory
    assert path.read_bytes().startswith(b"MDSF")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    def fail(*_: Any) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(seccomp, "_compile", fail)
    assert seccomp.compiled(str(directory), None, reversed(capabilities.DEFAULT)) == str(path)


def test_key_holds_all_that_the_filter_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(profile(rule("read"))).encode()
    other = json.dumps(profile(rule("write"))).encode()
    paths = {
        seccomp.compiled(str(tmp_path), text, ()),
        seccomp.compiled(str(tmp_path), other, ()),
        seccomp.compiled(str(tmp_path), text, ["CAP_KILL"]),
    }
    machine, _ = seccomp._host()
    monkeypatch.setattr(seccomp, "_host_facts", (machine, (4, 7)))
    paths.add(seccomp.compiled(str(tmp_path), text, ()))
    assert len(paths) == 4
    assert {Path(p) for p in paths} == set(tmp_path.iterdir()), "no temporary file is left"


def test_compiled_by_many_threads_at_once(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(seccomp.compiled(str(tmp_path), None, ()))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert list(tmp_path.iterdir()) == [Path(found[0])]


def test_nothing_is_left_when_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.SystemFailure, match=r"write seccomp filter .*: no space left on device"):
        seccomp.compiled(str(tmp_path), None, ())
    assert list(tmp_path.iterdir()) == []


def test_profile_with_notify_needs_an_agent(tmp_path: Path) -> None:
    text = json.dumps(profile(rule("read", action="SCMP_ACT_NOTIFY"))).encode()
    with pytest.raises(errors.Unsupported, match="SCMP_ACT_NOTIFY"):
        seccomp.compiled(str(tmp_path), text, ())


def test_machine_without_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_host_facts", ("riscv64", KERNEL))
    with pytest.raises(errors.Unsupported, match="riscv64 are not supported: run with"):
        seccomp.compiled(str(tmp_path), None, ())


def test_profile_over_the_kernels_limit(tmp_path: Path) -> None:
    rules = [rule("ioctl", args=[{"index": 2, "value": i << 32 | i, "op": "SCMP_CMP_EQ"}]) for i in range(2000)]
    with pytest.raises(errors.LimitExceeded, match="over the kernel's 4096"):
        seccomp.compiled(str(tmp_path), json.dumps(profile(*rules)).encode(), ())
