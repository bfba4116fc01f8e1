"""Rows of SECURITY.md section 3 about what a process in a container may do."""

from __future__ import annotations

import errno
import hashlib
import os
import pty
import select
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots
from tests.security.conftest import one_line, with_entries

Probe = Callable[..., str]

SYS_SOCKET, SYS_KEYCTL, SYS_ADD_KEY, SYS_REQUEST_KEY = 41, 250, 248, 249
SYS_UNSHARE, SYS_CLONE, SYS_CLONE3, SYS_PERSONALITY = 272, 56, 435, 135
ONLY_X86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")


def status(text: str) -> dict[str, str]:
    return {line.split(":")[0]: line.split(":")[1].strip() for line in text.splitlines()}


@pytest.mark.parametrize(("user", "effective"), [("0", 0xA80425FB), ("1000", 0)])
def test_cve_2016_8867_2022_24769_2022_29162_no_ambient_or_inheritable(probe: Probe, user: str, effective: int) -> None:
    for options in ({}, {"init": True}, {"security_opt": ["no-new-privileges"]}):
        found = status(probe("status", user=user, **options))
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert int(found["CapPrm"], 16) == int(found["CapEff"], 16) == effective
        assert int(found["CapBnd"], 16) == 0xA80425FB
        assert found["Seccomp"] == "2"
        assert found["NoNewPrivs"] == str(int("security_opt" in options))


def test_cve_2016_8867_with_capabilities_added_for_a_user(probe: Probe) -> None:
    found = status(probe("status", user="1000", cap_add=["NET_ADMIN"]))
    assert int(found["CapBnd"], 16) == 0xA80425FB | 1 << 12
    assert {int(found[key], 16) for key in ("CapInh", "CapAmb", "CapPrm", "CapEff")} == {0}


