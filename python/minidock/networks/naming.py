"""Names of what the kernel has for networks, and what the default one is made from. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

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


def fingerprint(config: Config, run_root: str) -> str:
    """What of the configuration the default network is made from, as text that changes when that changes."""
    return msgspec.json.encode(
        (
            default_bridge(config, run_root),
            config.bip,
            config.bip6,
            config.fixed_cidr,
            config.fixed_cidr_v6,
            config.default_gateway,
            config.default_gateway_v6,
            config.default_address_pools,
            config.icc,
            config.ip,
            config.ip_masq,
            config.ipv6,
            config.mtu,
        )
    ).decode()
