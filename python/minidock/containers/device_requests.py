"""Requests to device drivers, such as GPUs: no driver is there, which is said at the start, as by Docker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.errors import SystemFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.spec.docker import DeviceRequest


def refuse(requests: Sequence[DeviceRequest]) -> None:
    """Raise SystemFailure, in Docker's words where nobody has such devices, unless nothing is requested."""
    for request in requests:
        if request.driver == "cdi":
            names = ", ".join(request.device_ids or ())
            raise SystemFailure(f"CDI device injection failed: unresolvable CDI devices {names}")
        groups = " ".join(f"[{' '.join(group)}]" for group in request.capabilities or ())
        raise SystemFailure(f'could not select device driver "{request.driver}" with capabilities: [{groups}]')
