"""Options of the network and of name resolution."""

from __future__ import annotations

from typing import Any

from minidock.containers.draft.base import Draft, Handler, text, texts
from minidock.containers.parse import hosts
from minidock.errors import InvalidArgument, Unsupported


def _network(draft: Draft, value: object) -> None:
    mode = text(value)
    if mode in ("none", "host"):
        draft.host_config.network_mode = mode
    elif mode in ("", "default"):
        draft.host_config.network_mode = "none"
    elif not mode.isprintable() or len(mode) > 255:
        raise InvalidArgument(f"invalid network: {mode[:100]!a}")
    else:
        raise Unsupported(f"network {mode} not found: this version has the networks none and host only")


def _extra_hosts(draft: Draft, value: Any) -> None:
    entries = hosts.extra_hosts(value)
    for entry in entries:
        if entry.endswith(":host-gateway"):
            raise Unsupported(f"{entry}: unable to derive the IP value for host-gateway without a bridge network")
    draft.host_config.extra_hosts = entries


def _dns(draft: Draft, value: object) -> None:
    draft.host_config.dns = [hosts.dns_server(entry) for entry in texts(value)]


def _dns_opt(draft: Draft, value: object) -> None:
    draft.host_config.dns_options = [hosts.dns_option(entry) for entry in texts(value)]


def _dns_search(draft: Draft, value: object) -> None:
    draft.host_config.dns_search = [hosts.dns_search(entry) for entry in texts(value)]


HANDLERS: dict[str, Handler] = {
    "network": _network,
    "extra_hosts": _extra_hosts,
    "dns": _dns,
    "dns_opt": _dns_opt,
    "dns_search": _dns_search,
}
