"""What a finished container leaves behind."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """What a container consumed over its whole life, all of its processes together."""

    memory_peak: int
    """The largest memory charge, in bytes."""
    cpu_seconds: float
    """CPU time, user and system."""
    wall_seconds: float
    """From the start of PID 1 to its end."""
    read_bytes: int
    """Read from block devices."""
    write_bytes: int
    """Written to block devices."""


class ExitStatus(msgspec.Struct, frozen=True):
    """How a container ended."""

    exit_code: int
    """Of PID 1; 128 + n when signal n killed it."""
    signal: int | None
    """The signal that killed PID 1."""
    oom_killed: bool
    """Whether the kernel killed a process of the container because its memory limit was reached."""
    timed_out: bool
    """Whether the ``timeout`` option ended it."""
    usage: Usage


class RunResult(msgspec.Struct, frozen=True):
    """What ``minidock.run`` returns."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    """Of PID 1; 128 + n when signal n killed it."""
    oom_killed: bool
    timed_out: bool
    usage: Usage
    container_id: str
    signal: int | None = None
    warnings: tuple[str, ...] = ()
    """What the host could not enforce, one line each."""


class ExecResult(msgspec.Struct, frozen=True):
    """What came of a command in a running container."""

    stdout: bytes
    """Empty where the caller's own descriptors got it; with a tty, all output."""
    stderr: bytes
    exit_code: int
    """128 + n when signal n killed it."""
    signal: int | None
    timed_out: bool
    """Whether its ``timeout`` ended it."""
    usage: Usage
    """Of the command and of what it has waited for; the peak is that of the largest process."""
