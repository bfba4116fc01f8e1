"""Others' source packages, fetched when they are needed into the tests' cache, by their hashes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.rootfs import CACHE

PACKAGES = {
    # The last of docker-py's source packages that has its tests.
    "docker==7.0.0": "323736fb92cd9418fc5e7133bc953e11a9da04f4483f828b527db553f1e7e5a3",
}


def fetched(package: str) -> Path:
    """A directory with ``tests`` of a source package; its code is left out, so that the installed one is tested."""
    target = CACHE / f"{package.replace('==', '-')}-tests"
    if target.exists():
        return target
    work = CACHE / f"{target.name}.{os.getpid()}"
    work.mkdir(parents=True)
    wanted = work / "requirements.txt"
    wanted.write_text(f"{package} --hash=sha256:{PACKAGES[package]}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--require-hashes", "-r", wanted, "-d", work], check=True, capture_output=True)
    (archive,) = work.glob("*.tar.gz")
    made = work / "made"
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, inside = member.name.partition("/")
            if member.isfile() and inside.startswith("tests/"):
                member.name = inside
                tar.extract(member, made, filter="data")
    publish(made, target)
    shutil.rmtree(work)
    return target


def publish(made: Path, target: Path) -> None:
    """Put a directory in its place, unless another process has just done so."""
    try:
        made.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(made)
