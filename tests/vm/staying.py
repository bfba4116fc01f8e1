"""Machines that stay on, for work on what fails there: a boot takes a minute, another run of a test seconds."""

from __future__ import annotations

import signal
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from tests.vm import images
from tests.vm.boot import PARTS, PROJECT, MachineFailedError, Result, booted, results
from tests.vm.machines import Machine

_BEGIN = 1 << 20
"""Where the tar begins on the disk ``next``; before it is one line: a number, the tar's size in MiB."""


def _home(name: str) -> Path:
    return images.HOME / f"stay-{name}"


def stay(machine: Machine, name: str) -> None:
    """Boot a machine and keep it until this process is interrupted or terminated."""
    folder = _home(name)
    folder.mkdir(parents=True)
    # A shell's background jobs ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with booted(machine, "", folder, stays=True) as process:
            (folder / "pid").write_text(str(process.pid))
            print(f"{folder}/console", flush=True)
            process.wait()
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def _left_out(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name or member.name.startswith("rust/target") else member


def _send(name: str, script: str) -> tuple[Path, int]:
    """Give a machine the tree and a script to run; returns its folder and where in its results to look on from."""
    folder = _home(name)
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for part in PARTS:
            tar.add(PROJECT / part, part, filter=_left_out)
        member = tarfile.TarInfo("next.sh")
        member.size = len(script.encode())
        tar.addfile(member, BytesIO(script.encode()))
    begin = (folder / "results").stat().st_size
    data = made.getvalue()
    with (folder / "next").open("r+b") as disk:
        number = int(disk.read(512).split(b" ")[0].strip(b"\0") or b"0")
        disk.seek(_BEGIN)
        disk.write(data)
        disk.flush()
        disk.seek(0)
        disk.write(f"{number + 1} {(len(data) >> 20) + 1} \n".encode().ljust(512, b"\0"))
    return folder, begin


def _alive(folder: Path) -> object:
    try:
        return None if Path(f"/proc/{(folder / 'pid').read_text()}").exists() else "ended"
    except FileNotFoundError:
        return "ended"


def run(name: str, tests: str) -> Iterator[Result]:
    """Run tests in a machine that stays."""
    folder, begin = _send(name, f"run_tests {tests}")
    yield from results(lambda: _alive(folder), folder / "results", folder / "console", time.monotonic() + 86400, begin)


def shell(name: str, command: str) -> str:
    """Run a command in a machine that stays; returns what it wrote. Raises MachineFailedError."""
    wrapped = (
        f"{{ {command}\n}} >/tmp/out 2>&1; echo \"exit $?\" >>/tmp/out; python3 -c '{_REPORT}' >$MINIDOCK_VM_RESULTS"
    )
    folder, begin = _send(name, wrapped)
    for result in results(
        lambda: _alive(folder), folder / "results", folder / "console", time.monotonic() + 600, begin
    ):
        return result.reason
    raise MachineFailedError("nothing was said")


_REPORT = (
    'import json; print(json.dumps(dict(test="sh", outcome="passed", when="call", '
    'reason=open("/tmp/out", errors="replace").read()[-30000:])))'
)
