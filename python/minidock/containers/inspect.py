"""A container's record and state as Docker's ``inspect`` and ``ps`` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers.status import parse_time, status
from minidock.spec.docker import (
    ContainerInspect,
    ContainerState,
    ContainerSummary,
    EndpointSettings,
    GraphDriver,
    NetworkSettings,
    Port,
    RunUsage,
    SummaryHostConfig,
    SummaryNetworkSettings,
)

if TYPE_CHECKING:
    from minidock.containers.listing import AnyRecord
    from minidock.containers.record import Record
    from minidock.store.paths import Paths


def inspect(
    record: Record, state: ContainerState, paths: Paths, driver: str, exec_ids: list[str] | None = None
) -> ContainerInspect:
    """Return ``GET /containers/{id}/json``."""
    from minidock.containers import logging

    words = record.args
    # Docker: these files are there once it has been started.
    directory = paths.container(record.id) if state.status != "created" else ""
    return ContainerInspect(
        id=record.id,
        created=record.created,
        path=words[0] if words else "",
        args=words[1:],
        state=_with_usage(record, state),
        image=record.image,
        resolv_conf_path=directory and f"{directory}/resolv.conf",
        hostname_path=directory and f"{directory}/hostname",
        hosts_path=directory and f"{directory}/hosts",
        log_path=directory and logging.log_path(record, paths),
        name=f"/{record.name}",
        driver=driver,
        restart_count=record.restart_count,
        platform=record.platform,
        mount_label=record.mount_label,
        process_label=record.process_label,
        app_armor_profile=record.app_armor_profile,
        exec_ids=exec_ids,
        host_config=record.host_config,
        graph_driver=_graph_driver(record, driver),
        config=record.config,
        network_settings=_network_settings(record),
    )


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


def _network_settings(record: AnyRecord) -> NetworkSettings:
    return NetworkSettings(networks={record.host_config.network_mode: EndpointSettings()})


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
    record: AnyRecord, state: ContainerState, at: float | None = None, *, image: str | None = None
) -> ContainerSummary:
    """Return one entry of ``GET /containers/json``.

    ``at`` is the time that STATUS counts from, now by default; ``image`` is what its image is called, by default what
    it was called when the container was made.
    """
    settings = _network_settings(record)
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
    )
