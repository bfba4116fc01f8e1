"""Where the release wheel is installed: this machine's Pythons, roots of distributions kept outside the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.rootfs import CACHE

PROJECT = Path(__file__).parents[2]

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""What the wheel is for: the oldest by its abi3 tag, the newest that there is."""


@dataclass(frozen=True)
class Distribution:
    """A root that mmdebstrap makes. ``mirror`` is empty for Debian's own; ``python`` is the version used there."""

    name: str
    suite: str
    python: str
    packages: str = ""
    mirror: str = ""
    arch: str = "amd64"

    @property
    def machine(self) -> str:
        """The kernel's name of the architecture, as wheels are tagged."""
        return {"amd64": "x86_64", "arm64": "aarch64"}[self.arch]


_UBUNTU = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
_VENV = "python3,python3-venv"

DISTRIBUTIONS = (
    Distribution("debian-12", "bookworm", "3.11", _VENV),
    Distribution("debian-13", "trixie", "3.13", _VENV),
    Distribution("debian-sid", "sid", "3.14", "python3.14-venv"),
    Distribution(
        "ubuntu-24.04",
        "noble",
        "3.12",
        _VENV,
        f"deb [signed-by={_UBUNTU}] http://archive.ubuntu.com/ubuntu noble main universe",
    ),
)
ARM = Distribution("debian-13-arm64", "trixie", "3.13", "base-files,coreutils,dash,python3", arch="arm64")


def root(distribution: Distribution) -> Path:
    """Return the files of a distribution, unpacked the first time; of another machine's, no package is configured.

    Raises CalledProcessError where its mirror cannot be reached.
    """
    target = CACHE / f"install-{distribution.name}"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = target.with_suffix(".making")
        shutil.rmtree(made, ignore_errors=True)
        variant = "minbase" if distribution.arch == "amd64" else "extract"
        subprocess.run(
            [
                "mmdebstrap", "--quiet", f"--variant={variant}", f"--include={distribution.packages}",
                f"--architectures={distribution.arch}", "--format=directory", "--aptopt=Apt::Install-Recommends false",
                # A mirror that was frozen does; what is in it is signed all the same.
                '--aptopt=Acquire::Check-Valid-Until "false"', "--dpkgopt=force-unsafe-io",
                "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
                distribution.suite, str(made), *([distribution.mirror] if distribution.mirror else []),
            ],
            check=True,
        )  # fmt: skip
        made.rename(target)
    return target


def interpreter(version: str) -> str | None:
    """Return a Python of this version: on the PATH, or one that pyenv or uv has installed."""
    found = shutil.which(f"python{version}")
    if found and _is(found, version):
        return found
    for pattern in (
        f".pyenv/versions/{version}.*/bin/python3",
        f".local/share/uv/python/cpython-{version}.*/bin/python3",
    ):
        for path in sorted(Path.home().glob(pattern)):
            if _is(str(path), version):
                return str(path)
    return None


def _is(program: str, version: str) -> bool:
    """Whether it runs and is of the version: pyenv leaves programs on the PATH that only say what is not installed."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([program, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() == version


def wheelhouse(wheel: Path, version: str, machine: str, folder: Path) -> Path:
    """Fill ``folder`` with the wheel and all that it requires, for a Python and a machine; pip goes by the tags."""
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (28, 17)] + [
        f"--platform=manylinux2014_{machine}"
    ]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--implementation=cp",
            f"--python-version={version}", *platforms, f"--dest={folder}", str(wheel),
        ],
        check=True,
    )  # fmt: skip
    return folder


def versions_needed(library: bytes) -> set[tuple[int, ...]]:
    """The versions of glibc that an ELF file names."""
    return {
        tuple(int(part) for part in found.split(b".")) for found in re.findall(rb"\0GLIBC_([0-9.]+)(?=\0)", library)
    }
