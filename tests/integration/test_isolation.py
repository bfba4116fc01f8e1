"""The walls of the default profile (SECURITY.md §4) as seen from inside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import minidock
from minidock.errors import InvalidArgument, Unsupported


def out(engine: minidock.Engine, image: str, script: str, **options: Any) -> str:
    result = engine.containers.run(image, ["sh", "-c", script], remove=True, **options)
    return result.stdout.decode() + result.stderr.decode()


def status(engine: minidock.Engine, image: str, **options: Any) -> dict[str, str]:
    """/proc/self/status of a process in a new container."""
    result = engine.containers.run(image, ["cat", "/proc/self/status"], remove=True, **options)
    assert result.exit_code == 0, result
    return {
        name: value.strip() for name, _, value in (line.partition(":") for line in result.stdout.decode().splitlines())
    }


DEFAULT = "00000000a80425fb"
NONE = "0000000000000000"


def test_capabilities(engine: minidock.Engine, busybox: str) -> None:
    found = status(engine, busybox)
    assert [found[name] for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")] == [DEFAULT] * 3 + [NONE] * 2
    found = status(engine, busybox, user="app")
    assert [found[name] for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")] == [DEFAULT] + [NONE] * 4
    assert status(engine, busybox, cap_drop=["ALL"])["CapBnd"] == NONE
    assert status(engine, busybox, cap_drop=["ALL"], cap_add=["NET_ADMIN"])["CapEff"] == "0000000000001000"
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm"))
    assert status(engine, busybox, privileged=True)["CapEff"] == own.split()[1]
    with pytest.raises(InvalidArgument, match="unknown capability"):
        engine.containers.run(busybox, ["true"], cap_add=["NOPE"])


def test_seccomp_and_privileges(engine: minidock.Engine, busybox: str) -> None:
    assert (status(engine, busybox)["Seccomp"], status(engine, busybox)["NoNewPrivs"]) == ("2", "0")
    assert status(engine, busybox, security_opt=["seccomp=unconfined"])["Seccomp"] == "0"
    assert status(engine, busybox, privileged=True)["Seccomp"] == "0"
    assert status(engine, busybox, security_opt=["no-new-privileges"])["NoNewPrivs"] == "1"
    assert "Operation not permitted" in out(engine, busybox, "unshare -U true")
    # SELinux's policy forbids it, too, and so does the profile where AppArmor knows of user namespaces, as with Docker.
    free = ["seccomp=unconfined", "label=disable", "apparmor=unconfined"]
    assert out(engine, busybox, "unshare -U echo in", security_opt=free) == "in\n"


def test_labels_that_other_options_disable(engine: minidock.Engine, busybox: str) -> None:
    """As Docker shows it, with SELinux or without."""

    def shown(**options: Any) -> list[str] | None:
        container = engine.containers.create(busybox, ["true"], network="none", **options)
        found = container.inspect().host_config.security_opt
        container.remove()
        return found

    assert shown() is None
    for options in ({"privileged": True}, {"pid_mode": "host"}, {"ipc_mode": "host"}):
        assert shown(**options) == ["label=disable"], options
    assert shown(privileged=True, security_opt=["no-new-privileges"]) == ["no-new-privileges", "label=disable"]
    assert shown(privileged=True, security_opt=["label=level:s0"]) == ["label=level:s0"]


def test_a_profile_of_the_users(engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    }
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile))
    assert "Function not implemented" in out(engine, busybox, "mkdir /x", security_opt=[f"seccomp={file}"])
    container = engine.containers.create(busybox, ["true"], security_opt=[f"seccomp={file}"])
    file.unlink()
    container.start()
    assert container.wait(30) == 0


def test_masked_and_read_only_paths(engine: minidock.Engine, busybox: str) -> None:
    def seen(script: str) -> str:
        # By themselves: AppArmor's profile forbids most of it before they are met.
        return out(engine, busybox, script, security_opt=["apparmor=unconfined"])

    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/sched_debug"):
        if os.path.exists(path):
            assert seen(f"wc -c < {path}").strip() == "0", path
    for path in ("/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware"):
        if os.path.isdir(path):
            assert seen(f"ls -A {path} | wc -l; touch {path}/x 2>&1 | wc -l").split() == ["0", "1"], path
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"):
        if os.path.exists(path):
            assert "Read-only file system" in seen(f"echo x > {path}"), path
    assert "Read-only" in seen("mkdir /sys/fs/cgroup/x; touch /sys/x")
    unmasked = out(engine, busybox, "ls -A /sys/firmware | wc -l", security_opt=["systempaths=unconfined"])
    assert int(unmasked) == len(os.listdir("/sys/firmware"))


def test_mounts(engine: minidock.Engine, busybox: str) -> None:
    mounts = {}
    for line in out(engine, busybox, "cat /proc/self/mountinfo").splitlines():
        fields = line.split()
        tail = fields[fields.index("-") :]
        mounts[fields[4]] = (tail[1], set(fields[5].split(",")))
    for target, kind, flags in (
        ("/", "overlay", {"rw"}),
        ("/proc", "proc", {"nosuid", "nodev", "noexec"}),
        ("/dev", "tmpfs", {"nosuid"}),
        ("/dev/pts", "devpts", {"nosuid", "noexec"}),
        ("/dev/shm", "tmpfs", {"nosuid", "nodev", "noexec"}),
        ("/dev/mqueue", "mqueue", {"nosuid", "nodev", "noexec"}),
        ("/sys", "sysfs", {"ro", "nosuid", "nodev", "noexec"}),
    ):
        assert mounts[target][0] == kind
        assert flags <= mounts[target][1], target
    assert {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} <= mounts.keys()


def test_devices(engine: minidock.Engine, busybox: str) -> None:
    listed = set(out(engine, busybox, "ls /dev").split())
    assert listed == {
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    }  # fmt: skip
    modes = out(
        engine, busybox, "stat -c '%n %a %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty"
    )
    assert modes.split("\n")[:6] == [
        "/dev/null 666 1:3", "/dev/zero 666 1:5", "/dev/full 666 1:7", "/dev/random 666 1:8", "/dev/urandom 666 1:9",
        "/dev/tty 666 5:0",
    ]  # fmt: skip
    assert out(engine, busybox, "for l in ptmx fd core; do readlink /dev/$l; done").split() == [
        "pts/ptmx", "/proc/self/fd", "/proc/kcore"]  # fmt: skip


def test_no_descriptor_leaks(engine: minidock.Engine, busybox: str) -> None:
    extra = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        # PID 1 itself: 3 is the directory. (A shell has pipes open while it starts what it joins by them.)
        assert out(engine, busybox, "exec ls /proc/1/fd").split() == ["0", "1", "2", "3"]
    finally:
        os.close(extra)


def test_umask_and_session(engine: minidock.Engine, busybox: str) -> None:
    before = os.umask(0o077)
    try:
        assert out(engine, busybox, "umask").strip() == "0022"
    finally:
        os.umask(before)
    assert out(engine, busybox, "cut -d' ' -f5,6 /proc/1/stat").split() == ["1", "1"]


def test_sysctls(engine: minidock.Engine, busybox: str) -> None:
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
    assert out(engine, busybox, script).split() == ["0", "0", "2147483647"]
    assert out(engine, busybox, "cat /proc/sys/kernel/msgmax", sysctls={"kernel.msgmax": "1234"}).strip() == "1234"
    before = Path("/proc/sys/kernel/msgmax").read_text()
    assert before.strip() != "1234"
    core = Path("/proc/sys/kernel/core_pattern").read_text()
    with pytest.raises(InvalidArgument):
        engine.containers.run(busybox, ["true"], sysctls=["kernel.shm_rmid_forced=1+kernel.core_pattern=x"])
    assert Path("/proc/sys/kernel/core_pattern").read_text() == core


def test_the_image_is_not_changed(engine: minidock.Engine, busybox: str) -> None:
    assert out(engine, busybox, "rm -rf /etc/passwd /bin/busybox; echo gone") == "gone\n"
    assert "root:x:0" in out(engine, busybox, "cat /etc/passwd")


def test_other_users_cannot_enter_the_roots(engine: minidock.Engine, busybox: str) -> None:
    container = engine.containers.create(busybox, ["true"])
    for path in (engine.data_root, engine.run_root, f"{engine.data_root}/containers/{container.id}"):
        assert os.stat(path).st_mode & 0o077 == 0


def test_writable_cgroups(engine: minidock.Engine, busybox: str) -> None:
    """As in Docker: without being privileged, or not although it is; never those of the host."""
    group = "$(ls -d /sys/fs/cgroup/pids /sys/fs/cgroup 2>/dev/null | head -n 1)"
    make = f"mkdir {group}/mine 2>/dev/null && echo made || echo no"
    allowed, refused = ["writable-cgroups=true"], ["writable-cgroups=false"]
    own = {"cgroupns": "private"}
    assert out(engine, busybox, make, **own) == "no\n"
    assert out(engine, busybox, make, privileged=True, **own) == "made\n"
    assert out(engine, busybox, make, privileged=True, security_opt=refused, **own) == "no\n"
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        assert out(engine, busybox, make, security_opt=allowed) == "made\n"
        with pytest.raises(InvalidArgument, match="a cgroup namespace of its own"):
            engine.containers.create(busybox, security_opt=allowed, cgroupns="host")
    else:
        with pytest.raises(Unsupported, match="cgroup version 1"):
            engine.containers.create(busybox, security_opt=allowed, **own)
    assert engine.containers.list(all=True) == []
