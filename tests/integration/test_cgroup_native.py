"""Groups through the native module: limits changed while in use, statistics, kill, removal."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock import _native


def directories(path: str) -> list[Path]:
    """The group's directory in every hierarchy mounted below /sys/fs/cgroup."""
    mounts = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [words[4] for words in mounts if words[words.index("-") + 1] in ("cgroup", "cgroup2")]
    return [Path(point) / path for point in points]


@pytest.fixture
def group() -> Iterator[str]:
    name = f"minidock-test-native-{os.getpid()}"
    if json.loads(_native.cgroup_host())["mode"] == "v2":
        Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory +pids +cpuset")
    for directory in directories(name):
        directory.mkdir()
        if directory.parent.name == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (directory / file).write_text((directory.parent / file).read_text().strip())
    yield name
    _native.cgroup_kill(name)
    _native.cgroup_remove(name)
    assert not any(directory.exists() for directory in directories(name))


def test_update_freeze_kill(group: str) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        for directory in directories(group):
            (directory / "cgroup.procs").write_text(str(child.pid))
        assert _native.cgroup_processes(group) == [child.pid]
        for size in (64 << 20, 16 << 20):
            limits = {"memory": {"limit": size, "swap": size}, "pids": {"limit": 7}}
            assert _native.cgroup_apply(group, json.dumps(limits).encode()) == []
        stats = json.loads(_native.cgroup_stats(group))
        assert stats["memory"]["limit"] == 16 << 20
        assert stats["pids"] == {"current": 1, "limit": 7, "peak": stats["pids"]["peak"]}
        assert stats["cpu"]["usage_ns"] >= 0
        _native.cgroup_freeze(group)
        _native.cgroup_thaw(group)
        _native.cgroup_freeze(group)
        with pytest.raises(_native.NativeError) as busy:
            _native.cgroup_remove(group, 0.05)
        assert busy.value.args[1] == "busy"
        # The zombie is ours to reap, and no longer counts.
        assert _native.cgroup_kill(group) is True
        assert child.wait() == -9


def test_what_does_not_exist() -> None:
    assert _native.cgroup_kill("minidock-test-none") is False
    assert _native.cgroup_remove("minidock-test-none") is False
    assert _native.cgroup_processes("minidock-test-none") == []
    for call in (_native.cgroup_stats, _native.cgroup_freeze, _native.cgroup_thaw):
        with pytest.raises(_native.NativeError) as missing:
            call("minidock-test-none")
        assert missing.value.args[1] == "not-found"


@pytest.mark.parametrize("path", ["", "/", "..", "a/../../b", "a\0b", "a\nb"])
def test_paths_that_leave_the_tree(path: str) -> None:
    with pytest.raises(_native.NativeError) as error:
        _native.cgroup_kill(path)
    assert error.value.args[1] == "invalid"
    assert "\n" not in error.value.args[0]


@pytest.mark.parametrize(
    "text",
    [b"", b"3", b'{"memory": {"limit": "x"}}', b'{"cpu": {"cpus": "0-4294967295"}}', b'{"memory": {"limit": -5}}'],
)
def test_bad_limits(group: str, text: bytes) -> None:
    with pytest.raises(_native.NativeError) as error:
        _native.cgroup_apply(group, text)
    assert error.value.args[1] == "invalid"


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_bad_timeouts(timeout: float) -> None:
    with pytest.raises(_native.NativeError):
        _native.cgroup_kill("x", timeout)
