"""Boot a machine, let it run its job, and read what it reports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import programs, rootfs
from tests.packaging.installs import interpreter
from tests.vm import images
from tests.vm.machines import CMDLINE, Machine

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """One test's end inside a machine."""

    test: str
    outcome: str
    when: str
    reason: str


class MachineFailedError(Exception):
    """The machine ended before its job was over; the text is the end of its console."""


@cache
def accelerator() -> str:
    """How QEMU runs code: by KVM where a guest really runs with it, else by emulation."""
    if os.environ.get("MINIDOCK_VM_ACCEL"):
        return os.environ["MINIDOCK_VM_ACCEL"]
    # One thread for all processors: with more, a kernel that changes its own code (jump labels) panics at times.
    return "tcg,thread=single"


CPU = "Westmere"
"""The first with all that x86-64-v2 asks for: what came later (AVX) an emulated processor has slowly, or not whole."""

PARTS = ("python", "tests", "benches", "pyproject.toml", "README.md", "CHANGELOG.md", "docs", "rust", "tools")
"""What of the project a machine gets."""


def _job(machine: Machine, tests: str, folder: Path) -> Path:
    """The second disk: the project as it is here, what its tests need, and which of them are to run."""
    job = folder / "job"
    project = job / "project"
    project.mkdir(parents=True)
    for name in PARTS:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(
                source, project / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "target")
            )
        else:
            shutil.copy(source, project / name)
    shutil.copytree(images.site(machine.python), job / "site", symlinks=True)
    _compile(machine.python, project, job / "site", tests)
    cache = job / "cache"
    cache.mkdir()
    shutil.copy(rootfs.busybox_tar(), cache)
    # What a machine without a compiler and a mirror cannot make: programs, and images of Debian if whole folders run.
    wanted = [programs.PROBE.made(), programs.AGENT.made()]
    if any("/test_" not in word for word in tests.split() or ["tests"]):
        wanted += [rootfs.debian_tar(), rootfs.servers_tar(), rootfs.mariadb_tar()]
    for path in wanted:
        shutil.copy(path, cache)
    shutil.copy(images.INSIDE / "run", job / "run")
    (job / "tests").write_text(f"{tests}\n")
    (job / "data").write_text(machine.data)
    (job / "prepare").write_text(machine.prepare)
    disk = folder / "job.img"
    images.mkfs(disk, job, 3072)
    shutil.rmtree(job)
    return disk


def _compile(version: str, project: Path, site: Path, tests: str) -> None:
    """Leave the machine as little to compile as may be: emulated, that takes minutes for the whole of the suites."""
    python = interpreter(version)
    if python is None:
        return
    subprocess.run([python, "-m", "compileall", "-q", str(project / "python")], check=False)
    writes = {"PYTHONDONTWRITEBYTECODE": ""}
    words = [word for word in tests.split() if word.startswith("tests/")] or ["tests"]
    subprocess.run(  # its own compiler of test modules
        [python, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *words],
        cwd=project,
        env={**os.environ, **writes, "PYTHONPATH": f"{site}:{project}/python:{project}", "MINIDOCK_TEST_ALONE": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@contextmanager
def booted(machine: Machine, tests: str, folder: Path, *, stays: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A machine for the time of a ``with`` block; ``console`` and ``results`` in ``folder`` are what it says.

    With ``stays`` it has a disk ``next``, through which it is told what to do when it has done what it was booted for.
    """
    root = images.disk(machine)
    job = _job(machine, tests, folder)
    console, said, data, following = (folder / name for name in ("console", "results", "data.img", "next"))
    said.touch()
    _sparse(data, 8 << 30)
    argv = [
        "qemu-system-x86_64", "-accel", accelerator(), "-cpu", CPU, "-smp", str(machine.cpus),
        "-m", str(machine.memory_mib), "-nodefaults", "-no-user-config", "-display", "none",
        "-kernel", str(root.kernel), "-initrd", str(root.initrd),
        "-append", f"root=/dev/vda rw console=ttyS0 quiet panic=-1 {CMDLINE} {machine.cmdline}",
        "-drive", f"file={root.image},format=raw,if=virtio,snapshot=on,cache=unsafe",
        "-drive", f"file={job},format=raw,if=virtio,cache=unsafe",
        "-drive", f"file={data},format=raw,if=virtio,cache=unsafe",
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
        "-device", "virtio-serial", "-chardev", f"file,id=results,path={said}",
        "-device", "virtserialport,chardev=results,name=results",
        "-device", "virtio-rng-pci", "-nic", "user,restrict=on,model=virtio",
    ]  # fmt: skip
    if stays:
        _sparse(following, 256 << 20)
        argv += ["-drive", f"file={following},format=raw,if=virtio,cache=unsafe"]
    elif "\n" not in tests:
        argv += ["-no-reboot"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(folder)})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run(machine: Machine, tests: str, timeout: float) -> Iterator[Result]:
    """Boot a machine and yield its results as they come; its disks are as they were afterwards.

    Raises MachineFailedError when it does not come to its job's end within ``timeout`` seconds.
    """
    with tempfile.TemporaryDirectory(dir=images.HOME, prefix="run-") as made, booted(machine, tests, Path(made)) as it:
        folder = Path(made)
        yield from results(it.poll, folder / "results", folder / "console", time.monotonic() + timeout)


def results(poll: Callable[[], object], said: Path, console: Path, end: float, begin: int = 0) -> Iterator[Result]:
    """Yield what a machine writes to ``said`` as it comes, until its job is over. Raises MachineFailedError."""
    with said.open("rb") as lines:
        lines.seek(begin)
        rest = b""
        while True:
            ended = poll() is not None
            rest += lines.read()
            *whole, rest = rest.split(b"\n")
            for line in whole:
                found = json.loads(line)
                if found.get("over") in (0, 1):
                    return
                if "over" in found:
                    time.sleep(2)  # for pytest's own words
                    raise MachineFailedError(f"pytest ended with {found['over']}:\n{_tail(console)}")
                yield Result(**found)
            if ended or time.monotonic() > end:
                words = "ended" if ended else "was stopped at its time's end"
                raise MachineFailedError(f"the machine {words}, before its job was over:\n{_tail(console)}")
            time.sleep(0.2)


def _tail(console: Path) -> str:
    return console.read_text(errors="replace")[-8000:]
