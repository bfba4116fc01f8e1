"""Rows of SECURITY.md section 3 about the engine's own files, sockets and cgroups."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import minidock
from tests.conftest import Roots, wait_for

Image = Callable[..., str]


@contextlib.contextmanager
def running(engine: minidock.Engine, name: str, **options: object) -> Iterator[minidock.Container]:
    container = engine.containers.create(name, ["sleep", "60"], **options)  # type: ignore[arg-type]
    container.start()
    try:
        yield container
    finally:
        container.remove(force=True)


def test_cve_2021_21284_2021_41091_2024_25621_store_is_closed_to_others(
    engine: minidock.Engine, image: Image, roots: Roots
) -> None:
    # The fixture's own directory must not be what keeps others out.
    roots.data.parent.chmod(0o755)
    with running(engine, image()) as container:
        for root in (roots.data, roots.run):
            assert stat.S_IMODE(root.stat().st_mode) == 0o700, root
        paths = [p for root in (roots.data, roots.run) for p in root.rglob("*") if not p.is_symlink()]
        assert any(container.id in str(p) for p in paths)
        for user in (1000, 65534):
            done = subprocess.run(
                ["stat", "-c", "%n", *map(str, paths[:2000])],
                capture_output=True,
                text=True,
                user=user,
                group=user,
                extra_groups=[],
                check=False,
            )
            assert done.stdout == ""
            assert done.stderr.count("Permission denied") == len(paths[:2000])
        inside = ("fs", "rw", "rootfs")
        for path in paths:
            relative = path.relative_to(roots.data.parent).parts
            if any(part in inside for part in relative):
                continue
            mode = stat.S_IMODE(path.stat().st_mode)
            own = path.name in ("hosts", "hostname", "resolv.conf", "minidock-runtime")
            assert not mode & 0o022, f"{path} {mode:o}"
            assert own or path.is_dir() or not mode & 0o077, f"{path} {mode:o}"


def test_cve_2020_15257_supervisor_has_no_abstract_socket(engine: minidock.Engine, image: Image, roots: Roots) -> None:
    with running(engine, image(), network="host") as container:
        pid_file = roots.run / "containers" / container.id / "pid"
        wait_for(pid_file.exists, what="pid file")
        supervisor = json.loads(pid_file.read_text())["supervisor"]
        inodes = set()
        for fd in os.listdir(f"/proc/{supervisor}/fd"):
            target = os.readlink(f"/proc/{supervisor}/fd/{fd}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        ours = [line for line in lines if line[6] in inodes]
        assert not [line for line in ours if len(line) > 7 and line[7].startswith("@")]
        seen = engine.containers.run(image(), ["cat", "/proc/net/unix"], network="host", remove=True).stdout.decode()
        assert not [
            line for line in seen.splitlines() if "@" in line and ("minidock" in line or container.id[:12] in line)
        ]


def test_cve_2023_25809_cgroups_are_read_only(engine: minidock.Engine, image: Image) -> None:
    script = """
for f in $(find /sys/fs/cgroup -name cgroup.procs -o -name tasks -o -name release_agent -o -name notify_on_release); do
  { echo 1 > $f && echo "$f written"; } 2>/dev/null
done
for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -d $d ] && { mkdir $d/pwned && echo "$d/pwned made"; } 2>/dev/null
  mount -o remount,rw $d 2>/dev/null && echo "$d remounted"
done
grep -c " - cgroup" /proc/self/mountinfo
"""
    result = engine.containers.run(image(), ["sh", "-c", script], remove=True)
    lines = result.stdout.decode().split("\n")
    assert len(lines) == 2, result
    assert int(lines[0]) > 0


def test_cve_2025_9074_no_socket_of_the_engine_in_a_container(engine: minidock.Engine, image: Image) -> None:
    script = (
        "find / -xdev -type s 2>/dev/null; ls /run/minidock /var/run/docker.sock /var/lib/minidock 2>/dev/null; true"
    )
    assert engine.containers.run(image(), ["sh", "-c", script], remove=True).stdout == b""


def test_other_containers_are_out_of_reach(engine: minidock.Engine, image: Image, roots: Roots) -> None:
    name = image()
    with running(engine, name) as one, running(engine, name) as two:
        assert one.id != two.id
        script = "ls -d /proc/[0-9]* | wc -l; ipcs 2>/dev/null; ls /dev/shm /dev/mqueue; mount | grep -c overlay"
        result = engine.containers.run(name, ["sh", "-c", script], remove=True)
        lines = result.stdout.decode().split()
        assert int(lines[0]) <= 5
        assert lines[-1] == "1"
        assert str(roots.run) not in result.stdout.decode()


@pytest.mark.parametrize("option", [{"privileged": True}, {"cap_add": ["ALL"]}])
def test_granted_capabilities_are_those_of_the_host(
    engine: minidock.Engine, image: Image, option: dict[str, object]
) -> None:
    from minidock.security.capabilities import host_mask

    result = engine.containers.run(image(), ["probe", "status"], remove=True, **option)  # type: ignore[arg-type]
    assert f"CapEff:\t{host_mask():016x}" in result.stdout.decode()
    assert ("Seccomp:\t0" in result.stdout.decode()) is bool(option.get("privileged"))
