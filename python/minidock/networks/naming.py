"""Names of what the kernel has for networks: interfaces and the table of the firewall. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidock.config import Config

_DEFAULT_RUN_ROOT = "/run/minidock"


def _tail(run_root: str) -> str:
    import hashlib

    return hashlib.sha256(run_root.encode()).hexdigest()[:8]


def table(run_root: str) -> str:
    """The nf_tables table of a run root."""
    return "minidock" if run_root == _DEFAULT_RUN_ROOT else f"minidock-{_tail(run_root)}"


def default_bridge(config: Config, run_root: str) -> str:
    """The bridge of a run root's default network."""
    return config.bridge or ("minidock0" if run_root == _DEFAULT_RUN_ROOT else f"mdb-{_tail(run_root)}")
