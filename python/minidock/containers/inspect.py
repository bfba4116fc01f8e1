"""A container's record and state as Docker's ``inspect`` and ``ps`` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers.status import parse_time, status
from minidock.spec.docker import (
    ContainerInspect,
    ContainerState,
    ContainerSummary,
    EndpointIPAMConfig,
    EndpointSettings,
    GraphDriver,
    NetworkSettings,
    Port,
    PortBinding,
    RunUsage,
    SummaryHostConfig,
    SummaryNetworkSettings,
)

if TYPE_CHECKING:
    from minidock.containers.endpoints import Endpoint
    from minidock.containers.listing import AnyRecord
    from minidock.containers.record import Record
    from minidock.spec.docker import HostConfig, MountPoint, PortMap
    from minidock.store.paths import Paths


def inspect(
    record: Record, state: ContainerState, paths: Paths, driver: str, exec_ids: list[str] | None = None
) -> ContainerInspect:
    """Return ``GET /containers/{id}/json``."""
    from minidock.containers import logging

    words = record.args
    # Docker: these files are there once it has been started.
    directory = paths.container(record.id) if state.status != "created" else ""
    donor = record.host_config.network_mode.partition(":")[2]
    shared = paths.container(donor) if donor and directory else directory
    return ContainerInspect(
        id=record.id,
        created=record.created,
        path=words[0] if words else "",
        args=words[1:],
        state=_with_usage(record, state),
        image=record.image,
        resolv_conf_path=shared and f"{shared}/resolv.conf",
        hostname_path=shared and f"{shared}/hostname",
        hosts_path=shared and f"{shared}/hosts",
        log_path=directory and logging.log_path(record, paths),
        name=f"/{record.name}",
        driver=driver,
        restart_count=record.restart_count,
        platform=record.platform,
        mount_label=record.mount_label,
        process_label=record.process_label,
        app_armor_profile=record.app_armor_profile,
        exec_ids=exec_ids,
        host_config=_host_config(record),
        graph_driver=_graph_driver(record, driver),
        mounts=_mounts(record, paths),
        config=record.config,
        network_settings=_network_settings(record, state, paths),
    )


def _mounts(record: AnyRecord, paths: Paths) -> list[MountPoint]:
    """Return its mounts as Docker shows them."""
    if not record.mounts:
        return []
    from minidock.containers.mounts.showing import shown

    return [shown(one, paths) for one in record.mounts]


def _host_config(record: Record) -> HostConfig:
    """Return the configuration with links as Docker shows them."""
    if not record.host_config.links:
        return record.host_config
    from msgspec.structs import replace

    parts = [link.partition(":") for link in record.host_config.links]
    return replace(record.host_config, links=[f"/{name}:/{record.name}/{alias}" for name, _, alias in parts])


def _with_usage(record: Record, state: ContainerState) -> ContainerState:
    """Return the state with what the last run used, if it is known and over."""
    if not record.usage or state.running:
        return state
    from msgspec.structs import replace

    from minidock.containers.exits import usage

    used = usage(record.usage)
    return replace(
        state,
        usage=RunUsage(
            memory_peak=used.memory_peak,
            cpu_seconds=used.cpu_seconds,
            wall_seconds=used.wall_seconds,
            read_bytes=used.read_bytes,
            write_bytes=used.write_bytes,
        ),
    )


def _graph_driver(record: Record, driver: str) -> GraphDriver:
    """Return where the files are; there is no merged directory, which only the container itself sees."""
    snapshot = record.snapshot
    lower = snapshot.get("lower")
    data = {
        "ID": record.id,
        "LowerDir": ":".join(lower) if isinstance(lower, list) else None,
        "UpperDir": snapshot.get("upper"),
        "WorkDir": snapshot.get("work"),
        "Dir": snapshot.get("path"),
    }
    return GraphDriver(name=driver, data={key: value for key, value in data.items() if value})


def _network_settings(record: AnyRecord, state: ContainerState, paths: Paths) -> NetworkSettings:
    """Return what a container has on its networks, and which of its ports are published, while it runs."""
    mode = record.host_config.network_mode
    if mode.startswith("container:"):
        return NetworkSettings(networks={})
    runs = state.running and not state.restarting
    if mode in ("none", "host") and record.networks.keys() == {mode}:
        made = NetworkSettings(networks={mode: EndpointSettings()})
    else:
        ends = record.endpoints if runs else {}
        made = NetworkSettings(
            networks={name: endpoint(record, name, ends.get(name)) for name in sorted(record.networks)}
        )
    if runs:
        made.sandbox_id = record.id
        made.sandbox_key = f"/proc/{state.pid}/ns/net"
        if record.endpoints:
            made.ports = _ports(record, paths)
            _show_default(made)
    return made


def endpoint(record: AnyRecord, name: str, one: Endpoint | None) -> EndpointSettings:
    """Return what a container is to have on a network, with what it has there; its names stay after its end."""
    wanted = record.networks[name]
    ipam = None
    if wanted.ipv4 or wanted.ipv6 or wanted.link_local:
        ipam = EndpointIPAMConfig(wanted.ipv4, wanted.ipv6, wanted.link_local)
    shown = EndpointSettings(
        ipam_config=ipam,
        links=wanted.links,
        aliases=wanted.aliases,
        mac_address=wanted.mac,
        driver_opts=wanted.driver_opts,
        gw_priority=wanted.gw_priority,
        network_id=wanted.network,
    )
    if one is None:
        if wanted.network:
            from minidock.containers.networking import names

            shown.dns_names = names(record, name) or None
        return shown
    shown.endpoint_id, shown.network_id, shown.mac_address = one.id, one.network, one.mac
    if one.ipv4:
        shown.ip_address, _, length = one.ipv4.partition("/")
        shown.ip_prefix_len = int(length)
    if one.ipv6:
        shown.global_ipv6_address, _, length = one.ipv6.partition("/")
        shown.global_ipv6_prefix_len = int(length)
    shown.gateway, shown.ipv6_gateway = one.router4, one.router6
    shown.dns_names = one.names or None
    return shown


def _show_default(settings: NetworkSettings) -> None:
    """Show the default network's endpoint at the top too, as Docker goes on to do."""
    one = (settings.networks or {}).get("bridge")
    if one is not None:
        for name in (
            *("endpoint_id", "gateway", "global_ipv6_address", "global_ipv6_prefix_len", "ip_address"),
            *("ip_prefix_len", "ipv6_gateway", "mac_address"),
        ):
            setattr(settings, name, getattr(one, name))


