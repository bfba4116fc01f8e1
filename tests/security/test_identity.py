"""Rows of SECURITY.md section 3 about users, groups and other input to ``run``."""

from __future__ import annotations

import ctypes
import mmap
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Cli, Roots
from tests.rootfs import busybox_tar

Image = Callable[..., str]

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n1:x:0:0:digit:/:/bin/sh\n"
    b"2147483648:x:0:0:big:/:/bin/sh\nbig:x:4294967296:0::/:/bin/sh\nminus:x:-1:0::/:/bin/sh\n"
)


def ids(engine: minidock.Engine, image: str, user: str, **options: object) -> tuple[int, int, set[int]]:
    """The uid, gid and supplementary groups that a container's process has, by the kernel."""
    result = engine.containers.run(image, ["probe", "status"], user=user, remove=True, **options)  # type: ignore[arg-type]
    found = {line.split(":")[0]: line.split(":")[1].split() for line in result.stdout.decode().splitlines()}
    assert len(set(found["Uid"])) == len(set(found["Gid"])) == 1
    return int(found["Uid"][0]), int(found["Gid"][0]), {int(g) for g in found["Groups"]}


def test_cve_2024_40635_2026_46680_2026_30892_users_of_digits(engine: minidock.Engine, image: Image) -> None:
    name = image(("etc/passwd", PASSWD))
    assert ids(engine, name, "1")[0] == 1, "a number, though a user of that name is root"
    assert ids(engine, name, "2147483647")[0] == 2147483647
    for user in ("2147483648", "4294967295", "4294967296", "18446744073709551616", "0:2147483648", "1000:4294967296"):
        with pytest.raises(errors.MinidockError) as refused:
            engine.containers.run(name, ["true"], user=user, remove=True)
        assert "\n" not in str(refused.value)
    for user in ("-1", "big", "minus", "nobody-here", "+1", " 1", "1 ", "0x0", "1\n"):
        with pytest.raises(errors.MinidockError) as refused:
            engine.containers.run(name, ["true"], user=user, remove=True)
        assert "\n" not in str(refused.value)


def test_cve_2024_40635_user_of_the_image(engine: minidock.Engine, image: Image) -> None:
    assert ids(engine, image(("etc/passwd", PASSWD), changes=("USER 1",)), "")[0] == 1
    name = image(changes=("USER 4294967296",))
    with pytest.raises(errors.MinidockError):
        engine.containers.run(name, ["true"], remove=True)


def test_cve_2022_2989_2022_36109_groups_exactly_as_listed(engine: minidock.Engine, image: Image) -> None:
    name = image()
    before = os.getgroups()
    os.setgroups([27, 44])
    try:
        for user, uid, gid, groups in (
            ("app", 1000, 1000, {10, 29}),
            ("1000", 1000, 1000, {10, 29}),
            ("app:audio", 1000, 29, set()),
            ("1000:50", 1000, 50, set()),
            ("4242", 4242, 0, set()),
            ("4242:7", 4242, 7, set()),
        ):
            found = ids(engine, name, user)
            assert (found[0], found[1], found[2] - {gid}) == (uid, gid, groups), user
        assert ids(engine, name, "app", group_add=["7", "daemon"])[2] - {1000} == {10, 29, 7, 1}
    finally:
        os.setgroups(before)


@pytest.mark.parametrize("file", ["passwd", "group"])
def test_cve_2024_9676_2023_25153_fifo_for_a_user_file(engine: minidock.Engine, image: Image, file: str) -> None:
    fifo = tarfile.TarInfo(f"etc/{file}")
    fifo.type, fifo.mode = tarfile.FIFOTYPE, 0o666
    name = image(fifo, without=(f"etc/{file}",))
    with pytest.raises(errors.MinidockError) as refused:  # who opens it waits for ever
        engine.containers.run(name, ["true"], user="app:wheel", remove=True)
    assert file in str(refused.value)


