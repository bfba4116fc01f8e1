"""The default profile, item by item of SECURITY.md section 4."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minidock import _native
from minidock.security import capabilities, seccomp
from tests.unit.security.bpf import ALLOW, ENOSYS, EPERM, KILL, Filter, numbers

KERNEL = (6, 18)
X32 = 1 << 30


def build(*add: str, arch: str = "amd64", kernel: tuple[int, int] = KERNEL) -> Filter:
    names = {"amd64": "x86_64", "arm64": "aarch64"}
    caps = [*capabilities.DEFAULT, *(f"CAP_{name}" for name in add)]
    document = seccomp.resolve(seccomp.default_profile(), caps, arch, kernel)
    return Filter(_native.seccomp_compile(document, names[arch]))


@pytest.fixture(scope="module")
def ask() -> Filter:
    return build()


def test_filter_is_short(ask: Filter) -> None:
    assert len(ask.code) <= 700


def test_every_common_call_is_allowed_on_every_abi() -> None:
    x86, arm = build(), build(arch="arm64")
    for name in (
        "read",
        "write",
        "openat",
        "execve",
        "futex",
        "rt_sigreturn",
        "exit_group",
        "clone",
        "statx",
        "ptrace",
    ):
        assert [x86(name, abi=abi) for abi in ("x86_64", "x32", "x86")] == [ALLOW] * 3, name
        assert [arm(name, abi=abi) for abi in ("aarch64", "arm")] == [ALLOW] * 2, name


def test_unknown_architecture_is_killed(ask: Filter) -> None:
    assert ask.run(0xC00000F3, 0) == KILL
    assert ask("read", abi="aarch64") == KILL
    assert build(arch="arm64")("read", abi="x86_64") == KILL


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_clone_makes_no_namespace(ask: Filter, bit: int) -> None:
    assert ask("clone", 0x11) == ALLOW
    assert ask("clone", 0x11 | 1 << bit) == EPERM
    assert build("SYS_ADMIN")("clone", 0x11 | 1 << bit) == ALLOW


def test_clone3_is_enosys_without_sys_admin(ask: Filter) -> None:
    assert [ask("clone3", abi=abi) for abi in ("x86_64", "x32", "x86")] == [ENOSYS] * 3
    assert build("SYS_ADMIN")("clone3") == ALLOW


# What SECURITY.md gives to a capability.
BY_CAPABILITY = {
    "SYS_ADMIN": "unshare setns mount umount2 open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick "
    "mount_setattr bpf perf_event_open fanotify_init quotactl quotactl_fd sethostname setdomainname syslog "
    "lookup_dcookie lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_MODULE": "init_module finit_module delete_module",
    "SYS_RAWIO": "iopl ioperm",
    "SYS_TIME": "settimeofday clock_settime",
    "SYS_NICE": "mbind get_mempolicy set_mempolicy set_mempolicy_home_node",
    "SYS_BOOT": "reboot",
    "SYS_PACCT": "acct",
    "SYSLOG": "syslog",
    "BPF": "bpf",
    "PERFMON": "perf_event_open",
    "SYS_TTY_CONFIG": "vhangup",
}


@pytest.mark.parametrize(("capability", "calls"), BY_CAPABILITY.items())
def test_call_needs_its_capability(ask: Filter, capability: str, calls: str) -> None:
    given = build(capability)
    for call in calls.split():
        # Newer than all that the profile names without the capability: ENOSYS, as libc expects of an old kernel.
        assert ask(call) == (ENOSYS if call == "open_tree_attr" else EPERM), call
        assert given(call) == ALLOW, call


def test_chroot_needs_sys_chroot(ask: Filter) -> None:
    without = [cap for cap in capabilities.DEFAULT if cap != "CAP_SYS_CHROOT"]
    document = seccomp.resolve(seccomp.default_profile(), without, "amd64", KERNEL)
    assert ask("chroot") == ALLOW
    assert Filter(_native.seccomp_compile(document, "x86_64"))("chroot") == EPERM


def test_ptrace_needs_kernel_4_8_or_sys_ptrace() -> None:
    for call in ("ptrace", "process_vm_readv", "process_vm_writev"):
        assert build(kernel=(4, 7))(call) == EPERM
        assert build("SYS_PTRACE", kernel=(4, 7))(call) == ALLOW
        assert build(kernel=(4, 8))(call) == ALLOW
        assert build(kernel=(4, 10))(call) == ALLOW


@pytest.mark.parametrize("upper", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_cve_2019_10063_int_arguments(ask: Filter, upper: int) -> None:
    for abi in ("x86_64", "x32"):
        assert [ask("socket", upper + family, abi=abi) for family in (38, 40)] == [EPERM] * 2
        assert [ask("socket", upper + family, abi=abi) for family in (1, 2, 10, 16, 17, 37, 39, 41, 44)] == [ALLOW] * 9
        assert [ask("personality", upper + p, abi=abi) for p in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)] == [ALLOW] * 5
        assert [ask("personality", upper + p, abi=abi) for p in (1, 0x40000, 0x400000, 0xFFFFFFFE)] == [EPERM] * 4


def test_cve_2026_31431_af_alg_on_32_bit(ask: Filter) -> None:
    assert ask("socket", 38, abi="x86") == EPERM
    assert ask("socket", 40, abi="x86") == EPERM
    assert ask("socketcall", 1, abi="x86") == ALLOW, "32-bit programs have no other way: LSMs must deny ALG there"


ALWAYS_DENIED = (
    "io_uring_setup io_uring_enter io_uring_register userfaultfd keyctl add_key request_key kexec_load "
    "kexec_file_load pivot_root swapon swapoff move_pages nfsservctl uselib ustat sysfs create_module"
)


@pytest.mark.parametrize("call", ALWAYS_DENIED.split())
def test_always_denied(call: str) -> None:
    everything = build(*(name.removeprefix("CAP_") for name in capabilities.NAMES))
    for abi in ("x86_64", "x32", "x86"):
        if call in numbers()[abi]:
            assert everything(call, abi=abi) == EPERM


def test_vm86_is_denied(ask: Filter) -> None:
    assert [ask(call, abi="x86") for call in ("vm86", "vm86old")] == [EPERM] * 2


def test_calls_newer_than_the_profile_are_enosys(ask: Filter) -> None:
    for number in (468, 469, 470, 600, 0x3FFFFFFF):
        assert [ask(number), ask(number, abi="x86"), ask(min(number, 511) | X32, abi="x32")] == [ENOSYS] * 3
    assert ask("mseal") == ask("setxattrat") == ask("removexattrat") == ALLOW


def test_skipped_call_is_left_to_the_tracer(ask: Filter) -> None:
    assert [ask(-1), ask(-1, abi="x86"), build(arch="arm64")(-1, abi="aarch64")] == [ALLOW] * 3


def test_architecture_specific_calls(ask: Filter) -> None:
    arm = build(arch="arm64")
    assert ask("arch_prctl") == ask("modify_ldt") == ALLOW
    assert [arm(call, abi="arm") for call in ("set_tls", "cacheflush", "breakpoint", "arm_fadvise64_64")] == [ALLOW] * 4


def test_hot_calls_take_few_steps(ask: Filter) -> None:
    steps: Callable[[str], int] = lambda call: _steps(ask, numbers()["x86_64"][call])  # noqa: E731
    assert max(steps(call) for call in ("read", "write", "futex", "epoll_wait", "openat", "recvfrom")) <= 16


def _steps(ask: Filter, number: int) -> int:
    """Return how many instructions a call without looked-at arguments takes."""
    count, pc, a = 0, 0, 0
    while True:
        code, jt, jf, k = ask.code[pc]
        count, pc = count + 1, pc + 1
        if code == 0x20:
            a = (number, 0xC000003E)[k // 4]
        elif code == 0x05:
            pc += k
        elif code == 0x06:
            return count
        else:
            holds = a == k if code == 0x15 else a >= k
            pc += jt if holds else jf
