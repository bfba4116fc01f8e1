"""Bad input: one line, the right class, and nothing changed on disk."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ImageNotFound,
    InvalidArgument,
    MinidockError,
    NetworkNotFound,
    Unsupported,
)


def tree(engine: minidock.Engine) -> set[str]:
    """Every path of containers and of work in progress."""
    found = set()
    for top in (f"{engine.data_root}/containers", f"{engine.data_root}/tmp", f"{engine.run_root}/containers"):
        for folder, folders, files in os.walk(top):
            found |= {f"{folder}/{name}" for name in (*folders, *files)}
    return found


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"memory": "-1m"}, InvalidArgument),
        ({"memory": "99999999999999999999g"}, InvalidArgument),
        ({"memory": "1"}, InvalidArgument),
        ({"cpuset_cpus": "0-4294967295"}, InvalidArgument),
        ({"cpuset_cpus": "4095"}, InvalidArgument),
        ({"cpus": "1e9"}, InvalidArgument),
        ({"ulimits": ["nofile=2:1"]}, InvalidArgument),
        ({"devices": ["/nope"]}, InvalidArgument),
        ({"devices": ["/etc/passwd"]}, InvalidArgument),
        ({"device_cgroup_rules": ["x"]}, InvalidArgument),
        ({"device_read_bps": ["/dev/nope:1mb"]}, InvalidArgument),
        ({"environment": ["A=\0"]}, InvalidArgument),
        ({"labels": ["=x"]}, InvalidArgument),
        ({"hostname": "a\0b"}, InvalidArgument),
        ({"working_dir": "relative"}, InvalidArgument),
        ({"user": "4294967296"}, InvalidArgument),
        ({"sysctls": ["kernel.core_pattern=x"]}, InvalidArgument),
        ({"security_opt": ["seccomp=/nope"]}, InvalidArgument),
        ({"name": "../x"}, InvalidArgument),
        ({"env_file": "/nope"}, InvalidArgument),
        ({"rootfs": "/"}, InvalidArgument),
        ({"platform": "linux/s390x", "pull": "never"}, ImageNotFound),
        ({"platform": "linux/nope"}, InvalidArgument),
        ({"network": "nope"}, NetworkNotFound),
        ({"gpus": "all"}, Unsupported),
        ({"runtime": "/nope/crun"}, MinidockError),
        ({"cidfile": "/etc/passwd"}, Conflict),
        ({"cidfile": "/nope/file"}, MinidockError),
        ({"pid_mode": "container:nope"}, MinidockError),
        ({"nonsense": 1}, InvalidArgument),
    ],
)
def test_options(engine: minidock.Engine, busybox: str, options: dict[str, Any], error: type[Exception]) -> None:
    before = tree(engine)
    with pytest.raises(error) as caught:
        engine.containers.run(busybox, ["true"], **options)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")
    assert tree(engine) == before
    assert engine.containers.list(all=True) == []


@pytest.mark.parametrize(
    "command",
    [["a\0b"], "unbalanced 'quote", 5, [5], b"bytes", {}],
    ids=["nul", "quote", "int", "ints", "bytes", "dict"],
)
def test_commands(engine: minidock.Engine, busybox: str, command: Any) -> None:
    with pytest.raises(InvalidArgument):
        engine.containers.run(busybox, command)
    assert engine.containers.list(all=True) == []


def test_arguments_beyond_the_kernels_limits(engine: minidock.Engine, busybox: str) -> None:
    for command, environment in ((["echo", "x" * 200_000], {}), (["true"], {"A": "x" * 200_000})):
        with pytest.raises(MinidockError, match=r"too long|exceed") as caught:
            engine.containers.run(busybox, command, environment=environment, remove=True)
        assert caught.value.exit_code in (125, 126)
    assert engine.containers.list(all=True) == []


def test_files_that_cannot_run(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    for name, text, mode, error in (
        ("interpreter", b"#!/nope/interpreter\n", 0o755, CommandNotFound),
        ("garbage", b"\x7fELF garbage", 0o755, CommandNotExecutable),
        ("machine", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\xf3\0" + bytes(100), 0o755, CommandNotExecutable),
        ("text", b"#!/bin/sh\n", 0o644, CommandNotExecutable),
        ("empty", b"", 0o755, CommandNotExecutable),
    ):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            info = tarfile.TarInfo("program")
            info.size, info.mode = len(text), mode
            tar.addfile(info, io.BytesIO(text))
        engine.images.import_(str(tmp_path / f"{name}.tar"), repository=name)
        with pytest.raises(error) as caught:
            engine.containers.run(name, ["/program"], remove=True)
        assert "/program" in str(caught.value)
    assert engine.containers.list(all=True) == []


def test_unknown_images(engine: minidock.Engine) -> None:
    for name in ("nosuch", "nosuch:tag", "localhost:5000/x/y", "sha256:" + "0" * 64, "0" * 12):
        with pytest.raises(ImageNotFound):
            engine.containers.create(name, ["true"], pull="never")
    for name in ("", "UPPER", "a b", "x:", "../x", "-x", "x@sha256:short", "a" * 300):
        with pytest.raises(MinidockError) as caught:
            engine.containers.create(name, ["true"])
        assert "\n" not in str(caught.value)


def test_roots_that_cannot_be_used(tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for data, run in ((str(file), str(tmp_path / "run")), (str(tmp_path / "data"), str(file))):
        with minidock.Engine(data, run) as engine, pytest.raises(MinidockError) as caught:
            engine.containers.list()
        assert "\n" not in str(caught.value)
