"""A container's record and state as Docker's ``inspect`` and ``ps`` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.containers import logging
from minidock.containers.status import parse_time, status
from minidock.spec.docker import (
    ContainerInspect,
    ContainerState,
    ContainerSummary,
    EndpointSettings,
    GraphDriver,
    NetworkSettings,
    SummaryHostConfig,
    SummaryNetworkSettings,
)

if TYPE_CHECKING:
    from minidock.containers.record import Record
    from minidock.store.paths import Paths


def inspect(record: Record, state: ContainerState, paths: Paths, driver: str) -> ContainerInspect:
    """Return ``GET /containers/{id}/json``."""
    directory = paths.container(record.id)
    words = record.args
    return ContainerInspect(
        id=record.id,
        created=record.created,
        path=words[0] if words else "",
        args=words[1:],
        state=state,
        image=record.image,
        resolv_conf_path=f"{directory}/resolv.conf",
        hostname_path=f"{directory}/hostname",
        hosts_path=f"{directory}/hosts",
        # Docker: a log has a path once there is one.
        log_path=logging.log_path(record, paths) if state.status != "created" else "",
        name=f"/{record.name}",
        driver=driver,
        restart_count=record.restart_count,
        platform=record.platform,
        mount_label=record.mount_label,
        process_label=record.process_label,
        app_armor_profile=record.app_armor_profile,
        host_config=record.host_config,
        graph_driver=GraphDriver(
            name=driver, data={"UpperDir": f"{directory}/rw/upper", "WorkDir": f"{directory}/rw/work"}
        ),
        config=record.config,
        network_settings=NetworkSettings(networks={record.host_config.network_mode: EndpointSettings()}),
    )


def summary(record: Record, state: ContainerState, at: float | None = None) -> ContainerSummary:
    """Return one entry of ``GET /containers/json``; ``at`` is the time that STATUS counts from, now by default."""
    return ContainerSummary(
        id=record.id,
        names=[f"/{record.name}"],
        image=record.config.image or record.rootfs or record.image,
        image_id=record.image,
        command=" ".join(record.args),
        created=int(parse_time(record.created)),
        labels=record.config.labels or {},
        state=state.status,
        status=status(state, at),
        host_config=SummaryHostConfig(network_mode=record.host_config.network_mode),
        network_settings=SummaryNetworkSettings(networks={record.host_config.network_mode: EndpointSettings()}),
    )
