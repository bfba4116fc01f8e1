"""Image configuration and engine defaults under the options, and what does not fit together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from minidock.containers import logging
from minidock.containers.draft import health, network
from minidock.containers.draft.base import SHM_SIZE
from minidock.containers.draft.resources import check_cgroup_parent
from minidock.containers.draft.restart import check_restart
from minidock.containers.parse import cpuset, keyvalues, sizes, sysctls
from minidock.errors import InvalidArgument, Unsupported
from minidock.images import platforms
from minidock.spec.docker import Ulimit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.containers.draft.base import Draft
    from minidock.containers.host import Host
    from minidock.spec.docker import ContainerConfig, Flags, HostConfig
    from minidock.spec.oci_image import ExecutionConfig, ImageConfig


def merge(draft: Draft, image: ImageConfig | None, host: Host) -> None:
    """Complete ``draft`` with the image's configuration and the engine's defaults, and check the whole.

    Raises InvalidArgument for options that contradict each other, for an image whose volumes or working directory are
    hostile, and when there is no command.
    """
    config = draft.config
    network.complete(draft)
    config.env = draft.env_file_entries + (config.env or [])
    config.labels = draft.label_file_entries | (config.labels or {})
    if image is not None:
        _check_platform(draft, image, host)
        if image.config is not None:
            _merge_image(draft, image.config)
    if not config.entrypoint and not config.cmd:
        raise InvalidArgument("no command specified")
    health.check(draft)
    _merge_defaults(draft, host)
    check(config, draft.host_config, host, draft.warnings)


def _check_platform(draft: Draft, image: ImageConfig, host: Host) -> None:
    has = platforms.Platform(image.os, image.architecture, image.variant)
    if draft.platform is not None:
        if not platforms.parse(draft.platform).accepts(has):
            raise InvalidArgument(
                f"image with reference {draft.config.image} was found but its platform ({has}) "
                f"does not match the specified platform ({draft.platform})"
            )
    elif image.architecture != host.architecture:
        draft.warnings.append(
            f"the requested image's platform ({has}) does not match the detected host platform "
            f"(linux/{host.architecture}) and no specific platform was requested"
        )


def _merge_image(draft: Draft, image: ExecutionConfig) -> None:
    config = draft.config
    config.user = config.user or image.user
    if not config.entrypoint:
        # Docker: an entry point of the user's own, even one that clears the image's, drops the image's command.
        if not config.cmd and not draft.entrypoint_given:
            config.cmd = list(image.cmd) if image.cmd else None
        if not draft.entrypoint_given:
            config.entrypoint = list(image.entrypoint) if image.entrypoint else None
    if image.env:
        given = {entry.partition("=")[0] for entry in config.env or ()}
        config.env = [*(config.env or ()), *(entry for entry in image.env if entry.partition("=")[0] not in given)]
    if image.labels:
        config.labels = {**image.labels, **(config.labels or {})}
    if not config.working_dir and image.working_dir:
        config.working_dir = _image_path(image.working_dir, "working directory")
    if not config.stop_signal and image.stop_signal:
        config.stop_signal = image.stop_signal
    if image.exposed_ports:
        own = config.exposed_ports
        config.exposed_ports = dict(sorted({**image.exposed_ports, **(own if isinstance(own, dict) else {})}.items()))
    health.merge(draft, image.healthcheck)
    if image.shell:
        config.shell = list(image.shell)
    if image.volumes:
        theirs: Flags = {_image_path(path, "volume"): {} for path in image.volumes}
        for path in theirs:
            # CVE-2019-16884 and its kin: a mount there would hide the masks and the LSM's files.
            if path.split("/")[1] in ("proc", "sys"):
                raise InvalidArgument(f"image volume {path}: mounts on /proc and /sys are refused")
            if path == "/":
                raise InvalidArgument("image volume /: invalid specification: destination can't be '/'")
        config.volumes = {**theirs, **(config.volumes or {})}


def _image_path(path: str, noun: str) -> str:
    """Return an image's path as a clean absolute one; it is data and never leaves the rootfs (R8)."""
    if "\0" in path:
        raise InvalidArgument(f"image {noun} {path[:60]!a}: contains a NUL byte")
    return os.path.normpath("/" + path).replace("//", "/")