def _ports(record: AnyRecord, paths: Paths) -> PortMap:
    """Return where each port is published; None for one that is exposed only."""
    bindings = record.host_config.port_bindings
    found: dict[str, list[PortBinding] | None] = dict.fromkeys(exposed(record))
    if not bindings and not record.host_config.publish_all_ports:
        return found
    from minidock.containers.attaching import real_ports

    for port in real_ports(paths.run_container(record.id)):
        name = f"{port.container_port}/{port.protocol}"
        found[name] = [*(found.get(name) or ()), PortBinding(port.host_ip, str(port.host_port))]
    return found


def exposed(record: AnyRecord) -> list[str]:
    """Return the ports that a container says it listens on, in order; an image may say nonsense, which is left out."""
    found = record.config.exposed_ports
    if not isinstance(found, dict):
        return []
    parts = [name.partition("/") for name in found]
    sound = [
        (int(port), protocol or "tcp")
        for port, _, protocol in parts
        if port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536
        and protocol in ("tcp", "udp", "sctp", "")
    ]  # fmt: skip
    return [f"{port}/{protocol}" for port, protocol in sorted(sound)]


def port_list(settings: NetworkSettings) -> list[Port]:
    """Return the ports that a list of containers shows: where each is published, or that it is not."""
    found = []
    for name, bindings in (settings.ports or {}).items():
        number, _, protocol = name.partition("/")
        if not bindings:
            found.append(Port(private_port=int(number), type=protocol))
        for binding in bindings or ():
            port = Port(private_port=int(number), type=protocol, public_port=int(binding.host_port or 0))
            if binding.host_ip:
                port.ip = binding.host_ip
            found.append(port)
    return found


def command(record: AnyRecord) -> str:
    """Return the command as ``ps`` shows it: words with spaces in them in single quotes, but for the first."""
    words = record.args
    return " ".join([*words[:1], *(f"'{word}'" if " " in word else word for word in words[1:])])


def summary(
    record: AnyRecord, state: ContainerState, paths: Paths, at: float | None = None, *, image: str | None = None
) -> ContainerSummary:
    """Return one entry of ``GET /containers/json``.

    ``at`` is the time that STATUS counts from, now by default; ``image`` is what its image is called, by default what
    it was called when the container was made.
    """
    settings = _network_settings(record, state, paths)
    return ContainerSummary(
        id=record.id,
        names=[f"/{record.name}"],
        image=image if image is not None else record.config.image or record.rootfs or record.image,
        image_id=record.image,
        command=command(record),
        created=int(parse_time(record.created)),
        ports=port_list(settings),
        labels=record.config.labels or {},
        state=state.status,
        status=status(state, at),
        host_config=SummaryHostConfig(network_mode=record.host_config.network_mode),
        network_settings=SummaryNetworkSettings(networks=settings.networks or {}),
        mounts=_mounts(record, paths),
    )