@ONLY_X86_64
@pytest.mark.parametrize("upper", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_cve_2019_10063_int_arguments_by_their_low_half(probe: Probe, upper: int) -> None:
    assert probe("syscall", SYS_SOCKET, upper + 38, 5, 0) == str(errno.EPERM)
    assert probe("syscall", SYS_SOCKET, upper + 40, 1, 0) == str(errno.EPERM)
    assert probe("syscall", SYS_SOCKET, upper + 1, 1, 0) == "0"
    assert probe("syscall", SYS_PERSONALITY, upper + 0x40000) == str(errno.EPERM)
    assert probe("syscall", SYS_PERSONALITY, upper + 0xFFFFFFFF) == "0"


@ONLY_X86_64
def test_cve_2026_31431_af_alg_is_denied(probe: Probe) -> None:
    for options in ({}, {"cap_add": ["ALL"]}):
        assert probe("syscall", SYS_SOCKET, 38, 5, 0, **options) == str(errno.EPERM)


@ONLY_X86_64
def test_cve_2022_0492_no_new_user_or_cgroup_namespace(
    probe: Probe, engine: minidock.Engine, image: Callable[..., str]
) -> None:
    for flags in (0x10000000, 0x12000000, 0x02000000, 0x20000):
        assert probe("syscall", SYS_UNSHARE, flags) == str(errno.EPERM)
        assert probe("syscall", SYS_CLONE, flags | 17) == str(errno.EPERM)
    assert probe("syscall", SYS_CLONE3, 0, 0) == str(errno.ENOSYS)
    script = "mkdir /c; unshare -UrC true; mount -t cgroup -o rdma none /c || mount -t cgroup -o memory none /c"
    assert engine.containers.run(image(), ["sh", "-c", script], remove=True).exit_code != 0
    # Even with a right to mount, the tree that is there stays read-only on v1.
    released = "echo /x > /sys/fs/cgroup/memory/release_agent || echo x > /sys/fs/cgroup/cgroup.procs"
    assert engine.containers.run(image(), ["sh", "-c", released], remove=True).exit_code != 0


@ONLY_X86_64
def test_class_keyrings_are_denied(probe: Probe) -> None:
    for number in (SYS_KEYCTL, SYS_ADD_KEY, SYS_REQUEST_KEY):
        assert probe("syscall", number, 0, 0, 0, 0, 0) == str(errno.EPERM)


def test_class_dbus_properties_in_annotations_are_data(engine: minidock.Engine, probe: Probe, roots: Roots) -> None:
    pwned = roots.data.parent / "pwned"
    annotations = {
        "org.systemd.property.ExecStart": f"touch {pwned}",
        "run.oci.hooks.stderr": str(pwned),
        "org.systemd.property.TimeoutStopUSec": "uint64 123",
    }
    assert status(probe("status", annotations=annotations))["Seccomp"] == "2"
    assert not pwned.exists()


def test_cve_2016_9962_2024_21626_no_descriptor_of_the_host(probe: Probe) -> None:
    inheritable, _ = os.pipe()
    os.set_inheritable(inheritable, True)
    try:
        for options in ({}, {"init": True}, {"user": "1000"}):
            assert probe("fds", **options) == ""
    finally:
        os.close(inheritable)
        os.close(_)


def test_cve_2024_21626_working_directory_by_descriptor(
    engine: minidock.Engine, image: Callable[..., str], roots: Roots
) -> None:
    secret = roots.data.parent / "secret"
    secret.write_text("host secret")
    script = f"cd ../../../../../../../.. 2>/dev/null; cat {str(secret).lstrip('/')} ../../../../../../..{secret}; pwd"
    name = image()
    for number in range(3, 21):
        for path in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../.."):
            try:
                result = engine.containers.run(name, ["sh", "-c", script], working_dir=path, remove=True)
            except errors.MinidockError as refused:
                one_line(refused)
                continue
            assert b"host secret" not in result.stdout, path


def test_cve_2019_5736_helper_cannot_be_overwritten(
    engine: minidock.Engine, image: Callable[..., str], probe: Probe, roots: Roots
) -> None:
    def digests() -> dict[str, str]:
        files = [*(roots.data / "bin").rglob("minidock-runtime"), *Path(minidock.__file__).parent.glob("_bin/*")]
        return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    name = image()
    assert engine.containers.run(name, ["true"], remove=True).exit_code == 0
    before = digests()
    assert any("/bin/" in path for path in before)
    # With init, PID 1 is the helper, which processes in the container see by its exe link.
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        assert int(probe("open", "/proc/1/exe", flags, init=True)) in (errno.EROFS, errno.ETXTBSY, errno.EACCES)
    assert int(probe("open", "/proc/1/exe", os.O_WRONLY | os.O_TRUNC, init=True)) != errno.ETXTBSY
    script = "(exec 9</proc/1/exe; echo x >/proc/self/fd/9); chmod 777 /proc/1/exe; cp /bin/sh /proc/1/exe; true"
    assert engine.containers.run(name, ["sh", "-c", script], init=True, remove=True).exit_code == 0
    # As entrypoint, and as interpreter of one.
    for command in (["/proc/self/exe"], ["/proc/self/exe", "supervise"], ["/proc/1/exe"]):
        try:
            engine.containers.run(name, command, entrypoint="", remove=True, timeout=5)
        except errors.MinidockError as refused:
            one_line(refused)
    assert digests() == before


def test_cve_2017_5226_nothing_is_typed_on_the_callers_terminal(cli: Cli, roots: Roots) -> None:
    cli.ok("import", "-", "t", input=with_entries())
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        process = cli.popen(
            "run", "--rm", "-it", "t", "probe", "type", "pwned", stdin=slave, stdout=slave, stderr=slave
        )
        said = b""
        while process.poll() is None:
            if select.select([master], [], [], 0.05)[0]:
                said += os.read(master, 65536)
        while select.select([master], [], [], 0.2)[0]:
            said += os.read(master, 65536)
        assert process.returncode == 0, said
        assert b"TIOCSTI" in said
        assert termios.tcgetattr(slave) == before, "the terminal is as it was"
        # What a container pushes into its own pty's input is not in the input of the caller's.
        settings = termios.tcgetattr(slave)
        settings[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        assert not select.select([slave], [], [], 0.2)[0], "something was typed on the host"
    finally:
        os.close(master)
        os.close(slave)
