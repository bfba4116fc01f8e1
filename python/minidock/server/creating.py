"""Docker's body of ``POST /containers/create`` in the words of ``engine.containers.create``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from minidock.containers.draft import HANDLERS
from minidock.errors import ImageNotFound, InvalidArgument, MinidockError
from minidock.spec.docker import HostConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.containers.planning import Planned
    from minidock.engine import Engine
    from minidock.server.bodies import CreateBody, UpdateBody

# HostConfig's fields that are an option as they are, unless empty.
_PLAIN = {
    "volume_driver": "volume_driver",
    "volumes_from": "volumes_from",
    "annotations": "annotations",
    "auto_remove": "remove",
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "cgroupns_mode": "cgroupns",
    "dns": "dns",
    "dns_options": "dns_opt",
    "dns_search": "dns_search",
    "extra_hosts": "extra_hosts",
    "group_add": "group_add",
    "ipc_mode": "ipc_mode",
    "links": "links",
    "oom_score_adj": "oom_score_adj",
    "pid_mode": "pid_mode",
    "privileged": "privileged",
    "publish_all_ports": "publish_all_ports",
    "readonly_rootfs": "read_only",
    "storage_opt": "storage_opt",
    "tmpfs": "tmpfs",
    "uts_mode": "uts_mode",
    "userns_mode": "userns_mode",
    "shm_size": "shm_size",
    "sysctls": "sysctls",
    "runtime": "runtime",
    "cpu_shares": "cpu_shares",
    "memory": "memory",
    "nano_cpus": "nano_cpus",
    "cgroup_parent": "cgroup_parent",
    "blkio_weight": "blkio_weight",
    "cpu_period": "cpu_period",
    "cpu_quota": "cpu_quota",
    "cpu_realtime_period": "cpu_rt_period",
    "cpu_realtime_runtime": "cpu_rt_runtime",
    "cpuset_cpus": "cpuset_cpus",
    "cpuset_mems": "cpuset_mems",
    "device_cgroup_rules": "device_cgroup_rules",
    "kernel_memory": "kernel_memory",
    "memory_reservation": "mem_reservation",
    "memory_swap": "memswap_limit",
    "memory_swappiness": "mem_swappiness",
    "oom_kill_disable": "oom_kill_disable",
    "pids_limit": "pids_limit",
    "mounts": "mounts",
    "init": "init",
}
_EMPTY: tuple[Any, ...] = (None, UNSET, "", 0, False, [], {})


def plan(engine: Engine, body: CreateBody, name: str | None, platform: str | None) -> Planned:
    """Return the container that a body means; nothing is pulled. Raises as ``engine.containers.create``."""
    if not body.image:
        raise InvalidArgument("config cannot be empty in order to create a container")
    options = _process(body) | _host(body.host_config) | _network(body, engine)
    options |= {"pull": "never", "name": name and name.removeprefix("/"), "platform": platform}
    command = [body.cmd] if isinstance(body.cmd, str) else body.cmd
    try:
        if body.entrypoint == [] and not command:  # takes the image's entrypoint away, but not its command
            command = engine.images.get(body.image, platform=platform).defaults.cmd
        with their_words():
            planned = engine.lifecycle.plan(body.image, command or None, options, {})
    except ImageNotFound as error:
        raise ImageNotFound(f"no such image: {engine.images.shown(body.image)}") from error
    config = planned.record.config
    config.attach_stdin, config.attach_stdout = body.attach_stdin, body.attach_stdout
    config.attach_stderr, config.stdin_once = body.attach_stderr, body.stdin_once
    if body.shell:
        config.shell = body.shell
    asked, host_config = body.host_config, planned.record.host_config
    host_config.device_requests = asked.device_requests
    if not walls_are_down(asked):
        if asked.masked_paths is not None:
            host_config.masked_paths = asked.masked_paths
        if asked.readonly_paths is not None:
            host_config.readonly_paths = asked.readonly_paths
    host_config.console_size = asked.console_size
    host_config.isolation = asked.isolation
    host_config.container_id_file = asked.container_id_file
    return planned


@contextlib.contextmanager
def their_words() -> Iterator[None]:
    """Take our word for an option, which the client has not used, off what is said of it."""
    try:
        yield
    except MinidockError as error:
        option, colon, words = str(error).partition(": ")
        if colon and option in HANDLERS:
            raise type(error)(words) from error
        raise


def update_options(body: UpdateBody) -> Any:
    """Return the words of ``Container.update`` for a body."""
    found = {_PLAIN[name]: getattr(body, name) for name in _PLAIN if getattr(body, name, None) not in _EMPTY}
    if body.pids_limit is not None:
        found["pids_limit"] = body.pids_limit or -1  # 0 is no limit here; our own 0 is no change
    if body.restart_policy is not None and body.restart_policy.name:
        found["restart_policy"] = msgspec.to_builtins(body.restart_policy)
    return found


def _process(body: CreateBody) -> dict[str, Any]:
    options: dict[str, Any] = {
        "hostname": body.hostname or None,
        "domainname": body.domainname or None,
        "user": body.user or None,
        "environment": body.env or None,
        "labels": body.labels or None,
        "working_dir": body.working_dir or None,
        "stop_signal": body.stop_signal or None,
        "stop_timeout": body.stop_timeout,
        "tty": body.tty or None,
        "stdin_open": body.open_stdin or None,
        "expose": list(body.exposed_ports) if body.exposed_ports else None,
        "entrypoint": [body.entrypoint] if isinstance(body.entrypoint, str) else body.entrypoint,
    }
    check = body.healthcheck
    if check is not None:
        given = {
            "test": check.test or None,
            "interval": check.interval or None,
            "timeout": check.timeout or None,
            "start_period": check.start_period or None,
            "start_interval": check.start_interval or None,
            "retries": check.retries or None,
        }
        if any(value is not None for value in given.values()):
            options["healthcheck"] = given
    for path in body.volumes or ():
        if ":" in path:  # a path in the container, and nothing else: Binds have directories of the host
            raise InvalidArgument(f'invalid volume specification: "{path}": a path of Volumes has no colon')
    volumes = [*(body.host_config.binds or ()), *(body.volumes or ())]
    for volume in volumes:
        if volume.startswith("."):
            source = volume.partition(":")[0]
            raise InvalidArgument(
                f'invalid volume specification: "{volume}": "{source}" includes invalid characters for a local volume '
                "name; if you intended to pass a host directory, use absolute path"
            )
    options["volumes"] = volumes or None
    return options


def _host(asked: HostConfig) -> dict[str, Any]:
    options = {option: value for name, option in _PLAIN.items() if (value := getattr(asked, name)) not in _EMPTY}
    if asked.init is False:
        options["init"] = False  # whatever the configuration says
    if asked.memory_swappiness == 0:
        options["mem_swappiness"] = 0
    elif asked.memory_swappiness == -1:
        del options["mem_swappiness"]
    if asked.restart_policy.name:
        options["restart_policy"] = msgspec.to_builtins(asked.restart_policy)
    if asked.log_config.type or asked.log_config.config:
        options["log_config"] = msgspec.to_builtins(asked.log_config)
    if asked.port_bindings:
        options["publish"] = _published(asked)
    if asked.devices:
        options["devices"] = [
            f"{one.path_on_host}:{one.path_in_container or one.path_on_host}:{one.cgroup_permissions or 'rwm'}"
            for one in asked.devices
        ]
    if asked.ulimits:
        options["ulimits"] = [f"{one.name}={one.soft}:{one.hard}" for one in asked.ulimits]
    if asked.blkio_weight_device:
        options["blkio_weight_device"] = [f"{one.path}:{one.weight}" for one in asked.blkio_weight_device]
    for name, option in (
        ("blkio_device_read_bps", "device_read_bps"),
        ("blkio_device_write_bps", "device_write_bps"),
        ("blkio_device_read_iops", "device_read_iops"),
        ("blkio_device_write_iops", "device_write_iops"),
    ):
        if devices := getattr(asked, name):
            options[option] = [f"{one.path}:{one.rate}" for one in devices]
    if asked.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation ({asked.isolation}): only default is supported on Linux")
    security = list(asked.security_opt or ())
    if walls_are_down(asked):
        security.append("systempaths=unconfined")
    for path in (*(asked.masked_paths or ()), *(asked.readonly_paths or ())):
        if "\0" in path or os.path.normpath(f"/{path}").strip("/") == "":
            raise InvalidArgument(f"MaskedPaths, ReadonlyPaths: {path[:100]!r} is no path below /")
    if security:
        options["security_opt"] = security
    return options


def walls_are_down(asked: HostConfig) -> bool:
    """Whether nothing is to be masked or read-only, which is ``systempaths=unconfined``."""
    return asked.masked_paths == [] and asked.readonly_paths == []


def _published(asked: HostConfig) -> list[str]:
    found = []
    for port, bindings in (asked.port_bindings or {}).items():
        for binding in bindings or ():
            ip = f"[{binding.host_ip}]" if ":" in binding.host_ip else binding.host_ip
            where = f"{ip}:{binding.host_port}:" if ip else f"{binding.host_port}:" if binding.host_port else ""
            found.append(f"{where}{port}")
    return found


def _network(body: CreateBody, engine: Engine) -> dict[str, Any]:
    """A container's networks; those of ``NetworkingConfig`` alone count where no network mode is given."""
    mode = body.host_config.network_mode or "default"
    if body.network_disabled:
        mode = "none"
    own = "none" if engine.config.bridge == "none" else "bridge"
    mode = own if mode == "default" else mode
    given = {
        own if name == "default" else name: msgspec.to_builtins(endpoint)
        for name, endpoint in body.networking_config.endpoints_config.items()
    }
    options: dict[str, Any] = {}
    if given and mode == own and mode not in given:
        options["networking_config"] = given
    else:
        options["network_mode"] = mode
        options["networking_config"] = given or None
    if body.mac_address:
        options["mac_address"] = body.mac_address
    return options
