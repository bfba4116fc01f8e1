"""Disks of virtual machines: Debian from mmdebstrap as a filesystem, without a mount, kept outside the repository."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.installs import interpreter
from tests.rootfs import CACHE
from tests.vm.machines import Machine

HOME = CACHE / "vm"
INSIDE = Path(__file__).with_name("inside")


@dataclass(frozen=True)
class Disk:
    """A root filesystem with the kernel that boots it."""

    image: Path
    kernel: Path
    initrd: Path


def mkfs(image: Path, folder: Path, size_mib: int) -> None:
    """Make an ext4 filesystem with the content of a directory."""
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    options = ["-q", "-F", "-E", "lazy_itable_init=1,root_owner=0:0"]
    subprocess.run(["mkfs.ext4", *options, "-d", str(folder), str(image)], check=True)


@contextmanager
def _folder() -> Iterator[Path]:
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME, prefix="making-") as made:
        yield Path(made)


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return the directory of a name, made whole or not at all."""
    target = HOME / name
    if not target.exists():
        with _folder() as folder:
            inner = folder / "made"
            inner.mkdir()
            make(inner)
            try:
                inner.rename(target)
            except OSError:  # another process has made it meanwhile
                if not target.exists():
                    raise
    return target


def disk(machine: Machine) -> Disk:
    """Return a machine's root disk, made the first time (about a minute)."""
    files = sorted(path for path in (INSIDE / "root").rglob("*") if path.is_file())
    recipe = hashlib.sha256(repr((machine.suite, machine.every_package, machine.setup, "6")).encode())
    for path in files:
        recipe.update(path.read_bytes())

    def make(target: Path) -> None:
        with _folder() as folder:
            root = folder / "root"
            subprocess.run(
                [
                    "mmdebstrap", "--quiet", "--variant=minbase", f"--include={machine.every_package}",
                    "--aptopt=Apt::Install-Recommends false", "--components=main",
                    # A mirror may keep Debian's unstable release as it was on some day.
                    f"--aptopt=Acquire::Check-Valid-Until {str(machine.suite != 'sid').lower()}",
                    "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
                    "--dpkgopt=path-exclude=/usr/share/locale/*", f"--customize-hook=cp -r {INSIDE}/root/. \"$1\"",
                    f"--customize-hook=cd \"$1\"; {machine.setup or ':'}", machine.suite, str(root),
                ],
                check=True,
            )  # fmt: skip
            # Made at the boot: one from here has no label of SELinux, and the journal stays away.
            (root / "etc/machine-id").unlink(missing_ok=True)
            boot = root / "boot"
            shutil.copy(next(boot.glob("vmlinuz-*")), target / "kernel")
            shutil.copy(next(boot.glob("initrd.img-*")), target / "initrd")
            shutil.rmtree(boot)
            mkfs(target / "root.img", root, 4096)

    made = _cached(f"{machine.suite}-{recipe.hexdigest()[:16]}", make)
    return Disk(made / "root.img", made / "kernel", made / "initrd")


def site(python: str) -> Path:
    """Return a directory with the pinned packages that the suites need, for a version of Python."""
    project = Path(__file__).parents[2]
    pins = (project / "requirements-dev.txt").read_bytes()
    left_out = {"maturin", "mypy", "ruff", "rust-just", "pip", "librt", "ast-serialize"}
    wanted = [
        line.split()[0]
        for line in pins.decode().splitlines()
        if "==" in line and line[0] not in " #" and line.split("==")[0] not in left_out
    ]

    def make(target: Path) -> None:
        platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17, 5)]
        subprocess.run(
            [
                "python3", "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile",
                f"--python-version={python}",
                "--implementation=cp", *platforms, f"--target={target}", *wanted,
            ],
            check=True,
        )  # fmt: skip
        if compiler := interpreter(python):
            subprocess.run([compiler, "-m", "compileall", "-q", "-j", "2", str(target)], check=False)

    return _cached(f"site-{python}-{hashlib.sha256(repr((wanted, 2)).encode()).hexdigest()[:16]}", make)
