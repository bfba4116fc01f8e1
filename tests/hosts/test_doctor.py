"""`doctor` is right about this host, whichever it is: other programs, and containers, find the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.errors import MinidockError
from tests.conftest import Cli, Roots

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


@pytest.fixture(scope="module")
def findings() -> dict[tuple[str, str], dict[str, Any]]:
    """What it says, by group and name."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="mdt-doctor-") as base:
        roots = Roots(Path(base, "data"), Path(base, "run"), "/none", Path(base, "config.json"))
        roots.config.write_text("{}")
        done = Cli(roots)("doctor", "--json")
        # Its exit code is that of a failure, and it says which.
        found = json.loads(done.stdout)
        assert done.returncode == int(any(one["status"] == "fail" for one in found)), done.stderr
    return {(one["group"], one["name"]): one for one in found}


def works(*command: str) -> bool:
    """Whether a program succeeds."""
    assert shutil.which(command[0]), f"{command[0]} is missing"
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0


def in_a_network(*words: str) -> bool:
    return works("unshare", "--net", *words)


def link(*words: str) -> bool:
    return in_a_network("ip", "link", "add", "one", *words)


def parent_link(kind: str) -> bool:
    script = f"ip link add low type veth peer name high && ip link add one link low type {kind}"
    return in_a_network("sh", "-c", script)


def cgroup_file(controller: str, v1: str, v2: str) -> Callable[[], bool]:
    """Whether a new group has a file."""

    def look() -> bool:
        base = Path("/sys/fs/cgroup", "" if V2 else controller)
        if not base.is_dir():
            return False
        name = "io" if controller == "blkio" else controller
        if V2 and name not in (base / "cgroup.controllers").read_text().split():
            return False
        group = base / f"mdt-doctor-{os.getpid()}"
        (group / "inner" if V2 else group).mkdir(parents=True)
        try:
            if V2:
                (base / "cgroup.subtree_control").write_text(f"+{name}")
            return (group / (v2 if V2 else v1)).exists() if v1 or V2 else False
        finally:
            if V2:
                (group / "inner").rmdir()
            group.rmdir()

    return look


def nft(family: str) -> bool:
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")
    rules = f"add table {family} t; add chain {family} t c {{ type filter hook forward priority 0; }}"
    return in_a_network("nft", rules)