def _merge_defaults(draft: Draft, host: Host) -> None:
    config, host_config, defaults = draft.config, draft.host_config, draft.defaults
    logging.merge(host_config.log_config, defaults)
    if defaults.default_shm_size is not None and host_config.shm_size == SHM_SIZE:
        host_config.shm_size = sizes.size(defaults.default_shm_size) or SHM_SIZE
    if defaults.default_ulimits:
        given = {limit.name for limit in host_config.ulimits or ()}
        host_config.ulimits = [
            *(host_config.ulimits or ()),
            *(
                Ulimit(name=name, hard=limit.hard, soft=limit.soft)
                for name, limit in sorted(defaults.default_ulimits.items())
                if name not in given
            ),
        ]
    if defaults.init and not isinstance(host_config.init, bool):
        host_config.init = True
    if not host_config.cgroup_parent and defaults.cgroup_parent:
        host_config.cgroup_parent = check_cgroup_parent(defaults.cgroup_parent)
    if defaults.exec_opts or host_config.cgroup_parent.endswith(".slice"):
        from minidock.containers import scopes

        host_config.cgroup_parent = scopes.default_parent(defaults.exec_opts, host_config.cgroup_parent)
        if scopes.is_slice(host_config.cgroup_parent):
            scopes.slice_path(host_config.cgroup_parent)  # a name that systemd takes
    host_config.ipc_mode = host_config.ipc_mode or defaults.default_ipc_mode or "private"
    if not host_config.cgroupns_mode:
        private = host.unified_cgroups and not host_config.privileged
        host_config.cgroupns_mode = defaults.default_cgroupns_mode or ("private" if private else "host")
    if not host_config.userns_mode and defaults.userns_remap and not host_config.privileged:
        host_config.userns_mode = "remap"
    if host_config.privileged:
        host_config.masked_paths = host_config.readonly_paths = None
    elif host_config.masked_paths:
        host_config.masked_paths += host.thermal_paths
    if host_config.memory > 0 and host_config.memory_swap == 0:
        # Docker's default: as much swap as memory.
        host_config.memory_swap = min(host_config.memory * 2, sizes.MAX_INT64)
    if config.stop_signal == "":
        del config.stop_signal


def check(config: ContainerConfig, host_config: HostConfig, host: Host, warnings: list[str]) -> None:
    """Refuse options that contradict each other or this host; Docker's words where Docker says something."""
    check_memory(host_config, warnings)
    check_cpu(host_config, host)
    check_restart(host_config)
    _check_namespaces(config, host_config)
    _check_cgroups(host_config, host)
    _check_sysctls(host_config)
    _check_environment(config)


def check_memory(host_config: HostConfig, warnings: list[str]) -> None:
    memory, swap, reservation = host_config.memory, host_config.memory_swap, host_config.memory_reservation
    if memory == 0 and swap > 0:
        raise InvalidArgument("you should always set the Memory limit when using Memoryswap limit, see usage")
    if memory > 0 and 0 < swap < memory:
        raise InvalidArgument("minimum memoryswap limit should be larger than memory limit, see usage")
    if memory > 0 and reservation > memory:
        raise InvalidArgument("minimum memory limit can not be less than memory reservation limit, see usage")
    if host_config.oom_kill_disable and memory == 0:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources"
        )


