"""Health of containers: what the supervisor is to check, and what it has found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from minidock.containers.liveness import read
from minidock.spec import decoding
from minidock.spec.docker import Health
from minidock.spec.oci_image import Healthcheck

if TYPE_CHECKING:
    from minidock.containers.record import Record
    from minidock.spec.docker import ContainerConfig, ContainerState
    from minidock.store.paths import Paths

_MILLISECOND = 1_000_000
_INTERVAL = _TIMEOUT = 30_000
_START_INTERVAL = 5_000
_RETRIES = 3
_SHELL = ("/bin/sh", "-c")


def command(config: ContainerConfig) -> list[str]:
    """Return what is executed to check the health of containers of this configuration; empty for nothing."""
    check = config.healthcheck
    if not isinstance(check, Healthcheck) or not check.test or len(check.test) < 2:
        return []
    kind, *words = check.test
    if kind == "CMD":
        return words
    shell = config.shell if isinstance(config.shell, list) and config.shell else _SHELL
    return [*shell, *words] if kind == "CMD-SHELL" else []


def document(record: Record) -> dict[str, Any] | None:
    """Return the section ``health`` of the supervisor's document (docs/supervisor.md); None without a check."""
    argv = command(record.config)
    check = record.config.healthcheck
    if not argv or not isinstance(check, Healthcheck):
        return None
    from minidock.containers import exec_options

    def milliseconds(nanoseconds: int, default: int) -> int:
        return max(1, nanoseconds // _MILLISECOND) if nanoseconds > 0 else default

    process = exec_options.process(record, exec_options.ExecConfig(argv), None)
    return {
        "process": process,
        "interval_ms": milliseconds(check.interval, _INTERVAL),
        "timeout_ms": milliseconds(check.timeout, _TIMEOUT),
        "start_period_ms": milliseconds(check.start_period, 0),
        "start_interval_ms": milliseconds(check.start_interval, _START_INTERVAL),
        "retries": check.retries if check.retries > 0 else _RETRIES,
        "on_failure": record.health_on_failure,
    }


def health(record: Record, state: ContainerState, paths: Paths) -> Health | UnsetType:
    """Return the health of a container that has been started; UNSET without a check.

    Docker calls one that is paused or has ended unhealthy, and so does this.
    """
    if not command(record.config):
        return UNSET
    found = _read(paths.run_container(record.id)) or _read(paths.container(record.id))
    runs = state.status == "running"
    if found is None:
        return Health(status="starting" if runs else "unhealthy", log=[])
    if not runs:
        found.status = "unhealthy"
    return found


def _read(directory: str) -> Health | None:
    text = read(f"{directory}/health.json")
    if text is None:
        return None
    try:
        return decoding.decode(text, Health)
    except msgspec.DecodeError:
        return None