EVIDENCE: dict[tuple[str, str], Callable[[], bool]] = {
    ("namespaces", "mount"): lambda: works("unshare", "--mount", "true"),
    ("namespaces", "pid"): lambda: works("unshare", "--pid", "--fork", "true"),
    ("namespaces", "net"): lambda: works("unshare", "--net", "true"),
    ("namespaces", "uts"): lambda: works("unshare", "--uts", "true"),
    ("namespaces", "ipc"): lambda: works("unshare", "--ipc", "true"),
    ("namespaces", "cgroup"): lambda: works("unshare", "--cgroup", "true"),
    ("namespaces", "user"): lambda: works("unshare", "--user", "true"),
    ("namespaces", "time"): lambda: works("unshare", "--time", "--fork", "true"),
    ("cgroups", "--memory"): cgroup_file("memory", "memory.limit_in_bytes", "memory.max"),
    ("cgroups", "--memory-swap"): cgroup_file("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    ("cgroups", "--memory-reservation"): cgroup_file("memory", "memory.soft_limit_in_bytes", "memory.low"),
    ("cgroups", "--cpus, --cpu-quota"): cgroup_file("cpu", "cpu.cfs_quota_us", "cpu.max"),
    ("cgroups", "--cpu-shares"): cgroup_file("cpu", "cpu.shares", "cpu.weight"),
    ("cgroups", "--cpuset-cpus"): cgroup_file("cpuset", "cpuset.cpus", "cpuset.cpus"),
    ("cgroups", "--pids-limit"): cgroup_file("pids", "pids.max", "pids.max"),
    ("security", "security modules"): lambda: (
        Path("/sys/fs/selinux/enforce").exists()
        or (Path("/sys/module/apparmor/parameters/enabled").exists() and Path("/sys/kernel/security/apparmor").is_dir())
    ),
    ("network", "IPv6"): lambda: Path("/proc/sys/net/ipv6").is_dir() and _ipv6_is_on(),
    ("network", "veth"): lambda: link("type", "veth", "peer", "name", "two"),
    ("network", "bridge"): lambda: link("type", "bridge"),
    ("network", "dummy"): lambda: link("type", "dummy"),
    ("network", "vxlan"): lambda: link("type", "vxlan", "id", "5", "dstport", "4789"),
    ("network", "macvlan"): lambda: parent_link("macvlan"),
    ("network", "ipvlan"): lambda: parent_link("ipvlan"),
    ("network", "nftables for IPv4"): lambda: nft("ip"),
    ("network", "nftables for IPv6"): lambda: nft("ip6"),
    ("network", "nftables for both"): lambda: nft("inet"),
    ("limits", "/dev/fuse"): lambda: Path("/dev/fuse").exists(),
    ("limits", "/dev/net/tun"): lambda: Path("/dev/net/tun").exists(),
    ("limits", "git"): lambda: shutil.which("git") is not None,
    ("limits", "apt-get"): lambda: shutil.which("apt-get") is not None,
    ("limits", "gpgv"): lambda: shutil.which("gpgv") is not None,
}


def _ipv6_is_on() -> bool:
    text = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text()
    return text == "0\n" and in_a_network("sh", "-c", "ip link set lo up && ip -6 address show dev lo | grep -q ::1")


@pytest.mark.parametrize("key", EVIDENCE, ids=lambda key: f"{key[0]}: {key[1]}")
def test_the_same_by_other_means(findings: dict[tuple[str, str], dict[str, Any]], key: tuple[str, str]) -> None:
    found = findings[key]
    assert (found["status"] == "ok") == EVIDENCE[key](), found
    if found["status"] != "ok":
        # What is lacking has consequences, and something to do about it.
        assert found["meaning"], found
        assert found["advice"], found


def test_every_finding_is_whole(findings: dict[tuple[str, str], dict[str, Any]]) -> None:
    for found in findings.values():
        assert found["status"] in ("ok", "warn", "fail")
        assert found["found"], found
        assert found["meaning"] or found["status"] == "ok", found


def test_version_of_cgroups(findings: dict[tuple[str, str], dict[str, Any]]) -> None:
    mounts = {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines() if " cgroup" in line}
    said = findings["cgroups", "version"]["found"]
    expected = {frozenset({"cgroup2"}): "2", frozenset({"cgroup"}): "1"}.get(frozenset(mounts), "hybrid")
    assert said.removeprefix("version ").startswith(expected), (said, mounts)


LACKING: dict[tuple[str, str], dict[str, Any]] = {
    ("cgroups", "--memory"): {"memory": "32m"},
    ("cgroups", "--memory-swappiness"): {"mem_swappiness": 10},
    ("cgroups", "--oom-kill-disable"): {"oom_kill_disable": True, "memory": "32m"},
    ("cgroups", "--cpus, --cpu-quota"): {"cpus": "0.5"},
    ("cgroups", "--cpuset-cpus"): {"cpuset_cpus": "0"},
    ("cgroups", "--pids-limit"): {"pids_limit": 30},
    ("cgroups", "--blkio-weight"): {"blkio_weight": 200},
    ("processes", "oom_score_adj"): {"oom_score_adj": -500},
}


@pytest.mark.parametrize("key", LACKING, ids=lambda key: f"{key[0]}: {key[1]}")
def test_a_container_finds_the_same(
    findings: dict[tuple[str, str], dict[str, Any]],
    engine: minidock.Engine,
    busybox: str,
    key: tuple[str, str],
) -> None:
    """What can be set is set without a word; what cannot is a warning or an error of the container, too."""
    try:
        result = engine.containers.run(busybox, ["true"], network="none", remove=True, **LACKING[key])
        complaints = list(result.warnings)
    except MinidockError as error:
        complaints = [str(error)]
    assert (findings[key]["status"] == "ok") == (not complaints), (findings[key], complaints)