def check_cpu(host_config: HostConfig, host: Host) -> None:
    nano = host_config.nano_cpus
    if nano:
        if host_config.cpu_period:
            raise InvalidArgument("conflicting options: Nano CPUs and CPU Period cannot both be set")
        if host_config.cpu_quota:
            raise InvalidArgument("conflicting options: Nano CPUs and CPU Quota cannot both be set")
        if not 10_000_000 <= nano <= host.cpus * 1_000_000_000:
            raise InvalidArgument(
                f"range of CPUs is from 0.01 to {host.cpus}.00, as there are only {host.cpus} CPUs available"
            )
    period, runtime = host_config.cpu_realtime_period, host_config.cpu_realtime_runtime
    if period and runtime > period:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")
    if host_config.cpuset_cpus:
        cpuset.check_available(host_config.cpuset_cpus, host.online_cpus, "cpus")
    if host_config.cpuset_mems:
        cpuset.check_available(host_config.cpuset_mems, host.online_mems, "mems")


def _check_namespaces(config: ContainerConfig, host_config: HostConfig) -> None:
    if host_config.uts_mode == "host" and config.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if host_config.uts_mode == "host" and config.domainname:
        raise InvalidArgument("conflicting options: domainname and the UTS mode")
    if host_config.userns_mode != "remap":
        return
    if host_config.privileged:
        raise InvalidArgument(
            "privileged mode is incompatible with user namespaces; use userns host with privileged mode"
        )
    for mode, noun in ((host_config.network_mode, "network"), (host_config.pid_mode, "PID")):
        if mode == "host":
            raise InvalidArgument(f"cannot share the host's {noun} namespace when user namespaces are enabled")
    for mode in (host_config.pid_mode, host_config.ipc_mode, host_config.network_mode):
        if mode.startswith("container:"):
            raise Unsupported(f"{mode}: cannot join a container's namespace from a user namespace; use userns host")


def _check_cgroups(host_config: HostConfig, host: Host) -> None:
    """Writable groups of version 1, or outside a namespace, are the host's (CVE-2022-0492)."""
    if host_config.privileged or not host_config.security_opt:
        return
    from minidock.security.options import parse

    if not parse(host_config.security_opt).writable_cgroups:
        return
    if not host.unified_cgroups:
        raise Unsupported(
            "security option writable-cgroups: this host has cgroup version 1, whose groups are the host's"
        )
    if host_config.cgroupns_mode != "private":
        raise InvalidArgument("security option writable-cgroups: the container needs a cgroup namespace of its own")


def _check_sysctls(host_config: HostConfig) -> None:
    shared = {
        "ipc": host_config.ipc_mode == "host",
        "network": host_config.network_mode == "host",
        "uts": host_config.uts_mode == "host",
    }
    for name in host_config.sysctls or ():
        owner = sysctls.owner(name)
        if owner == "user" and host_config.userns_mode != "remap":
            raise InvalidArgument(f'sysctl "{name}" is only allowed in a user namespace')
        if owner is not None and shared.get(owner):
            raise InvalidArgument(f'sysctl "{name}" not allowed in host {owner} namespace')


def _check_environment(config: ContainerConfig) -> None:
    # An image's variables have not been through the parser.
    for entry in config.env or ():
        if "\0" in entry:
            raise InvalidArgument(
                f"invalid environment variable: {entry.partition('=')[0][:60]!a}: contains a NUL byte"
            )
    for word in (*(config.entrypoint or ()), *(config.cmd or ())):
        if "\0" in word:
            raise InvalidArgument(f"command: {word[:60]!a} contains a NUL byte")


def environment(config: ContainerConfig, hostname: str, default_path: str, more: Sequence[str] = ()) -> list[str]:
    """Return the environment of PID 1, without HOME, which the helper takes from the rootfs' passwd file.

    ``more`` is what the engine adds; the container's own entries win. There is no HOSTNAME for an empty one.
    """
    base = [f"PATH={default_path}"]
    if hostname:
        base.append(f"HOSTNAME={hostname}")
    if config.tty:
        base.append("TERM=xterm")
    return keyvalues.merge_environment([*base, *more], config.env or ())
