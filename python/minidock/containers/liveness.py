"""Kernel facts: whether what a pid file names is still the same process of this boot, and how a container ended."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import msgspec

from minidock.spec import decoding


class PidFile(msgspec.Struct):
    """``run_dir/pid``; start times in clock ticks since boot (field 22 of /proc/PID/stat). No PID 1 yet: ``pid`` 0."""

    supervisor: int
    supervisor_start: int
    boot_id: str
    pid: int = 0
    start_time: int = 0
    cgroup: str = ""
    status: str = "running"
    """``starting``, ``running``, ``restarting``."""
    started_at: str = ""
    restart_count: int = 0
    exit_code: int = 0
    finished_at: str = ""
    oom_killed: bool = False


class ExitRecord(msgspec.Struct):
    """``exit.json``; times are RFC 3339."""

    exit_code: int
    signal: int | None = None
    oom_killed: bool = False
    timed_out: bool = False
    started_at: str = ""
    finished_at: str = ""
    usage: dict[str, Any] = {}
    final: bool = True
    """False: it was about to be started again."""
    restart_count: int = 0
    error: str | None = None
    """Why it could not be started again."""


_decode_pid = decoding.decoder(PidFile).decode
decode_exit = decoding.decoder(ExitRecord).decode


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when there is none, or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except OSError:
        return None
    # The name in brackets may hold anything, brackets and spaces too.
    fields = text[text.rfind(b")") + 2 :].split()
    return None if not fields or fields[0] in (b"Z", b"X") else int(fields[19])


def pid_file(run_dir: str) -> PidFile | None:
    """Return what ``run_dir/pid`` says; None when it does not exist or is torn."""
    text = read(f"{run_dir}/pid")
    if text is None:
        return None
    try:
        return _decode_pid(text)
    except msgspec.DecodeError:
        return None


def exit_record(bundle: str) -> ExitRecord | None:
    """Return how the container of a bundle ended; None while it has not."""
    text = read(f"{bundle}/exit.json")
    if text is None:
        return None
    try:
        return decode_exit(text)
    except msgspec.DecodeError:
        return None


def leave_exit_record(run_dir: str, ended: ExitRecord) -> None:
    """Write down in the run directory, which is in memory, how a container ended; not where there is none."""
    path = f"{run_dir}/exit.json"
    with contextlib.suppress(OSError):
        with open(f"{path}.new", "wb") as file:
            file.write(msgspec.json.encode(ended))
        os.rename(f"{path}.new", path)


def read(path: str) -> bytes | None:
    """Return a small file's bytes; None when it does not exist."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def alive(pid: int, started: int) -> bool:
    """Whether the process ``pid`` is the one that started at ``started``."""
    return pid > 0 and start_time(pid) == started
