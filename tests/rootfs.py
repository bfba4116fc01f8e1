"""Root filesystems for tests, made from distribution packages and cached outside the repository, keyed by recipe."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from typing import Literal

CACHE = Path(os.environ.get("MINIDOCK_TEST_CACHE", Path.home() / ".cache" / "minidock-tests"))

_PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
_GROUP = """root:x:0:
daemon:x:1:
wheel:x:10:root,app
audio:x:29:app
app:x:1000:
nogroup:x:65534:
"""


def _publish(made: Path, target: Path) -> Path:
    """Several test runs may make the same file at once: rename is the only visible step."""
    made.rename(target)
    return target


@cache
def busybox_tar(links: Literal["hard", "symbolic"] = "hard") -> Path:
    """A tar of a root filesystem around Debian's busybox-static, byte for byte the same each time.

    Its commands are hard links, as in Docker Hub's image: an inode each would be most of an import's time.
    """
    program = shutil.which("busybox")
    assert program, "busybox is missing: apt-get install busybox-static (just setup does it)"
    binary = Path(program).read_bytes()
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    recipe = hashlib.sha256(binary + _PASSWD.encode() + _GROUP.encode() + links.encode()).hexdigest()[:16]
    target = CACHE / f"busybox-{recipe}.tar"
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    made = target.with_suffix(f".{os.getpid()}")

    def add(tar: tarfile.TarFile, name: str, *, data: bytes | None = None, mode: int, link: str | None = None) -> None:
        info = tarfile.TarInfo(name)
        info.mode = mode
        if link is not None:
            info.type, info.linkname = (tarfile.LNKTYPE if links == "hard" else tarfile.SYMTYPE), link
            tar.addfile(info)
        elif data is None:
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        else:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as tar:
        for folder in (
            "bin",
            "dev",
            "etc",
            "home",
            "home/app",
            "proc",
            "root",
            "sys",
            "usr",
            "usr/bin",
            "var",
            "var/log",
        ):
            add(tar, folder, mode=0o755)
        add(tar, "tmp", mode=0o1777)
        add(tar, "bin/busybox", data=binary, mode=0o755)
        for applet in applets:
            if applet != "busybox":
                if links == "hard":
                    add(tar, f"bin/{applet}", mode=0o755, link="bin/busybox")
                else:
                    add(tar, f"bin/{applet}", mode=0o777, link="busybox")
        add(tar, "etc/passwd", data=_PASSWD.encode(), mode=0o644)
        add(tar, "etc/group", data=_GROUP.encode(), mode=0o644)
    return _publish(made, target)


@cache
def debian_tar() -> Path:
    """A tar of a minimal Debian made by mmdebstrap (about 15 s the first time)."""
    target = CACHE / "debian-bookworm-minbase.tar"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = CACHE / f"debian.{os.getpid()}.tar"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(made)], check=True)
        _publish(made, target)
    return target


@cache
def servers_tar() -> Path:
    """A tar of a minimal Debian with real servers: nginx, redis and PostgreSQL."""
    return packages_tar("nginx-light", "redis-server", "postgresql")


@cache
def mariadb_tar() -> Path:
    """A tar of a minimal Debian with MariaDB."""
    return packages_tar("mariadb-server")


def tree(tar: Path) -> Path:
    """The files of one of these tars, used copy-on-write by ``--rootfs``: nothing is imported or removed."""
    target = tar.with_suffix("")
    if not target.exists():
        made = tar.with_suffix(f".{os.getpid()}")
        made.mkdir()
        subprocess.run(["tar", "-xpf", str(tar), "-C", str(made), "--numeric-owner", "--xattrs"], check=True)
        _publish(made, target)
    return target


def packages_tar(*packages: str) -> Path:
    """A tar of a minimal Debian with packages."""
    target = CACHE / f"debian-bookworm-{'-'.join(packages)}.tar"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = target.with_suffix(f".{os.getpid()}.tar")
        include = f"--include={','.join(packages)}"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", include, "bookworm", str(made)], check=True)
        _publish(made, target)
    return target


if __name__ == "__main__":
    print(busybox_tar())