def cached(path: Path) -> int:
    """How many bytes of a file are in the page cache: so many of it were read, by whomever."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * (len(mapped) // mmap.PAGESIZE))()
        start = ctypes.c_ubyte.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), pages) == 0
        del start
        return sum(page & 1 for page in pages) * mmap.PAGESIZE


@pytest.mark.parametrize("file", ["passwd", "group"])
def test_cve_2026_47262_giant_user_file(engine: minidock.Engine, image: Image, roots: Roots, file: str) -> None:
    name = image()
    giants = list(roots.data.glob(f"layers/*/fs/etc/{file}"))
    for giant in giants:
        os.truncate(giant, 2 << 30)
    with pytest.raises(errors.MinidockError) as refused:
        engine.containers.run(name, ["true"], user="app:wheel", remove=True)
    assert sum(map(cached, giants)) < 64 << 20
    assert file in str(refused.value)


def test_cve_2024_9676_links_for_user_files_stay_inside(engine: minidock.Engine, image: Image) -> None:
    link = tarfile.TarInfo("etc/passwd")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/own"
    name = image(link, ("etc/own", b"inner:x:77:77::/:/bin/sh\n"), without=("etc/passwd",))
    assert ids(engine, name, "inner")[0] == 77
    link.linkname = "/proc/self/root/etc/passwd"
    name = image(link, without=("etc/passwd",))
    with pytest.raises(errors.MinidockError):
        engine.containers.run(name, ["true"], user="nobody-at-all", remove=True)


def test_cve_2017_14992_giant_cpuset(cli: Cli, roots: Roots) -> None:
    cli.ok("import", str(busybox_tar()), "busybox")
    for value in ("0-4294967295", "0-99999999999999999999", "0," * 30_000 + "4294967295", "4294967295"):
        done = cli("run", "--rm", "--cpuset-cpus", value, "busybox", "true", timeout=20)
        assert done.returncode == 125
        assert done.stderr.count(b"\n") <= 3, done.stderr[:500]
        assert b"Traceback" not in done.stderr


def test_cve_2022_0811_sysctl_value_sets_no_other(engine: minidock.Engine, image: Image) -> None:
    name = image()
    for sysctl in (
        "kernel.shm_rmid_forced=1+kernel.core_pattern=pwned",
        "kernel.core_pattern=pwned",
        "kernel/core_pattern=pwned",
        "net.ipv4.ip_forward=1\nkernel.core_pattern=pwned",
        "net/../kernel/core_pattern=pwned",
        "net.ipv4.conf./../../../kernel/core_pattern=pwned",
        "kernel.shm_rmid_forced.=1",
    ):
        with pytest.raises(errors.MinidockError) as refused:
            engine.containers.run(name, ["true"], sysctls=[sysctl], remove=True)
        assert "\n" not in str(refused.value)
    with open("/proc/sys/kernel/core_pattern") as pattern:
        assert "pwned" not in pattern.read()
    result = engine.containers.run(
        name, ["cat", "/proc/sys/kernel/shm_rmid_forced"], sysctls={"kernel.shm_rmid_forced": "1"}, remove=True
    )
    assert result.stdout == b"1\n"


def test_cve_2021_43784_lengths_over_the_message(engine: minidock.Engine, image: Image) -> None:
    """What the helper is told may be longer than any buffer on the way."""
    name = image()
    for size in (65_535, 65_536, 65_537, 130_000):
        result = engine.containers.run(
            name, ["sh", "-c", 'printf %s "$BIG" | wc -c'], environment=[f"BIG={'x' * size}"], remove=True
        )
        assert result.stdout.split() == [str(size).encode()]
    with pytest.raises(errors.MinidockError) as refused:
        engine.containers.run(name, ["true"], environment=[f"BIG={'x' * (1 << 22)}"], remove=True)
    assert len(str(refused.value)) < 10_000
    with pytest.raises(errors.MinidockError):
        engine.containers.run(name, ["/" + "x" * 70_000], remove=True)


def test_cve_2026_53488_reserved_labels_are_data(engine: minidock.Engine, image: Image) -> None:
    labels = [
        "io.containerd.runc.v2.group=x",
        "com.docker.network.portmap=x",
        "minidock.privileged=true",
        "org.mobyproject.privileged=true",
        "io.kubernetes.cri.container-type=sandbox",
        "run.oci.keep_original_groups=1",
    ]
    name = image(changes=tuple(f"LABEL {label}" for label in labels))
    result = engine.containers.run(name, ["probe", "status"], labels=labels, annotations=labels, remove=True)
    assert b"CapEff:\t00000000a80425fb" in result.stdout
    assert b"Seccomp:\t2" in result.stdout
