"""The supervisor's ``exited`` packet as a value."""

from __future__ import annotations

from typing import Any

import msgspec

from minidock.containers.result import ExitStatus, Usage


def exit_status(packet: bytes) -> ExitStatus:
    """Return what an ``exited`` packet says."""
    said: dict[str, Any] = msgspec.json.decode(packet)
    return ExitStatus(
        exit_code=said["exit_code"],
        signal=said.get("signal"),
        oom_killed=bool(said.get("oom_killed")),
        timed_out=bool(said.get("timed_out")),
        usage=usage(said.get("usage") or {}),
    )


def usage(said: dict[str, Any]) -> Usage:
    """Return the ``usage`` object of such a packet, or of an exit record."""
    return Usage(
        memory_peak=said.get("memory_peak") or 0,
        cpu_seconds=(said.get("cpu_ns") or 0) / 1e9,
        wall_seconds=(said.get("wall_ns") or 0) / 1e9,
        read_bytes=said.get("read_bytes") or 0,
        write_bytes=said.get("write_bytes") or 0,
    )
